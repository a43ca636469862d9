"""Means and differences with their intervals, drawn as rows of characters."""

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

NARROWEST: Final = 12
"""Columns below which only the numbers are shown."""


@dataclass(frozen=True)
class Estimate:
    """A mean with the half-width of its interval, and the text after the drawing."""

    label: str
    colour: str
    mean: float
    half: float
    words: str

    @property
    def ends(self) -> tuple[float, float]:
        half = self.half if math.isfinite(self.half) else 0.0
        return self.mean - half, self.mean + half


def bars(estimates: Sequence[Estimate], width: int, theme: ChartTheme) -> list[Row]:
    """Draw a bar from zero for each estimate, its interval over the bar's end, and an axis below."""
    axis = fixed_axis(0.0, max([*_finite_ends(estimates), 0.0]) or 1.0, 5)
    return _rows(estimates, axis, width, theme, filled=True)


def differences(estimates: Sequence[Estimate], width: int, theme: ChartTheme) -> list[Row]:
    """Draw a point with its interval for each estimate, a line at zero, and an axis below."""
    axis = axis_for([0.0, *_finite_ends(estimates)], 5)
    assert axis is not None  # zero is on it
    return _rows(estimates, axis, width, theme, filled=False)


def _finite_ends(estimates: Sequence[Estimate]) -> list[float]:
    return [end for estimate in estimates for end in estimate.ends if math.isfinite(end)]


def _rows(estimates: Sequence[Estimate], axis: Axis, width: int, theme: ChartTheme, *, filled: bool) -> list[Row]:
    labels = [theme.say(estimate.label) for estimate in estimates]
    words = [theme.say(estimate.words) for estimate in estimates]
    words_width = max(map(cell_len, words), default=0)
    label_width = min(max(map(cell_len, labels), default=0), max(8, width - words_width - 30))
    room = width - label_width - words_width - 2
    rows = []
    for estimate, label, text in zip(estimates, labels, words, strict=True):
        name = Segment(fitted(label, label_width, theme.glyphs.ellipsis), theme.colour(estimate.colour, bold=True))
        drawing = _cells(estimate, axis, room, theme, filled=filled) if room >= NARROWEST else []
        rows.append([*padded([name], label_width), Segment(" "), *drawing, Segment(f" {text}", theme.text)])
    if room >= NARROWEST and estimates:
        rows += [[Segment(" " * (label_width + 1) + line, theme.muted)] for line in _scale(axis, room, theme)]
    return rows


def _column(value: float, axis: Axis, room: int) -> int:
    position = axis.at(value)
    return 0 if math.isnan(position) else max(0, min(room - 1, round(position * (room - 1))))


def _cells(estimate: Estimate, axis: Axis, room: int, theme: ChartTheme, *, filled: bool) -> Row:
    cells = [Segment(" ", theme.text)] * room
    if not math.isfinite(estimate.mean):
        return cells
    mean, zero, ink = _column(estimate.mean, axis, room), _column(0.0, axis, room), theme.colour(estimate.colour)
    if filled:
        cells[: mean + 1] = [Segment(theme.glyphs.done, ink)] * (mean + 1)
    else:
        cells[zero] = Segment(theme.glyphs.vertical, theme.muted)
    low, high = (_column(end, axis, room) for end in estimate.ends)
    if high > low:
        for column in range(low, high + 1):
            glyph = theme.glyphs.vertical if column in (low, high) else theme.glyphs.horizontal
            cells[column] = Segment(glyph, theme.title)
    cells[mean] = Segment(theme.glyphs.points[0], ink)
    return merged(cells)


def _scale(axis: Axis, room: int, theme: ChartTheme) -> tuple[str, str]:
    """Return the axis and the numbers below it."""
    line, numbers, free = [theme.glyphs.horizontal] * room, [" "] * room, 0
    for tick, label in zip(axis.ticks, axis.labels, strict=True):
        column = _column(tick, axis, room)
        line[column] = theme.glyphs.tick_below
        start = max(0, min(column - len(label) // 2, room - len(label)))
        if start >= free:
            numbers[start : start + len(label)] = label
            free = start + len(label) + 1
    return "".join(line), "".join(numbers)
