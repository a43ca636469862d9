"""Suites: lists of runs, trained one after the other or one per device, and compared when all are there.

`load` reads what is to be run, `Conductor` runs it, each run in a process and a folder of its own, and `SuiteManifest`
remembers which runs are a suite's, so that the same suite goes on where it was left; `background` does both in a
process that outlives its caller, and `SuiteMonitor` says how far it is. Importing this needs no torch.
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
