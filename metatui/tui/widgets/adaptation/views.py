"""The held-out tasks of one or more runs, and what is said of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from metatui.events import ImageView, TaskView
from metatui.tui.widgets.charts.format import number, percent


@dataclass(frozen=True)
class RunViews:
    run: str
    """Its name on disk."""
    label: str
    """What it is called here, such as its algorithm."""
    colour: str
    """As metatui.tui.palette.run_colour gives it."""
    views: tuple[TaskView, ...]

    def of(self, task: int) -> TaskView | None:
        """This run on a task; None if it was not evaluated on it."""
        return next((view for view in self.views if view.task == task), None)

    @property
    def last_step(self) -> int:
        return max((last_step(view) for view in self.views), default=0)


def tasks_of(runs: Sequence[RunViews]) -> list[int]:
    """The tasks that any of the runs was evaluated on, in order of appearance."""
    return list(dict.fromkeys(view.task for run in runs for view in run.views))


def last_step(view: TaskView) -> int:
    return max(0, len(view.predictions) - 1)


def outcome(view: TaskView, step: int) -> str:
    """What adaptation did, in words: `MSE 3.21 → 0.180 after 10 steps`."""
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
    """Sentences about a task, from the fullest to the shortest."""
    task, said = f"Task {view.task}", outcome(view, step)
    short = said.split(" after ")[0]
    ways = ((task, view.title, said), (task, said), (task, short), (short,))
    return [" · ".join(part for part in parts if part) for parts in ways]
