"""Status of a suite, read from its run folders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from metatui.events import Evaluation, Progress
from metatui.runs.storage.journal import Status
from metatui.runs.storage.run_folder import RunFolder
from metatui.runs.storage.summary import RunSummary, summarise
from metatui.runs.suites.manifest import SuiteManifest
from metatui.runs.suites.models import PlannedComparison, PlannedRun, Suite
from metatui.utils.text import format_count


@dataclass(frozen=True)
class RunStatus:
    """Status of one run of a suite."""

    planned: PlannedRun
    folder: RunFolder | None
    """Folder of the run; None if the run was not started."""
    status: Status | Literal["waiting"]
    progress: Progress | None
    """Metrics of the last meta-step; None before the first meta-step, and for the algorithm `scratch`."""
    test: Evaluation | None
    problem: str | None
    """Reason why the run failed or cannot be read; None if there is no problem."""

    @property
    def finished(self) -> bool:
        return self.status == "finished"

    @property
    def iteration(self) -> int:
        """Number of finished meta-steps."""
        return self.progress.iteration if self.progress else 0

    @property
    def share(self) -> float:
        """Completed fraction of the run, from 0 to 1."""
        if self.finished:
            return 1.0
        return min(1.0, self.iteration / self.planned.iterations) if self.planned.iterations else 0.0


@dataclass(frozen=True)
class SuiteStatus:
    """Status of a suite."""

    runs: tuple[RunStatus, ...]
    """Status of each run, in the order of the suite."""
    running: bool
    """Whether a live process is running the suite."""

    @property
    def finished(self) -> int:
        return sum(run.finished for run in self.runs)

    @property
    def is_complete(self) -> bool:
        return self.finished == len(self.runs)

    @property
    def share(self) -> float:
        """Completed fraction of the suite, from 0 to 1. Every run has the same weight."""
        return sum(run.share for run in self.runs) / len(self.runs)


class SuiteMonitor:
    """Reader of the status of a suite. It is not thread-safe."""

    def __init__(self, manifest: SuiteManifest) -> None:
        self.manifest = manifest
        self._finished: dict[RunFolder, RunSummary] = {}

    def read(self) -> SuiteStatus:
        """Return the current status; raise BadInput if the manifest is invalid."""
        # Read before the runs, so that a suite that ends in the meantime is read once more with its final results.
        running = self.manifest.is_held()
        failures = self.manifest.failures()
        runs = (self._status(run, folder, failures.get(run.digest)) for run, folder in self.manifest.folders())
        return SuiteStatus(tuple(runs), running)

    def _status(self, planned: PlannedRun, folder: RunFolder | None, failure: str | None) -> RunStatus:
        if folder is None:
            return RunStatus(planned, None, "failed" if failure else "waiting", None, None, failure)
        summary = self._finished.get(folder) or summarise(folder)
        if summary.status == "finished":
            self._finished[folder] = summary
        problem = summary.problem or (failure if summary.status == "failed" else None)
        return RunStatus(planned, folder, summary.status, summary.progress, summary.test, problem)


def comparable(comparison: PlannedComparison, status: SuiteStatus) -> list[RunFolder]:
    """Return the finished runs of `comparison`, in the order of the comparison."""
    done = {run.planned.identity: run.folder for run in status.runs if run.folder and run.finished}
    return [folder for run in comparison.runs if (folder := done.get(run.identity))]


def comparison_of(suite: Suite, run: PlannedRun) -> PlannedComparison:
    """Return the first comparison that contains `run`."""
    return next(each for each in suite.comparisons if each.name == run.comparison)


def describe_status(status: SuiteStatus) -> str:
    """Summarise the status: `3 of 20 runs finished, 1 training`."""
    total = len(status.runs)
    text = f"{status.finished} of {format_count(total, 'run')} finished"
    training = _count(status.runs, "running", "paused")
    failed = _count(status.runs, "failed")
    if status.running:
        text += f", {training} training" if training else ", starting the next" if not status.is_complete else ""
    return text + (f", {failed} failed" if failed else "")


def _count(runs: Sequence[RunStatus], *statuses: str) -> int:
    return sum(run.status in statuses for run in runs)
