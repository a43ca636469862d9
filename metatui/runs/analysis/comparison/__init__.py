"""Comparison of runs on identical held-out tasks.

`compare` compares in one call, `comparing` step by step for an interface that shows progress. Both return a
`Comparison`, which the command line, the app and reports show. Importing this package does not import torch.
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
