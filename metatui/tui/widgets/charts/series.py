"""Series, marks and everything else that a line chart shows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal, NamedTuple

from metatui.tui.widgets.charts.axis import Axis, drawable
from metatui.tui.widgets.charts.dots import Position


@dataclass(frozen=True)
class Series:
    """Named points (x, y).

    A value that is not finite is a gap in a line. A band has two points at each x, the lower and the upper end.
    """

    name: str
    """Name in the legend. A series without a name belongs to the named series before it, and has the same marker."""
    colour: str
    """A name in metatui.tui.colors.palette, a run's colour, or any colour that rich can parse."""
    points: Sequence[tuple[float, float]]
    style: Literal["line", "points", "rings", "band"] = "line"
    shorter: tuple[str, ...] = ()
    """Names for narrower legends, from the longest to the shortest."""
    short: str = ""
    """Shorter name, used when the legend shows the values under the cursor."""


@dataclass(frozen=True)
class Mark:
    """A changed setting, or a value that is not finite.

    A changed setting is drawn as a vertical line behind the curves, with its label if there is room. The legend shows
    the mark while the cursor is on it.
    """

    x: float
    label: str
    colour: str = ""
    """Colour of the mark, specified like `Series.colour`. If it is empty, marks have their default colour."""
    run: str = ""
    """Name of the series to which the mark belongs, in a chart of several runs."""


@dataclass(frozen=True)
class ChartData:
    """Everything that a line chart shows."""

    series: tuple[Series, ...] = ()
    """Series of the chart. Bands are drawn below lines, lines with many points below lines with few, and single points
    on top. If two lines both have many points or both have few, the line that changed last is on top."""
    marks: tuple[Mark, ...] = ()
    faults: tuple[Mark, ...] = ()
    """Marks for values that are not finite, drawn as crosses on the x axis."""
    title: str = ""
    shorter_titles: tuple[str, ...] = ()
    """Titles for narrower charts, from the longest to the shortest."""
    x_label: str = ""
    shorter_x_label: str = ""
    """Shorter name of the x axis, used if there is no room for `x_label` between the labels of ticks. Empty if there is
    none."""
    y_label: str = ""
    log_y: bool = False
    """True for a logarithmic y axis, on which values of 0 or less are gaps."""
    y_limits: tuple[float, float] | None = None
    """Limits of a linear y axis. If None, the limits are chosen to contain all values."""
    early_outside: bool = False
    """Whether a linear y axis may cut off the first values if the rest of the curve would otherwise look flat."""
    x_limits: tuple[float, float] | None = None
    integer_x: bool = False
    """True if x is a count, so that ticks are at whole numbers only."""
    legend: bool = True
    last_values: bool = True
    empty: str = ""
    """Hint shown while there is nothing to draw."""


class DrawableSeries(NamedTuple):
    """A series that contains at least one drawable value.

    `position` is the index of the series among the named series, and selects its marker. An unnamed series has the
    position of the named series before it.
    """

    position: int
    series: Series


def drawable_series(data: ChartData) -> list[DrawableSeries]:
    names = accumulate(bool(series.name) for series in data.series)
    indexed = [DrawableSeries(max(0, count - 1), series) for count, series in zip(names, data.series, strict=True)]
    return [each for each in indexed if _any_drawable(each.series, data.log_y)]


def _any_drawable(series: Series, log: bool) -> bool:
    return any(math.isfinite(x) and drawable(y, log) for x, y in series.points)


def placed(points: Sequence[tuple[float, float]], x: Axis, y: Axis) -> tuple[Position, ...]:
    """Return the positions of points on the axes, with NaN for coordinates that cannot be drawn."""
    return tuple(zip(x.positions(x for x, _ in points), y.positions(y for _, y in points), strict=True))
