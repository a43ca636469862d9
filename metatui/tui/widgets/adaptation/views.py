"""Showing adaptation to held-out tasks: the views of each run, captions, and the charts of regression tasks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from metatui.events import CurveView, ImageView, RegressionView, ScatterView, TaskView
from metatui.tui.colors import palette
from metatui.tui.formatting import number, percent
from metatui.tui.widgets.charts import ChartData, Series
from metatui.utils.text import format_count


@dataclass(frozen=True)
class RunViews:
    """A run and the tasks on which it was evaluated."""

    run: str
    """Name of the run's folder."""
    label: str
    """Short name of the run, such as the name of its algorithm."""
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


def quantities(view: TaskView) -> tuple[str, ...]:
    """Return the names of the quantities in a view. Charts of views with the same quantities have a common range."""
    match view:
        case CurveView():
            return (view.y_label,)
        case ScatterView():
            return view.targets
    return ()


def has_diverged(view: TaskView, step: int) -> bool:
    """Return whether the loss after inner step `step` is not finite."""
    losses = view.loss[: min(step, last_step(view)) + 1]
    return bool(losses) and not math.isfinite(losses[-1])


def loss_name(view: TaskView) -> str:
    """Return the name of the loss in a view: `loss`, or `standardised loss` for standardised targets."""
    # Run folders have the names MSE and standardised MSE. Everything that is shown calls a loss a loss.
    return view.loss_name.replace("MSE", "loss") if isinstance(view, CurveView | ScatterView) else "loss"


def outcome(view: TaskView, step: int) -> str:
    """Describe the effect of adaptation, for example as `loss 3.21 → 0.180 after 10 steps`.

    The result is an empty string if the effect is unknown.
    """
    step = min(step, last_step(view))
    if isinstance(view, ImageView):
        name, values = "accuracy", [percent(value) for value in view.accuracy]
    else:
        name = loss_name(view)
        values = [number(value) for value in view.loss]
    if len(values) <= step:
        return ""
    if step == 0:
        return f"{name} {values[0]} before adaptation"
    return f"{name} {values[0]} → {values[step]} {_after(step)}"


def captions(view: TaskView, step: int) -> list[str]:
    """Return captions of a task, from the longest to the shortest.

    The shorter captions name the inner step only if `step` is not the last step of the run. If the run has fewer inner
    steps than `step`, its last step is shown and named.
    """
    task, result, last = f"Task {view.task}", outcome(view, step), last_step(view)
    named = f" at step {min(step, last)}" if result and step and step != last else ""
    short = result.split(" after ")[0] + named
    variants = ((task, view.title, result), (task, result), (task, short), (short,))
    return [" · ".join(part for part in parts if part) for parts in variants]


def task_series(view: RegressionView | CurveView | ScatterView, step: int, colour: str) -> tuple[Series, ...]:
    """Return the series of a regression task, in the order of the panel's legend.

    A scatter plot shows only the first target of the task.
    """
    if isinstance(view, ScatterView):
        return _scatter_series(view, 0, step, colour)
    truth = Series("truth", palette.TRUTH, _true_points(view), style="rings" if isinstance(view, CurveView) else "line")
    return (
        truth,
        Series("before", palette.BEFORE, _prediction(view, 0)),
        Series(_after(step), colour, _prediction(view, min(step, last_step(view)))),
        Series("support", palette.SUPPORT, tuple(zip(view.support_x, view.support_y, strict=False)), style="points"),
    )


def _after(step: int) -> str:
    return f"after {format_count(step, 'step')}"


def _true_points(view: RegressionView | CurveView) -> tuple[tuple[float, float], ...]:
    """Return the points of the true function on the grid, or the query examples if the function is unknown."""
    x, y = (view.query_x, view.query_y) if isinstance(view, CurveView) else (view.grid, view.truth)
    return tuple(zip(x, y, strict=False))


def _prediction(view: RegressionView | CurveView, step: int) -> tuple[tuple[float, float], ...]:
    return tuple(zip(view.grid, view.predictions[step], strict=False)) if view.predictions else ()


def curve_limits(views: Sequence[RegressionView | CurveView]) -> tuple[float, float] | None:
    """Return the common y range of all charts of a task, independent of the inner step.

    The range includes the true values and the support points. Predictions extend it by at most half its length at each
    end.
    """
    truth = [y for view in views for y in (*(y for _, y in _true_points(view)), *view.support_y) if math.isfinite(y)]
    ends = [row for view in views for row in (view.predictions[:1] + view.predictions[-1:])]
    least = 0.1 if all(isinstance(view, RegressionView) for view in views) else 0.0
    return _limits(truth, [y for row in ends for y in row], least)


def _limits(truth: Sequence[float], predicted: Sequence[float], least: float) -> tuple[float, float] | None:
    if not truth:
        return None
    low, high = min(truth), max(truth)
    room = max((high - low) / 2, least)
    within = [max(low - room, min(high + room, y)) for y in predicted if math.isfinite(y)]
    return min([*truth, *within]), max([*truth, *within])


def curve_chart(
    view: RegressionView | CurveView, step: int, colour: str, y_limits: tuple[float, float] | None
) -> ChartData:
    return ChartData(
        task_series(view, step, colour),
        x_label=view.x_label if isinstance(view, CurveView) else "",
        y_label=view.y_label if isinstance(view, CurveView) else "",
        y_limits=y_limits,
        x_limits=(view.grid[0], view.grid[-1]) if view.grid else None,
        legend=False,
        last_values=False,
        empty="This task has no curve to draw.",
    )


def scatter_chart(view: ScatterView, target: int, step: int, colour: str, views: Sequence[ScatterView]) -> ChartData:
    """Return a chart of predicted against true values of one target, with a diagonal where they are equal.

    Args:
        views: views with the same targets, one per run. They determine a common range, independent of the inner step.
            Predictions outside the range are drawn at its edge.
    """
    truth = [y for each in views for y in each.truth[target] if math.isfinite(y)]
    ends = [row for each in views for row in (each.predictions[:1] + each.predictions[-1:])]
    limits = _limits(truth, [y for row in ends for y in row[target]], 0.0)
    name = view.targets[target]
    return ChartData(
        _scatter_series(view, target, step, colour, limits),
        x_label=f"true {name}",
        y_label=f"predicted {name}",
        y_limits=limits,
        x_limits=(min(truth), max(truth)) if truth else None,
        legend=False,
        last_values=False,
        empty="This task has no values to draw.",
    )


def _scatter_series(
    view: ScatterView, target: int, step: int, colour: str, limits: tuple[float, float] | None = None
) -> tuple[Series, ...]:
    truth = view.truth[target]
    low, high = limits or (-math.inf, math.inf)

    def points(at: int) -> tuple[tuple[float, float], ...]:
        rows = view.predictions[at : at + 1]
        return tuple((x, max(low, min(high, y))) for row in rows for x, y in zip(truth, row[target], strict=True))

    finite = [y for y in truth if math.isfinite(y)] or [0.0]
    ends = tuple((end, end) for end in (min(finite), max(finite)))
    return (
        Series("predicted = true", palette.TRUTH, ends),
        Series("before", palette.BEFORE, points(0), style="rings"),
        Series(_after(step), colour, points(min(step, last_step(view))), style="points"),
    )
