"""Data classes for suites, their comparisons and their runs, and the settings that identify a run in a suite."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from metatui.config.fields import FIELDS
from metatui.config.settings import Settings
from metatui.runs.storage.run_folder import RunFolder

MAX_SUITE_RUNS = 1_000
"""Maximum number of runs of a suite."""

COMPUTE_ONLY_SETTINGS = ("compute.device", "compute.threads", "compute.compile_after")
"""Settings that determine where and when something is computed, but do not affect the result."""

GROUPS_WITHOUT_EFFECT = ("checkpoint", "logging")
"""Groups of settings that do not affect the result of a run."""


@dataclass(frozen=True)
class PlannedRun:
    """One run of a suite."""

    comparison: str
    """Name of the comparison that the run belongs to."""
    label: str
    """Label of the run in the comparison."""
    settings: Settings
    origin: str
    """Text about the origin of the settings, for the run's journal."""
    title: str = ""
    """Text that replaces the name of the algorithm in the label. If it is empty, the name of the algorithm is used."""

    @property
    def name(self) -> str:
        """Name of the run, unique in the suite."""
        return f"{self.comparison}: {self.label}"

    @property
    def iterations(self) -> int:
        """Number of meta-steps to train; 0 for the algorithm `scratch`."""
        trains = FIELDS["training.iterations"].is_relevant(self.settings)
        return self.settings.training.iterations if trains else 0

    @cached_property
    def identity(self) -> Hashable:
        return identity(self.settings)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the identity, used as the key of the run in files."""
        return hashlib.sha256(repr(self.identity).encode()).hexdigest()


@dataclass(frozen=True)
class PlannedComparison:
    """Runs to compare, and the protocol of the comparison. Values that are None default to those of the first run."""

    name: str
    runs: tuple[PlannedRun, ...]
    tasks: int | None = None
    steps: int | None = None
    shots: int | None = None
    target: float | None = None
    """Target accuracy as a fraction, or target loss; None if there is no target."""
    warnings: tuple[str, ...] = ()
    """Warnings about differences between the protocols of the runs."""

    def titles(self, folders: Mapping[Hashable, RunFolder | None]) -> dict[RunFolder, str]:
        """Return the titles of the runs that have a folder and a title, keyed by folder.

        Args:
            folders: folder of each run, keyed by the run's identity.
        """
        return {folder: run.title for run in self.runs if run.title and (folder := folders.get(run.identity))}


@dataclass(frozen=True)
class Suite:
    """A list of comparisons of runs. Texts that the file does not contain are empty strings."""

    name: str
    title: str
    source: str
    measured: str
    notes: str
    comparisons: tuple[PlannedComparison, ...]
    path: Path | None
    """File of the suite; None for a suite of presets given by name."""

    @cached_property
    def runs(self) -> tuple[PlannedRun, ...]:
        """Distinct runs. A run that belongs to several comparisons takes its name from the first of them."""
        runs: dict[Hashable, PlannedRun] = {}
        for comparison in self.comparisons:
            for run in comparison.runs:
                runs.setdefault(run.identity, run)
        return tuple(runs.values())


def identity(settings: Settings) -> Hashable:
    """Return a key that is equal for all settings that lead to the same result."""
    return tuple(
        (path, settings.value(path))
        for path, field in FIELDS.items()
        if affects_result(path) and field.is_relevant(settings)
    )


def affects_result(path: str) -> bool:
    """Return whether the setting `path` can change the result of a run."""
    return path not in COMPUTE_ONLY_SETTINGS and path.split(".")[0] not in GROUPS_WITHOUT_EFFECT
