"""What a line chart draws: named points, thinned out to what its cells can show."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from metatui.tui.widgets.charts.axis import Axis


@dataclass(frozen=True)
class Series:
    """`points` are (x, y). On a line they follow each other, and a value that is not finite is a gap. Of a band they
    are pairs, its lower and its upper end at the same x."""

    name: str
    """In the legend. One without goes with the series before it, and is drawn alike."""
    colour: str
    """A meaning from metatui.tui.palette, a run's colour, or any colour that rich can read."""
    points: Sequence[tuple[float, float]]
    style: Literal["line", "points", "band"] = "line"


@dataclass(frozen=True)
class Mark:
    """A vertical line behind the curves at which something changed, with a label where there is room."""

    x: float
    label: str
    colour: str = ""
    """A colour as for a series; empty for a muted line."""


def placed(series: Series, x: Axis, y: Axis) -> list[tuple[float, float]]:
    """The points' positions on the axes, each coordinate from -1 to 2; what cannot be drawn is (NaN, NaN), a gap.

    A little beyond the axes on either side, so that a line leaves the chart where it does.
    """
    found = []
    for point in series.points:
        across, up = x.at(point[0]), y.at(point[1])
        if math.isnan(across) or math.isnan(up):
            found.append((math.nan, math.nan))
        else:
            found.append((max(-1.0, min(2.0, across)), max(-1.0, min(2.0, up))))
    return found


def thinned(points: Sequence[tuple[float, float]], width: int) -> list[tuple[float, float]]:
    """At most 2 `width` points that look the same on `width` cells: the lowest and highest of each stretch.

    A stretch without a drawable point stays a gap.
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
