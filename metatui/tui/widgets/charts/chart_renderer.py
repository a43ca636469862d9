"""A line chart as rows of text: title and legend above, axes with round ticks, the curves, their last values."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final, NamedTuple

from rich.cells import cell_len
from rich.segment import Segment

from metatui.tui.widgets.charts.axis import Axis, axis_for, drawable, fixed_axis
from metatui.tui.widgets.charts.bands import Band, laid_under
from metatui.tui.widgets.charts.canvas import Canvas, Run, Signal, dots
from metatui.tui.widgets.charts.chart_theme import ChartTheme
from metatui.tui.widgets.charts.format import number
from metatui.tui.widgets.charts.header import entry, header, line_marker
from metatui.tui.widgets.charts.row_widget import Row, block, centred, fitted, merged
from metatui.tui.widgets.charts.series import Mark, Series, placed, thinned

LABEL_ROWS: Final = 3
"""Rows at the top of a chart that can hold the labels of marks."""

NARROWEST: Final = 8
"""Cells of canvas that a chart gives up its last values and its y labels for."""


class _Drawn(NamedTuple):
    """A series that has something to draw, and the position among all names of its own, which its marker goes by."""

    at: int
    series: Series


@dataclass(frozen=True)
class Picture:
    series: tuple[Series, ...] = ()
    marks: tuple[Mark, ...] = ()
    faults: tuple[float, ...] = ()
    """Positions of values that are not finite, drawn as crosses on the x axis."""
    title: str = ""
    x_label: str = ""
    y_label: str = ""
    log_y: bool = False
    y_limits: tuple[float, float] | None = None
    x_limits: tuple[float, float] | None = None
    """Exact ends of the axis; None: round numbers around the points."""
    whole_x: bool = False
    """Whether x counts something, so that there is nothing between two whole numbers."""
    legend: bool = True
    last_values: bool = True
    empty: str = ""
    """Shown while there is nothing to draw: what to do next."""


def paint(picture: Picture, width: int, height: int, look: ChartTheme, canvas: Canvas) -> list[Row]:
    """Exactly `height` rows of exactly `width` cells."""
    return block(_rows(picture, width, height, look, canvas), width, height)


def _rows(picture: Picture, width: int, height: int, look: ChartTheme, canvas: Canvas) -> list[Row]:
    if width < 1 or height < 1:
        return []
    names = accumulate(bool(series.name) for series in picture.series)
    placed_in = [_Drawn(max(0, count - 1), series) for count, series in zip(names, picture.series, strict=True)]
    drawn = [each for each in placed_in if _any_drawable(each.series, picture.log_y)]
    entries = [entry(*found, look) for found in drawn if found.series.name] if picture.legend else []
    words = header(picture.title, picture.y_label, entries, width, height, look)
    space = height - len(words)
    if not drawn:
        return [*words, *centred(look.say(picture.empty), width, space, look.muted)]
    # Worth an own row for the x label: a chart that keeps most of its height without it.
    named = bool(picture.x_label) and space >= 11
    canvas_height = space - 2 - named
    if canvas_height < 2 or width < 12:
        return [*words, *_readings(drawn, width, look)]
    plot = _Plot(picture, drawn, width, canvas_height, look, canvas)
    rows = [*words, *plot.curves(), plot.x_axis(), plot.x_ticks("" if named else look.say(picture.x_label))]
    if named:
        label = fitted(look.say(picture.x_label), plot.width, look.glyphs.ellipsis)
        indent = plot.left + (plot.width - cell_len(label)) // 2
        rows.append([Segment(" " * indent), Segment(label, look.muted)])
    return rows


def _any_drawable(series: Series, log: bool) -> bool:
    return any(math.isfinite(x) and drawable(y, log) for x, y in series.points)


def _readings(drawn: Sequence[_Drawn], width: int, look: ChartTheme) -> list[Row]:
    """The last values in words, where there is no room for curves."""
    rows: list[Row] = []
    for _, series in drawn:
        words = fitted(f"{look.say(series.name)} {number(_last(series))}", width, look.glyphs.ellipsis)
        rows.append([Segment(words, look.text if math.isfinite(_last(series)) else look.warning)])
    return rows


def _last(series: Series) -> float:
    """The last value, even if it is not finite and so not drawn."""
    return next(y for x, y in reversed(series.points) if math.isfinite(x))


def _last_drawn(series: Series, log: bool) -> float:
    return next(y for x, y in reversed(series.points) if math.isfinite(x) and drawable(y, log))


def _inside(position: float) -> float:
    return max(0.0, min(1.0, position))


def _cell(position: float, cells: int, dots_each: int) -> int:
    """The cell that plotext puts a position in: it rounds to dots, from the middle of the first to that of the last."""
    return math.floor(0.5 + (dots_each * cells - 1) * position) // dots_each


def _over(blank: str, start: int, marks: Mapping[int, Segment]) -> Row:
    """Blank cells from column `start` on, with the marks in them."""
    if not marks:
        return [Segment(blank)]
    return merged([marks.get(at, Segment(" ")) for at in range(start, start + len(blank))])


def _is_free(runs: Sequence[Run], wanted: range) -> bool:
    """Whether no curve is in these columns."""
    column = 0
    for run in runs:
        if run.signal is not None and column < wanted.stop and wanted.start < column + len(run.text):
            return False
        column += len(run.text)
    return True


class _Plot:
    """The part of a chart below its header."""

    def __init__(
        self, picture: Picture, drawn: Sequence[_Drawn], width: int, height: int, look: ChartTheme, canvas: Canvas
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
        self._faults = picture.faults
        self._marks = [(column, mark) for mark in picture.marks if (column := self._column(mark.x)) is not None]

    def _y_axis(self, picture: Picture) -> Axis:
        count = max(2, min(8, self.height * 2 // 5))
        if picture.y_limits is not None:
            return fixed_axis(*picture.y_limits, count, log=picture.log_y)
        values = (y for _, series in self._drawn for x, y in series.points if math.isfinite(x))
        axis = axis_for(values, count, log=picture.log_y)
        assert axis is not None  # a series without a drawable point is not drawn
        return axis

    def _x_axis(self, picture: Picture) -> Axis:
        count = max(2, min(10, self.width // 8))
        if picture.x_limits is not None:
            first, last = picture.x_limits
            return fixed_axis(first, last, min(count, int(last - first)) if picture.whole_x else count)
        axis = axis_for((x for _, series in self._drawn for x, y in series.points if math.isfinite(y)), count)
        assert axis is not None
        return axis

    def _row(self, value: float) -> int:
        """The row of a value, counted from the top."""
        return self.height - 1 - _cell(_inside(self._y.at(value)), self.height, self._dots)

    def _last_values(self, log: bool) -> dict[int, tuple[str, Series]]:
        """The text beside each row; values that would share a row are moved to the nearest free one."""
        lines = [series for _, series in self._drawn if series.style == "line"]
        beside: dict[int, tuple[str, Series]] = {}
        if len(lines) <= self.height:
            for series in lines:
                wanted = self._row(_last_drawn(series, log))
                free = [row for row in range(self.height) if row not in beside]
                distances = [abs(row - wanted) for row in free]
                row = free[distances.index(min(distances))]
                beside[row] = (number(_last(series)), series)
        return beside

    def curves(self) -> list[Row]:
        signals = [self._signal(*found) for found in self._drawn]
        cells = self._canvas.draw(signals, self.width, self.height)
        bands = [
            Band(signal, placed(found.series, self._x, self._y))
            for signal, found in enumerate(self._drawn)
            if found.series.style == "band"
        ]
        if bands:
            cells = laid_under(cells, bands, None if self._dots == 4 else self._look.glyphs.speck)
        behind = self._behind(cells)
        ticks = {self._row(tick): label for tick, label in zip(self._y.ticks, self._y.labels, strict=True)}
        glyphs = self._look.glyphs
        rows = []
        for index, runs in enumerate(cells):
            label = ticks.get(index)
            axis = glyphs.vertical if label is None else glyphs.tick_left
            row = [Segment((label or "")[: self._labels].rjust(self._labels) + axis, self._look.muted)]
            column = 0
            for run in runs:
                row += [self._segment(run)] if run.signal is not None else _over(run.text, column, behind[index])
                column += len(run.text)
            if index in self._lasts:
                text, series = self._lasts[index]
                known = math.isfinite(_last(series))
                row += [Segment(" "), Segment(text, self._look.colour(series.colour) if known else self._look.warning)]
            rows.append(row)
        return rows

    def _column(self, x: float) -> int | None:
        """The column of a value on the x axis; None beyond its ends."""
        across = self._x.at(x)
        return _cell(across, self.width, min(2, self._dots)) if 0 <= across <= 1 else None

    def _behind(self, cells: Sequence[Sequence[Run]]) -> list[dict[int, Segment]]:
        """The marks in each row by column, which show where there is no curve."""
        rows: list[dict[int, Segment]] = [{} for _ in cells]
        for column, mark in self._marks:
            style = self._look.colour(mark.colour) if mark.colour else self._look.muted
            for row in rows:
                row[column] = Segment(self._look.glyphs.dashed, style)
        for column, mark in reversed(self._marks):  # the newest first, which explains the current values
            style = self._look.colour(mark.colour) if mark.colour else self._look.muted
            label = self._look.say(mark.label)
            for row, runs in zip(rows[:LABEL_ROWS], cells, strict=False):
                for start in (column + 1, column - len(label)):
                    wanted = range(start, start + len(label))
                    if start >= 0 and wanted.stop <= self.width and _is_free(runs, wanted) and not row.keys() & wanted:
                        row.update((at, Segment(character, style)) for at, character in zip(wanted, label, strict=True))
                        break
                else:
                    continue
                break
        return rows

    def _centred(self, across: float, up: float) -> tuple[float, float]:
        """Where a whole character has to be placed to lie on the cell that a line through the point goes through."""
        if math.isnan(up):
            return across, up
        column, row = _cell(across, self.width, min(2, self._dots)), _cell(up, self.height, self._dots)
        return column / (self.width - 1), row / (self.height - 1)

    def _signal(self, at: int, series: Series) -> Signal:
        points = placed(series, self._x, self._y)
        match series.style:
            case "line":
                return Signal(thinned(points, self.width), line_marker(at, self._look), connected=True)
            case "points":
                points = [self._centred(*point) for point in points]
                return Signal(points, self._look.glyphs.points, connected=False)
            case "band":
                return Signal((), self._look.glyphs.marker, connected=False)

    def _segment(self, run: Run) -> Segment:
        if run.signal is None:
            return Segment(run.text)
        series = self._drawn[run.signal].series
        return Segment(run.text, self._look.colour(series.colour, dim=series.style == "band"))

    def _columns(self) -> list[tuple[int, str]]:
        """The column of each x tick, and its label."""
        places = (_cell(_inside(self._x.at(tick)), self.width, min(2, self._dots)) for tick in self._x.ticks)
        return list(zip(places, self._x.labels, strict=True))

    def x_axis(self) -> Row:
        glyphs = self._look.glyphs
        line = [glyphs.horizontal] * self.width
        for column, _ in self._columns():
            line[column] = glyphs.tick_below
        axis = [Segment(character, self._look.muted) for character in line]
        for x in self._faults:
            if (at := self._column(x)) is not None:
                axis[at] = Segment(glyphs.wrong, self._look.warning)
        return merged([Segment(" " * (self.left - 1) + glyphs.corner, self._look.muted), *axis])

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
