"""Comparison of runs on identical held-out tasks.

`compare` runs a comparison in one call, and `compare_stepwise` runs it step by step for interfaces that show progress.
Both return a `Comparison`. The command line, the app and reports show its contents. Importing this package does not
import torch.
"""

from metatui.runs.analysis.comparison.compare_runs import compare, compare_stepwise
from metatui.runs.analysis.comparison.values import (
    Comparing,
    Comparison,
    Costs,
    Metric,
    Pair,
    Protocol,
    Recorded,
    RecordedRun,
    RunResult,
    SeedCurve,
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
    "Recorded",
    "RecordedRun",
    "RunResult",
    "SeedCurve",
    "SeedGroup",
    "SeedPair",
    "TaskValues",
    "TimeToTarget",
    "TrainingCurve",
    "ValidationCurve",
    "compare",
    "compare_stepwise",
]
