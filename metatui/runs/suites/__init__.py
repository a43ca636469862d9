"""Suites: lists of runs that are trained one after another, or one per device, and then compared.

`load` reads suites from files, `Conductor` trains their runs, each in its own process and folder, and `SuiteManifest`
records which runs belong to a suite, so that it can be continued. `background` does this in a process that outlives its
caller, and `SuiteMonitor` reads the status. Importing this package does not import torch.
"""

from metatui.runs.suites.files import bundled, load, problems, read, user, user_dir
from metatui.runs.suites.manifest import SuiteManifest
from metatui.runs.suites.models import MOST_RUNS, PlannedComparison, PlannedRun, Suite
from metatui.runs.suites.scheduler import Conductor, RunEnded, RunPacked, RunProgress, RunStarted, RunWarned, SuiteEvent
from metatui.runs.suites.status import RunStanding, SuiteMonitor, SuiteStanding

__all__ = [
    "MOST_RUNS",
    "Conductor",
    "PlannedComparison",
    "PlannedRun",
    "RunEnded",
    "RunPacked",
    "RunProgress",
    "RunStanding",
    "RunStarted",
    "RunWarned",
    "Suite",
    "SuiteEvent",
    "SuiteManifest",
    "SuiteMonitor",
    "SuiteStanding",
    "bundled",
    "load",
    "problems",
    "read",
    "user",
    "user_dir",
]
