"""A line chart as rows of text: title and legend above, axes with round ticks, the curves, their last values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from rich.cells import cell_len
from rich.segment import Segment

from metatui.tui.charts.axis import Axis, axis_for, drawable, fixed_axis
from metatui.tui.charts.canvas import Canvas, Run, Signal, dots
from metatui.tui.charts.format import number
from metatui.tui.charts.look import Look
from metatui.tui.charts.rows import Row, block, centred, fitted, spread, width_of
from metatui.tui.charts.series import Series, placed, thinned

NARROWEST: Final = 8
"""Cells of canvas that a chart gives up its last values and its y labels for."""


@dataclass(frozen=True)
class Picture:
    series: tuple[Series, ...] = ()
    title: str = ""
    x_label: str = ""
    y_label: str = ""
    log_y: bool = False
    y_limits: tuple[float, float] | None = None
    x_limits: tuple[float, float] | None = None
    """Exact ends of the axis; None: round numbers around the points."""
    legend: bool = True
    last_values: bool = True
    empty: str = ""
    """Shown while there is nothing to draw: what to do next."""


def paint(picture: Picture, width: int, height: int, look: Look, canvas: Canvas) -> list[Row]:
    """Exactly `height` rows of exactly `width` cells."""
    return block(_rows(picture, width, height, look, canvas), width, height)


def _rows(picture: Picture, width: int, height: int, look: Look, canvas: Canvas) -> list[Row]:
    if width < 1 or height < 1:
        return []
    drawn = [series for series in picture.series if _any_drawable(series, picture.log_y)]
    header = _header(picture, drawn, width, height, look)
    space = height - len(header)
    if not drawn:
        return [*header, *centred(look.say(picture.empty), width, space, look.muted)]
    # Worth an own row for the x label: a chart that keeps most of its height without it.
    named = bool(picture.x_label) and space >= 11
    canvas_height = space - 2 - named
    if canvas_height < 2 or width < 12:
        return [*header, *_readings(drawn, picture.log_y, width, look)]
    plot = _Plot(picture, drawn, width, canvas_height, look, canvas)
    rows = [*header, *plot.curves(), plot.x_axis(), plot.x_ticks("" if named else look.say(picture.x_label))]
    if named:
        label = fitted(look.say(picture.x_label), plot.width, look.glyphs.ellipsis)
        indent = plot.left + (plot.width - cell_len(label)) // 2
        rows.append([Segment(" " * indent), Segment(label, look.muted)])
    return rows


def _any_drawable(series: Series, log: bool) -> bool:
    return any(math.isfinite(x) and drawable(y, log) for x, y in series.points)


def line_marker(index: int, look: Look) -> str:
    """What the line with this index is drawn with."""
    return look.glyphs.lines[index % len(look.glyphs.lines)] if look.distinct else look.glyphs.marker


def _sample(index: int, series: Series, look: Look) -> str:
    if series.style == "points":
        return look.glyphs.points
    return line_marker(index, look) if look.distinct else look.glyphs.sample


def _header(picture: Picture, drawn: Sequence[Series], width: int, height: int, look: Look) -> list[Row]:
    """The title with the legend beside it, or under it beside the y label where that is needed and there is room."""
    title = look.say(picture.title)
    y_label = look.say(picture.y_label)
    entries = _legend(picture, drawn, look) if picture.legend else []
    roomy = height >= 10
    if title and y_label and not roomy and y_label.lower() not in title.lower():
        longer = f"{title} ({y_label})"
        title = longer if cell_len(longer) + 2 + _entries_width(entries) <= width else title
    beside_title = cell_len(title) + 2 + _entries_width(entries) <= width or not entries
    if not title and not entries:
        return [[Segment(fitted(y_label, width, look.glyphs.ellipsis), look.muted)]] if y_label else []
    if not beside_title and not roomy:
        short = fitted(title, width, look.glyphs.ellipsis)
        return [spread([Segment(short, look.title)], _joined(entries, width - cell_len(short) - 2, look), width)]
    short = fitted(title, width, look.glyphs.ellipsis)
    rows = [spread([Segment(short, look.title)], _joined(entries, width, look) if beside_title else [], width)]
    below = [Segment(fitted(y_label, width, look.glyphs.ellipsis), look.muted)] if y_label else []
    if not beside_title:
        legend = _joined(entries, width, look)
        below = below if width_of(below) + 2 + width_of(legend) <= width else []
        rows.append(spread(below, legend, width))
    elif below and roomy:
        rows.append(below)
    return rows


def _legend(picture: Picture, drawn: Sequence[Series], look: Look) -> list[Row]:
    return [
        [
            Segment(_sample(index, series, look), look.colour(series.colour)),
            Segment(f" {look.say(series.name)}", look.text),
        ]
        for index, series in enumerate(drawn)
        if series.name
    ]


def _entries_width(entries: Sequence[Row]) -> int:
    return sum(width_of(entry) + 2 for entry in entries) - 2 if entries else 0


def _joined(entries: Sequence[Row], width: int, look: Look) -> Row:
    """As many entries as fit, and how many more there are; nothing if not even one fits."""
    for count in range(len(entries), 0, -1):
        rest = len(entries) - count
        more: list[Row] = [[Segment(f"+{rest}", look.muted)]] if rest else []
        shown = [*entries[:count], *more]
        if _entries_width(shown) <= width:
            return [part for index, entry in enumerate(shown) for part in ([Segment("  ")] if index else []) + entry]
    return []


def _readings(drawn: Sequence[Series], log: bool, width: int, look: Look) -> list[Row]:
    """The last values in words, where there is no room for curves."""
    return [
        [
            Segment(
                fitted(f"{look.say(series.name)} {number(_last(series, log))}", width, look.glyphs.ellipsis), look.text
            )
        ]
        for series in drawn
    ]


def _last(series: Series, log: bool) -> float:
    return next(y for x, y in reversed(series.points) if math.isfinite(x) and drawable(y, log))


class _Plot:
    """The part of a chart below its header."""

    def __init__(
        self, picture: Picture, drawn: Sequence[Series], width: int, height: int, look: Look, canvas: Canvas
    ) -> None:
        self._drawn, self._look, self._canvas = drawn, look, canvas
        self.height = height
        self._y = self._y_axis(picture)
        self._dots = 1 if look.distinct else dots(look.glyphs.marker)
        labels = max((len(label) for label in self._y.labels), default=0)
        self._lasts = self._last_values(picture.log_y) if picture.last_values and width >= 50 else {}
        gutter = max((len(text) for text, _ in self._lasts.values()), default=-1) + 1
        if width - labels - 1 - gutter < 3 * NARROWEST:
            self._lasts, gutter = {}, 0
        self._labels = labels if width - labels - 1 >= NARROWEST else 0
        self.left = self._labels + 1
        self.width = width - self.left - gutter
        self._x = self._x_axis(picture)

    def _y_axis(self, picture: Picture) -> Axis:
        count = max(2, min(8, self.height * 2 // 5))
        if picture.y_limits is not None:
            return fixed_axis(*picture.y_limits, count, log=picture.log_y)
        values = (y for series in self._drawn for x, y in series.points if math.isfinite(x))
        axis = axis_for(values, count, log=picture.log_y)
        assert axis is not None  # a series without a drawable point is not drawn
        return axis

    def _x_axis(self, picture: Picture) -> Axis:
        count = max(2, min(10, self.width // 8))
        if picture.x_limits is not None:
            return fixed_axis(*picture.x_limits, count)
        axis = axis_for((x for series in self._drawn for x, y in series.points if math.isfinite(y)), count)
        assert axis is not None
        return axis

    def _row(self, value: float) -> int:
        """The row of a value, counted from the top, as plotext places it."""
        position = max(0.0, min(1.0, self._y.at(value)))
        return self.height - 1 - math.floor(0.5 + (self._dots * self.height - 1) * position) // self._dots

    def _last_values(self, log: bool) -> dict[int, tuple[str, Series]]:
        """The text beside each row; values that would share a row are moved to the nearest free one."""
        lines = [series for series in self._drawn if series.style == "line"]
        beside: dict[int, tuple[str, Series]] = {}
        if len(lines) <= self.height:
            for series in lines:
                value = _last(series, log)
                wanted = self._row(value)
                row = min((r for r in range(self.height) if r not in beside), key=lambda r, w=wanted: abs(r - w))  # type: ignore[misc]
                beside[row] = (number(value), series)
        return beside

    def curves(self) -> list[Row]:
        signals = []
        for index, series in enumerate(self._drawn):
            connected = series.style == "line"
            marker = line_marker(index, self._look) if connected else self._look.glyphs.points
            points = placed(series, self._x, self._y)
            points = thinned(points, self.width) if connected else [self._centred(*point) for point in points]
            signals.append(Signal(points, marker, connected))
        cells = self._canvas.draw(signals, self.width, self.height)
        ticks = {self._row(tick): label for tick, label in zip(self._y.ticks, self._y.labels, strict=True)}
        glyphs = self._look.glyphs
        rows = []
        for index, runs in enumerate(cells):
            label = ticks.get(index)
            axis = glyphs.vertical if label is None else glyphs.tick_left
            row = [Segment((label or "")[: self._labels].rjust(self._labels) + axis, self._look.muted)]
            row += [self._segment(run) for run in runs]
            if index in self._lasts:
                text, series = self._lasts[index]
                row += [Segment(" "), Segment(text, self._look.colour(series.colour))]
            rows.append(row)
        return rows

    def _centred(self, across: float, up: float) -> tuple[float, float]:
        """Where a whole character has to be placed to lie on the cell that a line through the point goes through."""
        if math.isnan(up):
            return across, up
        columns, rows = 1 if self._dots == 1 else 2, self._dots
        column = math.floor(0.5 + (columns * self.width - 1) * across) // columns
        row = math.floor(0.5 + (rows * self.height - 1) * up) // rows
        return column / (self.width - 1), row / (self.height - 1)

    def _segment(self, run: Run) -> Segment:
        return Segment(run.text, None if run.signal is None else self._look.colour(self._drawn[run.signal].colour))

    def _columns(self) -> list[tuple[int, str]]:
        per_cell = 1 if self._dots == 1 else 2
        found = []
        for tick, label in zip(self._x.ticks, self._x.labels, strict=True):
            position = max(0.0, min(1.0, self._x.at(tick)))
            found.append((math.floor(0.5 + (per_cell * self.width - 1) * position) // per_cell, label))
        return found

    def x_axis(self) -> Row:
        glyphs = self._look.glyphs
        line = [glyphs.horizontal] * self.width
        for column, _ in self._columns():
            line[column] = glyphs.tick_below
        return [Segment(" " * (self.left - 1) + glyphs.corner + "".join(line), self._look.muted)]

    def x_ticks(self, name: str) -> Row:
        """Labels under their ticks, those that would touch left out, and `name` at the right end."""
        total = self.left + self.width
        free_until = total
        line = [" "] * total
        if name and cell_len(name) <= self.width // 2:
            free_until = total - cell_len(name) - 1
            line[free_until + 1 :] = list(name)
        free_from = 0
        for column, label in self._columns():
            start = max(0, min(self.left + column - len(label) // 2, total - len(label)))
            if start >= free_from and start + len(label) <= free_until:
                line[start : start + len(label)] = label
                free_from = start + len(label) + 1
        return [Segment("".join(line).rstrip(), self._look.muted)]
