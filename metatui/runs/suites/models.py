"""What a suite is: plain values, before anything is run."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path

from metatui.config.fields import FIELDS
from metatui.config.settings import Settings

MOST_RUNS = 1_000
"""Runs that a suite may have."""

ANYWHERE = ("compute.device", "compute.threads", "compute.compile_after")
"""Settings that say where and when something is computed; so do all of ELSEWHERE. A run is the same run without."""

ELSEWHERE = ("checkpoint", "logging")


@dataclass(frozen=True)
class PlannedRun:
    """One run of a suite."""

    comparison: str
    """The name of the comparison that it is for."""
    label: str
    """As that calls it."""
    settings: Settings
    origin: str
    """What the run's journal calls its settings."""

    @property
    def name(self) -> str:
        """Of no other run in the suite."""
        return f"{self.comparison}: {self.label}"

    @property
    def iterations(self) -> int:
        """Meta-steps to make; 0 for `scratch`."""
        matters = FIELDS["training.iterations"].is_relevant(self.settings)
        return self.settings.training.iterations if matters else 0

    @property
    def identity(self) -> Hashable:
        return identity(self.settings)


@dataclass(frozen=True)
class PlannedComparison:
    """Runs that are to be compared with each other, and by what protocol; None is as the first run's settings say."""

    name: str
    runs: tuple[PlannedRun, ...]
    tasks: int | None = None
    steps: int | None = None
    shots: int | None = None
    target: float | None = None
    """A fraction for accuracy, the loss's own unit for loss."""
    warnings: tuple[str, ...] = ()
    """What sets the runs' own protocols apart."""


@dataclass(frozen=True)
class Suite:
    """A list of runs with what they are compared for. Texts that a file does not give are empty."""

    name: str
    title: str
    source: str
    measured: str
    notes: str
    comparisons: tuple[PlannedComparison, ...]
    path: Path | None
    """None where it is of presets given by name."""

    @property
    def runs(self) -> tuple[PlannedRun, ...]:
        """Each once, under the name of the first comparison that has it."""
        found: dict[Hashable, PlannedRun] = {}
        for each in self.comparisons:
            for run in each.runs:
                found.setdefault(run.identity, run)
        return tuple(found.values())


def identity(settings: Settings) -> Hashable:
    """Equal for settings that make the same run, whatever the settings that do not matter in it are."""
    return tuple(
        (path, settings.value(path))
        for path, knob in FIELDS.items()
        if makes_a_run(path) and knob.is_relevant(settings)
    )


def makes_a_run(path: str) -> bool:
    """Whether another value of the setting `path` can make another run."""
    return path not in ANYWHERE and path.split(".")[0] not in ELSEWHERE
