"""Series and marks of a line chart, and thinning of points to the resolution of its cells."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from metatui.tui.widgets.charts.axis import Axis


@dataclass(frozen=True)
class Series:
    """Named points (x, y).

    A value that is not finite is a gap in a line. A band has two points at each x, the lower and the upper end.
    """

    name: str
    """Name in the legend; a series without a name is drawn like the previous series."""
    colour: str
    """A name in metatui.tui.palette, a run's colour, or any colour that rich can parse."""
    points: Sequence[tuple[float, float]]
    style: Literal["line", "points", "rings", "band"] = "line"


@dataclass(frozen=True)
class Mark:
    """A vertical line behind the curves at a change, with a label if there is room."""

    x: float
    label: str
    colour: str = ""
    """Colour as in `Series`; empty for a muted line."""


def placed(series: Series, x: Axis, y: Axis) -> list[tuple[float, float]]:
    """Return the positions of the points on the axes, with (NaN, NaN) for gaps.

    Coordinates are from -1 to 2: points outside the axes determine the direction in which a line leaves the chart.
    """
    positions = []
    for point in series.points:
        left, up = x.at(point[0]), y.at(point[1])
        if math.isnan(left) or math.isnan(up):
            positions.append((math.nan, math.nan))
        else:
            positions.append((max(-1.0, min(2.0, left)), max(-1.0, min(2.0, up))))
    return positions


def thinned(points: Sequence[tuple[float, float]], width: int) -> list[tuple[float, float]]:
    """Keep only the lowest and the highest point of each of `width` intervals.

    In `width` cells, these points look the same as all points. An interval without a drawable point remains a gap.
    """
    if len(points) <= 2 * width:
        return list(points)
    size = -(-len(points) // width)
    kept: list[tuple[float, float]] = []
    for start in range(0, len(points), size):
        stretch = range(start, min(start + size, len(points)))
        drawn = [index for index in stretch if not math.isnan(points[index][1])]
        if not drawn:
            kept.append((math.nan, math.nan))
            continue
        low = min(drawn, key=lambda index: points[index][1])
        high = max(drawn, key=lambda index: points[index][1])
        kept.extend(points[index] for index in sorted({low, high}))
    return kept
