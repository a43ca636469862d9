"""Reruns, which reproduce the results of runs, and export of runs as presets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from metatui.config.declarations import Scalar
from metatui.config.fields import change
from metatui.config.presets import as_changed
from metatui.config.schedule import Planned, PlannedChange, PlannedValidation
from metatui.config.settings import Settings
from metatui.runs.execution.run_log import RunLog, pin_compute
from metatui.runs.storage.metrics import last_progress
from metatui.runs.storage.run_folder import RunFolder
from metatui.utils.errors import quote


@dataclass(frozen=True)
class Rerun:
    """Arguments of `Session.start` and `start_detached` that repeat a run."""

    settings: Settings
    preset: str | None
    changes: tuple[Planned, ...]
    origin: str


def rerun_of(run: RunFolder, changes: Mapping[str, Scalar] | None = None) -> Rerun:
    """Return the arguments that repeat `run` with the same commands, initial engine and initial number of threads.

    On the CPU, the repetition gives the same results as the run, bit for bit. On the same kind of GPU, the results may
    differ by rounding. If the run was resumed on another device or engine, the repetition uses the initial device and
    engine until the end.

    Args:
        changes: changes to the initial settings; the commands stay the same.

    Raises:
        BadInput: if a change is not possible, or the run cannot be read.
    """
    changes = changes or {}
    log = RunLog.read(run)
    first_start = [entry for entry in log.journal if entry.event == "started"][:1]
    before = log.settings
    settings = change(before, changes)
    preset = log.started.get("preset")
    if not isinstance(preset, str):
        preset = None
    elif settings != before:
        preset = as_changed(preset)
    return Rerun(
        settings=pin_compute(settings, first_start, but=changes),
        preset=preset,
        changes=_without_final_validation(_commands(run, log), settings),
        origin=f"rerun of {quote(run.id)[1:-1]}",
    )


def schedule_of(run: RunFolder) -> tuple[PlannedChange, ...]:
    """Return all executed and scheduled setting changes, in order. Raises BadInput if `run` cannot be read."""
    return tuple(planned for planned in _commands(run, RunLog.read(run)) if isinstance(planned, PlannedChange))


def _commands(run: RunFolder, log: RunLog) -> list[Planned]:
    """Return the commands of a run, except refused ones.

    If a setting was changed several times with no meta-step or validation in between, only the last change is kept.
    """
    last = last_progress(run.metrics_path)
    reached = last.iteration if last else 0
    commands = [item.planned for item in log.items if item.made or item.planned.iteration >= reached]
    kept: list[Planned] = []
    replaced: set[str] = set()
    at: int | None = None
    for planned in reversed(commands):
        if planned.iteration != at or isinstance(planned, PlannedValidation):
            replaced.clear()
            at = planned.iteration
        if isinstance(planned, PlannedChange):
            if planned.path in replaced:
                continue
            replaced.add(planned.path)
        kept.append(planned)
    return kept[::-1]


def _without_final_validation(plan: list[Planned], settings: Settings) -> tuple[Planned, ...]:
    """Drop validations scheduled for the end of the training, because training always ends with a validation."""
    last = change(settings, {planned.path: planned.value for planned in plan if isinstance(planned, PlannedChange)})
    while plan and plan[-1] == PlannedValidation(last.training.iterations):
        plan = plan[:-1]
    return tuple(plan)
