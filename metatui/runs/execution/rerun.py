"""A run once more: what it takes to get the same numbers, and what of it makes a preset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from metatui.config.fields import change
from metatui.config.schedule import Planned, PlannedChange, PlannedValidation
from metatui.config.settings import Scalar, Settings
from metatui.runs.execution.replay_log import pin_compute, replay_log
from metatui.runs.storage.metrics import last_progress
from metatui.runs.storage.run_folder import RunFolder
from metatui.utils.errors import quote


@dataclass(frozen=True)
class Rerun:
    """What to start: as the arguments of `Session.start` and `start_detached`."""

    settings: Settings
    preset: str | None
    changes: tuple[Planned, ...]
    origin: str


def rerun_of(run: RunFolder, changes: Mapping[str, Scalar] | None = None) -> Rerun:
    """`run` from its first meta-step on, on the engine and with the threads that it began with, told the same at the
    same meta-steps. On the same kind of device the numbers are the same, bit for bit on the CPU.

    Where it was resumed on another device or engine, that is not done again: all of it is computed as it began.

    Args:
        changes: settings to start with otherwise. What the run was told on the way, it is told all the same.

    Raises:
        BadInput: a change is not possible, or the run cannot be read.
    """
    changes = changes or {}
    began = [entry for entry in run.journal() if entry.event == "started"][:1]
    before = run.settings()
    settings = change(before, changes)
    preset = began[0].details.get("preset") if began else None
    if not isinstance(preset, str):
        preset = None
    elif settings != before:
        preset = f"{preset.removesuffix(' (changed)')} (changed)"
    return Rerun(
        settings=pin_compute(settings, began, but=changes),
        preset=preset,
        changes=_without_the_last_validation(_what_counts(_told(run)), settings),
        origin=f"rerun of {quote(run.id)[1:-1]}",
    )


def schedule_of(run: RunFolder) -> tuple[PlannedChange, ...]:
    """Every change of a setting that `run` made, or is still to make, in the order of meta-steps. Raises BadInput."""
    return tuple(planned for planned in _what_counts(_told(run)) if isinstance(planned, PlannedChange))


def _told(run: RunFolder) -> list[Planned]:
    """Without what was refused when it came."""
    last = last_progress(run.metrics_path)
    reached = last.iteration if last else 0
    items = replay_log(run.changes(), run.journal())
    return [item.planned for item in items if item.made or item.planned.iteration >= reached]


def _what_counts(plan: Sequence[Planned]) -> list[Planned]:
    """Of the changes to one setting with nothing computed between them, the last."""
    kept: list[Planned] = []
    overtaken: set[str] = set()
    at: int | None = None
    for planned in reversed(plan):
        if planned.iteration != at or isinstance(planned, PlannedValidation):
            overtaken.clear()
            at = planned.iteration
        if isinstance(planned, PlannedChange):
            if planned.path in overtaken:
                continue
            overtaken.add(planned.path)
        kept.append(planned)
    return kept[::-1]


def _without_the_last_validation(plan: list[Planned], settings: Settings) -> tuple[Planned, ...]:
    """The one at the end of a training is made anyway."""
    last = change(settings, {planned.path: planned.value for planned in plan if isinstance(planned, PlannedChange)})
    while plan and plan[-1] == PlannedValidation(last.training.iterations):
        plan = plan[:-1]
    return tuple(plan)
