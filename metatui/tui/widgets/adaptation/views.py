"""The held-out tasks of one or more runs, and their captions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from metatui.events import ImageView, TaskView
from metatui.tui.widgets.charts.format import number, percent


@dataclass(frozen=True)
class RunViews:
    """A run and the tasks on which it was evaluated."""

    run: str
    """Name of its folder."""
    label: str
    """Short name, such as its algorithm."""
    colour: str
    views: tuple[TaskView, ...]

    def of(self, task: int) -> TaskView | None:
        """Return this run's view of a task; None if it was not evaluated on it."""
        return next((view for view in self.views if view.task == task), None)

    @property
    def last_step(self) -> int:
        return max((last_step(view) for view in self.views), default=0)


def tasks_of(runs: Sequence[RunViews]) -> list[int]:
    """Return the tasks on which any of the runs was evaluated, in order of appearance."""
    return list(dict.fromkeys(view.task for run in runs for view in run.views))


def last_step(view: TaskView) -> int:
    return max(0, len(view.predictions) - 1)


def has_diverged(view: TaskView, step: int) -> bool:
    """Return whether the loss after inner step `step` is not finite."""
    losses = view.loss[: min(step, last_step(view)) + 1]
    return bool(losses) and not math.isfinite(losses[-1])


def outcome(view: TaskView, step: int) -> str:
    """Describe the effect of adaptation: `MSE 3.21 → 0.180 after 10 steps`."""
    step = min(step, last_step(view))
    if isinstance(view, ImageView):
        name, values = "accuracy", [percent(value) for value in view.accuracy]
    else:
        name, values = "MSE", [number(value) for value in view.loss]
    if len(values) <= step:
        return ""
    if step == 0:
        return f"{name} {values[0]} before adaptation"
    return f"{name} {values[0]} → {values[step]} after {step} step{'' if step == 1 else 's'}"


def captions(view: TaskView, step: int) -> list[str]:
    """Return captions of a task, from the longest to the shortest."""
    task, result = f"Task {view.task}", outcome(view, step)
    short = result.split(" after ")[0]
    variants = ((task, view.title, result), (task, result), (task, short), (short,))
    return [" · ".join(part for part in parts if part) for parts in variants]
