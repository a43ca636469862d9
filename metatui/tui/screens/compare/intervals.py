"""Means and differences with their intervals, as rows of characters."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from rich.cells import cell_len
from rich.segment import Segment

from metatui.tui.widgets.charts.axis import Axis, axis_for, fixed_axis
from metatui.tui.widgets.charts.chart_theme import ChartTheme
from metatui.tui.widgets.charts.row_widget import Row, fitted, merged, padded

LEAST: Final = 12
"""Columns below which nothing is drawn and the numbers alone are given."""


@dataclass(frozen=True)
class Estimate:
    """A mean with the half-width of its interval, and what is said of it at its end."""

    label: str
    colour: str
    mean: float
    half: float
    words: str

    @property
    def ends(self) -> tuple[float, float]:
        half = self.half if math.isfinite(self.half) else 0.0
        return self.mean - half, self.mean + half


def bars(estimates: Sequence[Estimate], width: int, look: ChartTheme) -> list[Row]:
    """A bar from zero for each, its interval drawn over its end with a point at the mean, and an axis below."""
    reach = [end for each in estimates for end in each.ends if math.isfinite(end)]
    axis = fixed_axis(0.0, max([*reach, 0.0]) or 1.0, 5)
    return _drawn(estimates, axis, width, look, filled=True)


def differences(estimates: Sequence[Estimate], width: int, look: ChartTheme) -> list[Row]:
    """A point with its interval for each, a line where there would be no difference, and an axis below."""
    reach = [end for each in estimates for end in each.ends if math.isfinite(end)]
    axis = axis_for([0.0, *reach], 5)
    assert axis is not None  # zero is on it
    return _drawn(estimates, axis, width, look, filled=False)


def _drawn(estimates: Sequence[Estimate], axis: Axis, width: int, look: ChartTheme, *, filled: bool) -> list[Row]:
    words = [look.say(each.words) for each in estimates]
    at_end = max(map(cell_len, words), default=0)
    names = min(max((cell_len(look.say(each.label)) for each in estimates), default=0), max(8, width - at_end - 30))
    room = width - names - at_end - 2
    rows = []
    for each, said in zip(estimates, words, strict=True):
        name = Segment(fitted(look.say(each.label), names, look.glyphs.ellipsis), look.colour(each.colour, bold=True))
        drawing = _cells(each, axis, room, look, filled=filled) if room >= LEAST else []
        rows.append([*padded([name], names), Segment(" "), *drawing, Segment(f" {said}", look.text)])
    if room >= LEAST and estimates:
        rows += [[Segment(" " * (names + 1) + line, look.muted)] for line in _scale(axis, room, look)]
    return rows


def _column(value: float, axis: Axis, room: int) -> int:
    at = axis.at(value)
    return 0 if math.isnan(at) else max(0, min(room - 1, round(at * (room - 1))))


def _cells(each: Estimate, axis: Axis, room: int, look: ChartTheme, *, filled: bool) -> Row:
    cells = [Segment(" ", look.text)] * room
    if not math.isfinite(each.mean):
        return cells
    middle, zero, ink = _column(each.mean, axis, room), _column(0.0, axis, room), look.colour(each.colour)
    if filled:
        cells[: middle + 1] = [Segment(look.glyphs.done, ink)] * (middle + 1)
    else:
        cells[zero] = Segment(look.glyphs.vertical, look.muted)
    low, high = (_column(end, axis, room) for end in each.ends)
    if high > low:
        for at in range(low, high + 1):
            glyph = look.glyphs.vertical if at in (low, high) else look.glyphs.horizontal
            cells[at] = Segment(glyph, look.title)
    cells[middle] = Segment(look.glyphs.points[0], ink)
    return merged(cells)


def _scale(axis: Axis, room: int, look: ChartTheme) -> tuple[str, str]:
    """The axis and its numbers."""
    line, numbers, free = [look.glyphs.horizontal] * room, [" "] * room, 0
    for tick, label in zip(axis.ticks, axis.labels, strict=True):
        at = _column(tick, axis, room)
        line[at] = look.glyphs.tick_below
        start = max(0, min(at - len(label) // 2, room - len(label)))
        if start >= free:
            numbers[start : start + len(label)] = label
            free = start + len(label) + 1
    return "".join(line), "".join(numbers)
