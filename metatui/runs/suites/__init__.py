"""Suites: lists of runs to compare. The runs are trained one after another, or on several devices at the same time.

`load` reads suites from files, `SuiteRunner` trains their runs, each in its own process and folder, and `SuiteManifest`
records which runs belong to a suite, so that an interrupted suite can be continued. `background` trains in a process
that outlives its caller, and `SuiteMonitor` reads its status. Importing this package does not import torch.
"""

from metatui.runs.suites.files import bundled, load, read, user, user_dir
from metatui.runs.suites.manifest import SuiteManifest
from metatui.runs.suites.models import MAX_SUITE_RUNS, PlannedComparison, PlannedRun, Suite
from metatui.runs.suites.scheduler import (
    RunEnded,
    RunPacked,
    RunProgress,
    RunStarted,
    RunWarned,
    SuiteEvent,
    SuiteRunner,
)
from metatui.runs.suites.status import RunStatus, SuiteMonitor, SuiteStatus

__all__ = [
    "MAX_SUITE_RUNS",
    "PlannedComparison",
    "PlannedRun",
    "RunEnded",
    "RunPacked",
    "RunProgress",
    "RunStarted",
    "RunStatus",
    "RunWarned",
    "Suite",
    "SuiteEvent",
    "SuiteManifest",
    "SuiteMonitor",
    "SuiteRunner",
    "SuiteStatus",
    "bundled",
    "load",
    "read",
    "user",
    "user_dir",
]
