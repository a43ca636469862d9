"""Dots of curves on a grid: curves are cut off at the edges, and successive points are connected without gaps."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from metatui.tui.widgets.charts.axis import dot

Position = tuple[float, float]
"""Position on both axes, from (0, 0) in the lower left corner to (1, 1). NaN stands for a gap in a line."""
MAX_DISTANCE: Final = 1e6
"""Coordinates farther from 0 than this are clamped to this distance."""
Dot = tuple[int, int]
"""Column and row, counted from the lower left corner."""


def point_dots(points: Iterable[Position], columns: int, rows: int) -> Iterator[Dot]:
    """Yield the dot that contains each point. Points beyond the edges are skipped."""
    return (each for point in points if (each := _dot(point, columns, rows)) is not None)


def line_dots(points: Iterable[Position], columns: int, rows: int) -> Iterator[Dot]:
    """Yield the dots of a line through the points."""
    before: Position = (math.nan, math.nan)
    last: Dot | None = None
    for point in points:
        here = _dot(point, columns, rows)
        if here is not None:
            yield here
        if here is not None and last is not None:
            yield from _connected(last, here)
        elif not any(map(math.isnan, (*before, *point))):
            ends = list(point_dots(_cut_off(before, point), columns, rows))
            yield from ends
            yield from _connected(*ends) if ends else ()
        before, last = point, here


def band_dots(points: Sequence[Position], columns: int, rows: int) -> Iterator[Dot]:
    """Yield the dots of both edges of a band, in every second column. `points` alternates between the two edges."""
    for end in (points[::2], points[1::2]):
        yield from (each for each in line_dots(end, columns, rows) if each[0] % 2 == 0)


def _dot(point: Position, columns: int, rows: int) -> Dot | None:
    x, y = point
    return (dot(x, columns), dot(y, rows)) if 0 <= x <= 1 and 0 <= y <= 1 else None  # false for NaN


def _cut_off(start: Position, end: Position) -> Sequence[Position]:
    """Clip a straight line to the chart and return the ends of the visible part (Liang–Barsky algorithm)."""
    start, end = _near(start), _near(end)
    first, last = 0.0, 1.0
    for origin, way in zip(start, (end[0] - start[0], end[1] - start[1]), strict=True):
        if way == 0:
            if not 0 <= origin <= 1:
                return ()
            continue
        enters, leaves = sorted((-origin / way, (1 - origin) / way))
        first, last = max(first, enters), min(last, leaves)
    if first > last:
        return ()

    def at(share: float) -> Position:
        x, y = (max(0.0, min(1.0, a + share * (b - a))) for a, b in zip(start, end, strict=True))
        return x, y

    return at(first), at(last)


def _near(point: Position) -> Position:
    """Clamp a position, so that differences between positions stay finite. This does not visibly change the lines."""
    x, y = (max(-MAX_DISTANCE, min(MAX_DISTANCE, value)) for value in point)
    return x, y


def _connected(start: Dot, end: Dot) -> Iterator[Dot]:
    """Yield the dots between two dots, one in each column or, if the line is steep, in each row."""
    (x, y), (across, up) = start, (end[0] - start[0], end[1] - start[1])
    length = max(abs(across), abs(up))
    for index in range(1, length):
        yield x + (2 * index * across + length) // (2 * length), y + (2 * index * up + length) // (2 * length)
