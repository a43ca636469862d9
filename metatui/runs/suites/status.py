"""How far a suite is, read from the folders of its runs."""

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


@dataclass(frozen=True)
class RunStanding:
    """One run of a suite, as its folder says."""

    planned: PlannedRun
    folder: RunFolder | None
    """None where it was not started."""
    status: Status | Literal["waiting"]
    progress: Progress | None
    """The last meta-step; None before the first, and for `scratch`."""
    test: Evaluation | None
    problem: str | None
    """Why it failed, or cannot be read."""

    @property
    def finished(self) -> bool:
        return self.status == "finished"

    @property
    def iteration(self) -> int:
        """Meta-steps done."""
        return self.progress.iteration if self.progress else 0

    @property
    def share(self) -> float:
        """Of the run that is done, from 0 to 1."""
        if self.finished:
            return 1.0
        return min(1.0, self.iteration / self.planned.iterations) if self.planned.iterations else 0.0


@dataclass(frozen=True)
class SuiteStanding:
    runs: tuple[RunStanding, ...]
    """In the suite's order."""
    running: bool
    """Whether a living process makes them."""

    @property
    def finished(self) -> int:
        return sum(run.finished for run in self.runs)

    @property
    def whole(self) -> bool:
        return self.finished == len(self.runs)

    @property
    def share(self) -> float:
        """Of all runs together that is done, each counted alike."""
        return sum(run.share for run in self.runs) / len(self.runs)


class SuiteMonitor:
    """Reads how far a suite is, as often as it is asked. For one thread at a time."""

    def __init__(self, ledger: SuiteManifest) -> None:
        self.ledger = ledger
        self._finished: dict[RunFolder, RunSummary] = {}

    def read(self) -> SuiteStanding:
        """Raises BadInput where the suite's own file among the runs holds something else."""
        # Asked first: a suite that ends meanwhile is then seen once more with all that it has.
        running = self.ledger.is_held()
        failures = self.ledger.failures()
        runs = (self._standing(run, folder, failures.get(run.name)) for run, folder in self.ledger.folders())
        return SuiteStanding(tuple(runs), running)

    def _standing(self, planned: PlannedRun, folder: RunFolder | None, failure: str | None) -> RunStanding:
        if folder is None:
            return RunStanding(planned, None, "failed" if failure else "waiting", None, None, failure)
        summary = self._finished.get(folder) or summarise(folder)
        if summary.status == "finished":
            self._finished[folder] = summary
        problem = summary.problem or (failure if summary.status == "failed" else None)
        return RunStanding(planned, folder, summary.status, summary.progress, summary.test, problem)


def comparable(comparison: PlannedComparison, standing: SuiteStanding) -> list[RunFolder]:
    """The finished runs of `comparison`, in its order."""
    done = {run.planned.identity: run.folder for run in standing.runs if run.folder and run.finished}
    return [folder for run in comparison.runs if (folder := done.get(run.identity))]


def comparison_of(suite: Suite, run: PlannedRun) -> PlannedComparison:
    """The comparison that `run` is made for; those after it may have it too."""
    return next(each for each in suite.comparisons if each.name == run.comparison)


def words(standing: SuiteStanding) -> str:
    """`3 of 20 runs are finished, one trains`."""
    total = len(standing.runs)
    runs = "run" if total == 1 else "runs"
    said = f"{standing.finished} of {total} {runs} finished"
    training = _count(standing.runs, "running", "paused")
    failed = _count(standing.runs, "failed")
    if standing.running:
        said += f", {training} training" if training else ", starting the next" if not standing.whole else ""
    return said + (f", {failed} failed" if failed else "")


def _count(runs: Sequence[RunStanding], *statuses: str) -> int:
    return sum(run.status in statuses for run in runs)
