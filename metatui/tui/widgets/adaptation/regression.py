"""One regression task: the truth, what was given of it, and the prediction before and after adaptation."""

from __future__ import annotations

import math
from collections.abc import Sequence

from metatui.events import RegressionView
from metatui.tui import palette
from metatui.tui.widgets.adaptation.views import last_step
from metatui.tui.widgets.charts.axis import axis_for
from metatui.tui.widgets.charts.canvas import Canvas
from metatui.tui.widgets.charts.chart_renderer import Picture, paint
from metatui.tui.widgets.charts.chart_theme import ChartTheme
from metatui.tui.widgets.charts.row_widget import Row
from metatui.tui.widgets.charts.series import Series


def curves(view: RegressionView, step: int, colour: str) -> tuple[Series, ...]:
    """What a chart of the task draws, in the order of the panel's legend."""
    series = [
        Series("truth", palette.TRUTH, tuple(zip(view.grid, view.truth, strict=False))),
        Series("before", palette.BEFORE, _prediction(view, 0)),
        Series(f"after {_steps(step)}", colour, _prediction(view, min(step, last_step(view)))),
        Series("support", palette.SUPPORT, tuple(zip(view.support_x, view.support_y, strict=False)), style="points"),
    ]
    return tuple(series)


def _steps(step: int) -> str:
    return f"{step} step{'' if step == 1 else 's'}"


def _prediction(view: RegressionView, step: int) -> tuple[tuple[float, float], ...]:
    return tuple(zip(view.grid, view.predictions[step], strict=False)) if view.predictions else ()


def limits(views: Sequence[RegressionView], height: int) -> tuple[float, float] | None:
    """A y range for all charts of one task, whatever the inner step: it holds the truth and the support points, and
    the predictions as far as half the truth's own range beyond it."""
    truth = [y for view in views for y in (*view.truth, *view.support_y) if math.isfinite(y)]
    if not truth:
        return None
    low, high = min(truth), max(truth)
    room = max((high - low) / 2, 0.1)
    ends = [row for view in views for row in (view.predictions[:1] + view.predictions[-1:])]
    predicted = [max(low - room, min(high + room, y)) for row in ends for y in row if math.isfinite(y)]
    axis = axis_for([*truth, *predicted], max(2, height // 3))
    return None if axis is None else (axis.low, axis.high)


def chart(
    view: RegressionView,
    step: int,
    colour: str,
    y_limits: tuple[float, float] | None,
    size: tuple[int, int],
    look: ChartTheme,
    canvas: Canvas,
) -> list[Row]:
    """The task as a chart of `size` (width, height) cells."""
    picture = Picture(
        curves(view, step, colour), y_limits=y_limits, x_limits=(view.grid[0], view.grid[-1]) if view.grid else None,
        legend=False, last_values=False, empty="This task has no curve to draw.",
    )  # fmt: skip
    return paint(picture, *size, look, canvas)
