"""Suites: lists of runs, trained one after the other or one per device, and compared when all are there.

`load` reads what is to be run, `Conductor` runs it, each run in a process and a folder of its own, and `Ledger`
remembers which runs are a suite's, so that the same suite goes on where it was left. Importing this needs no torch.
"""

from metatui.runs.suite.conducting import Conductor, RunEnded, RunProgress, RunStarted, RunWarned, SuiteEvent
from metatui.runs.suite.files import bundled, load, read
from metatui.runs.suite.ledger import Ledger
from metatui.runs.suite.values import MOST_RUNS, PlannedComparison, PlannedRun, Suite

__all__ = [
    "MOST_RUNS",
    "Conductor",
    "Ledger",
    "PlannedComparison",
    "PlannedRun",
    "RunEnded",
    "RunProgress",
    "RunStarted",
    "RunWarned",
    "Suite",
    "SuiteEvent",
    "bundled",
    "load",
    "read",
]
