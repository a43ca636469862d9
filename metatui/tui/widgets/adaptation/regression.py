"""One regression task: the truth, its support points, and the prediction before and after adaptation."""

from __future__ import annotations

import math
from collections.abc import Sequence

from metatui.events import RegressionView
from metatui.tui import palette
from metatui.tui.widgets.adaptation.views import last_step
from metatui.tui.widgets.charts import ChartData, Series
from metatui.tui.widgets.charts.axis import axis_for


def curves(view: RegressionView, step: int, colour: str) -> tuple[Series, ...]:
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


def limits(views: Sequence[RegressionView], height: int) -> tuple[float, float] | None:
    """Return one y range for all charts of a task, independent of the inner step.

    It holds the truth and the support points, and predictions up to half the truth's range beyond it.
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


def chart(view: RegressionView, step: int, colour: str, y_limits: tuple[float, float] | None) -> ChartData:
    return ChartData(
        curves(view, step, colour),
        y_limits=y_limits,
        x_limits=(view.grid[0], view.grid[-1]) if view.grid else None,
        legend=False,
        last_values=False,
        empty="This task has no curve to draw.",
    )
