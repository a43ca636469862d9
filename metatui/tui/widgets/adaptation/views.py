"""Views of the held-out tasks of runs: captions, and the chart of a regression task."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from metatui.events import ImageView, RegressionView, TaskView
from metatui.tui import palette
from metatui.tui.formatting import number, percent
from metatui.tui.widgets.charts import ChartData, Series
from metatui.tui.widgets.charts.axis import axis_for


@dataclass(frozen=True)
class RunViews:
    """A run and the tasks on which it was evaluated."""

    run: str
    """Name of the run's folder."""
    label: str
    """Short name, such as the algorithm."""
    colour: str
    views: tuple[TaskView, ...]

    def of(self, task: int) -> TaskView | None:
        """Return this run's view of a task, or None if the run was not evaluated on it."""
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


def regression_curves(view: RegressionView, step: int, colour: str) -> tuple[Series, ...]:
    """Return the series of a task, in the order of the panel's legend."""
    after = f"after {step} step{'' if step == 1 else 's'}"
    return (
        Series("truth", palette.TRUTH, tuple(zip(view.grid, view.truth, strict=False))),
        Series("before", palette.BEFORE, _prediction(view, 0)),
        Series(after, colour, _prediction(view, min(step, last_step(view)))),
        Series("support", palette.SUPPORT, tuple(zip(view.support_x, view.support_y, strict=False)), style="points"),
    )


def _prediction(view: RegressionView, step: int) -> tuple[tuple[float, float], ...]:
    return tuple(zip(view.grid, view.predictions[step], strict=False)) if view.predictions else ()


def regression_limits(views: Sequence[RegressionView], height: int) -> tuple[float, float] | None:
    """Return the common y range of all charts of a task, independent of the inner step.

    It includes the truth, the support points, and predictions up to half the range of the truth beyond it.
    """
    truth = [y for view in views for y in (*view.truth, *view.support_y) if math.isfinite(y)]
    if not truth:
        return None
    low, high = min(truth), max(truth)
    room = max((high - low) / 2, 0.1)
    ends = [row for view in views for row in (view.predictions[:1] + view.predictions[-1:])]
    predicted = [max(low - room, min(high + room, y)) for row in ends for y in row if math.isfinite(y)]
    axis = axis_for([*truth, *predicted], max(2, height // 3))
    return None if axis is None else (axis.low, axis.high)


def regression_chart(view: RegressionView, step: int, colour: str, y_limits: tuple[float, float] | None) -> ChartData:
    return ChartData(
        regression_curves(view, step, colour),
        y_limits=y_limits,
        x_limits=(view.grid[0], view.grid[-1]) if view.grid else None,
        legend=False,
        last_values=False,
        empty="This task has no curve to draw.",
    )
