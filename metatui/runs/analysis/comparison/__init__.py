"""Runs compared on identical held-out tasks.

`compare` does it, `comparing` does it bit by bit for an interface that shows progress. Both come to a `Comparison`, and
the command line, the app and reports draw from that. Importing this needs no torch.
"""

from metatui.runs.analysis.comparison.compare_runs import compare, comparing
from metatui.runs.analysis.comparison.values import (
    Comparing,
    Comparison,
    Costs,
    Metric,
    Pair,
    Protocol,
    RunResult,
    SeedGroup,
    SeedPair,
    TaskValues,
    TimeToTarget,
    TrainingCurve,
    ValidationCurve,
)

__all__ = [
    "Comparing",
    "Comparison",
    "Costs",
    "Metric",
    "Pair",
    "Protocol",
    "RunResult",
    "SeedGroup",
    "SeedPair",
    "TaskValues",
    "TimeToTarget",
    "TrainingCurve",
    "ValidationCurve",
    "compare",
    "comparing",
]
