"""Line chart as rows of text: title and legend, axes with round ticks, curves and their last values."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final, NamedTuple

from rich.cells import cell_len
from rich.segment import Segment

from metatui.tui.formatting import number
from metatui.tui.widgets.charts.axis import Axis, axis_for, drawable, fixed_axis
from metatui.tui.widgets.charts.canvas import Band, Canvas, Run, Signal, dots, draw_bands
from metatui.tui.widgets.charts.chart_theme import ChartTheme
from metatui.tui.widgets.charts.header import header, legend_entry, line_marker
from metatui.tui.widgets.charts.row_widget import Row, RowsWidget, block, centred, fitted, merged
from metatui.tui.widgets.charts.series import Mark, Series, placed, thinned

LABEL_ROWS: Final = 3
"""Number of rows at the top of a chart for the labels of marks."""

NARROWEST: Final = 8
"""Minimum width of the curves; a narrower chart drops its last values and y labels."""


@dataclass(frozen=True)
class ChartData:
    """Everything that a line chart shows; later series cover earlier ones."""

    series: tuple[Series, ...] = ()
    marks: tuple[Mark, ...] = ()
    faults: tuple[float, ...] = ()
    """The x coordinates of values that are not finite, which are drawn as crosses on the x axis."""
    title: str = ""
    x_label: str = ""
    y_label: str = ""
    log_y: bool = False
    """Logarithmic y axis, on which values of at most 0 are gaps."""
    y_limits: tuple[float, float] | None = None
    """Exact ends of the axis; None selects round numbers around the values."""
    x_limits: tuple[float, float] | None = None
    integer_x: bool = False
    """True if x is a count, so that ticks are at whole numbers only."""
    legend: bool = True
    last_values: bool = True
    empty: str = ""
    """Hint shown while there is nothing to draw."""


class LineChart(RowsWidget):
    """Curves on common axes. A chart smaller than 20x6 cells shows the last values as text."""

    DEFAULT_CSS = "LineChart { min-height: 6; }"
    ALLOW_MAXIMIZE = True

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id, classes=classes)
        self._data = ChartData()
        self._canvas = Canvas()

    def show(self, data: ChartData) -> None:
        self._data = data
        self.redraw()

    def rows(self, width: int, height: int, theme: ChartTheme) -> list[Row]:
        return paint(self._data, width, height, theme, self._canvas)


def paint(data: ChartData, width: int, height: int, theme: ChartTheme, canvas: Canvas) -> list[Row]:
    """Draw a chart as exactly `height` rows of exactly `width` cells."""
    return block(_rows(data, width, height, theme, canvas), width, height)


class _Drawn(NamedTuple):
    """A series with something to draw, and its position among the named series, which selects its marker."""

    position: int
    series: Series


def _rows(data: ChartData, width: int, height: int, theme: ChartTheme, canvas: Canvas) -> list[Row]:
    if width < 1 or height < 1:
        return []
    names = accumulate(bool(series.name) for series in data.series)
    indexed = [_Drawn(max(0, count - 1), series) for count, series in zip(names, data.series, strict=True)]
    drawn = [each for each in indexed if _any_drawable(each.series, data.log_y)]
    entries = [legend_entry(*each, theme) for each in drawn if each.series.name] if data.legend else []
    rows = header(data.title, data.y_label, entries, width, height, theme)
    space = height - len(rows)
    if not drawn:
        return [*rows, *centred(theme.printable(data.empty), width, space, theme.muted)]
    # The x label has a separate row only if the curves keep most of the height.
    label_row = bool(data.x_label) and space >= 11
    plot_height = space - 2 - label_row
    if plot_height < 2 or width < 12:
        return [*rows, *_readings(drawn, width, theme)]
    plot = _Plot(data, drawn, width, plot_height, theme, canvas)
    rows += [*plot.curves(), plot.x_axis(), plot.x_ticks("" if label_row else theme.printable(data.x_label))]
    if label_row:
        label = fitted(theme.printable(data.x_label), plot.width, theme.glyphs.ellipsis)
        indent = plot.left + (plot.width - cell_len(label)) // 2
        rows.append([Segment(" " * indent), Segment(label, theme.muted)])
    return rows


def _any_drawable(series: Series, log: bool) -> bool:
    return any(math.isfinite(x) and drawable(y, log) for x, y in series.points)


def _readings(drawn: Sequence[_Drawn], width: int, theme: ChartTheme) -> list[Row]:
    """Return the last values as text, if there is no room for curves."""
    rows: list[Row] = []
    for _, series in drawn:
        words = fitted(f"{theme.printable(series.name)} {number(_last(series))}", width, theme.glyphs.ellipsis)
        rows.append([Segment(words, theme.text if math.isfinite(_last(series)) else theme.warning)])
    return rows


def _last(series: Series) -> float:
    """Return the last value, even if it is not finite and therefore not drawn."""
    return next(y for x, y in reversed(series.points) if math.isfinite(x))


def _last_drawn(series: Series, log: bool) -> float:
    return next(y for x, y in reversed(series.points) if math.isfinite(x) and drawable(y, log))


def _inside(position: float) -> float:
    return max(0.0, min(1.0, position))


def _cell(position: float, cells: int, dots_each: int) -> int:
    """Return the cell of a position, rounded to dots as in plotext, from the middle of the first to the last."""
    return math.floor(0.5 + (dots_each * cells - 1) * position) // dots_each


def _with_marks(blank: str, start: int, marks: Mapping[int, Segment]) -> Row:
    """Replace the blanks from column `start` on with the marks in these columns."""
    if not marks:
        return [Segment(blank)]
    return merged([marks.get(column, Segment(" ")) for column in range(start, start + len(blank))])


def _is_free(runs: Sequence[Run], columns: range) -> bool:
    """Return whether no curve is in these columns."""
    column = 0
    for run in runs:
        if run.signal is not None and column < columns.stop and columns.start < column + len(run.text):
            return False
        column += len(run.text)
    return True


class _Plot:
    """The part of a chart below its header."""

    def __init__(
        self, data: ChartData, drawn: Sequence[_Drawn], width: int, height: int, theme: ChartTheme, canvas: Canvas
    ) -> None:
        self._data, self._drawn, self._theme, self._canvas = data, drawn, theme, canvas
        self.height = height
        self._y = self._y_axis()
        self._dots = 1 if theme.distinct else dots(theme.glyphs.marker)
        labels = max((len(label) for label in self._y.labels), default=0)
        self._lasts = self._last_values() if data.last_values and width >= 50 else {}
        gutter = max((len(text) for text, _ in self._lasts.values()), default=-1) + 1
        if width - labels - 1 - gutter < 3 * NARROWEST:
            self._lasts, gutter = {}, 0
        self._labels = labels if width - labels - 1 >= NARROWEST else 0
        self.left = self._labels + 1
        self.width = width - self.left - gutter
        self._x = self._x_axis()
        self._marks = [(column, mark) for mark in data.marks if (column := self._column(mark.x)) is not None]

    def _y_axis(self) -> Axis:
        count = max(2, min(8, self.height * 2 // 5))
        if self._data.y_limits is not None:
            return fixed_axis(*self._data.y_limits, count, log=self._data.log_y)
        values = (y for _, series in self._drawn for x, y in series.points if math.isfinite(x))
        axis = axis_for(values, count, log=self._data.log_y)
        assert axis is not None  # every drawn series has a drawable point
        return axis

    def _x_axis(self) -> Axis:
        count = max(2, min(10, self.width // 8))
        if self._data.x_limits is not None:
            first, last = self._data.x_limits
            return fixed_axis(first, last, min(count, int(last - first)) if self._data.integer_x else count)
        axis = axis_for((x for _, series in self._drawn for x, y in series.points if math.isfinite(y)), count)
        assert axis is not None
        return axis

    def _row(self, value: float) -> int:
        """Return the row of a value, counted from the top."""
        return self.height - 1 - _cell(_inside(self._y.at(value)), self.height, self._dots)

    def _column(self, x: float) -> int | None:
        """Return the column of a value on the x axis; None beyond its ends."""
        position = self._x.at(x)
        return _cell(position, self.width, min(2, self._dots)) if 0 <= position <= 1 else None

    def _last_values(self) -> dict[int, tuple[str, Series]]:
        """Return the text next to each row; values that would share a row move to the nearest free row."""
        lines = [series for _, series in self._drawn if series.style == "line"]
        beside: dict[int, tuple[str, Series]] = {}
        if len(lines) <= self.height:
            for series in lines:
                wanted = self._row(_last_drawn(series, self._data.log_y))
                free = (row for row in range(self.height) if row not in beside)
                beside[min(free, key=lambda row: abs(row - wanted))] = (number(_last(series)), series)
        return beside

    def curves(self) -> list[Row]:
        cells = self._canvas.draw([self._signal(*each) for each in self._drawn], self.width, self.height)
        bands = [
            Band(signal, placed(each.series, self._x, self._y))
            for signal, each in enumerate(self._drawn)
            if each.series.style == "band"
        ]
        if bands:
            cells = draw_bands(cells, bands, None if self._dots == 4 else self._theme.glyphs.speck)
        behind = self._mark_cells(cells)
        ticks = {self._row(tick): label for tick, label in zip(self._y.ticks, self._y.labels, strict=True)}
        return [
            [*self._axis_cell(ticks.get(row)), *self._curve_cells(runs, behind[row]), *self._last_value(row)]
            for row, runs in enumerate(cells)
        ]

    def _axis_cell(self, label: str | None) -> Row:
        axis = self._theme.glyphs.vertical if label is None else self._theme.glyphs.tick_left
        return [Segment((label or "")[: self._labels].rjust(self._labels) + axis, self._theme.muted)]

    def _curve_cells(self, runs: Sequence[Run], marks: Mapping[int, Segment]) -> Row:
        row: Row = []
        column = 0
        for run in runs:
            if run.signal is None:
                row += _with_marks(run.text, column, marks)
            else:
                series = self._drawn[run.signal].series
                row.append(Segment(run.text, self._theme.colour(series.colour, dim=series.style == "band")))
            column += len(run.text)
        return row

    def _last_value(self, row: int) -> Row:
        if row not in self._lasts:
            return []
        text, series = self._lasts[row]
        finite = math.isfinite(_last(series))
        return [Segment(" "), Segment(text, self._theme.colour(series.colour) if finite else self._theme.warning)]

    def _mark_cells(self, cells: Sequence[Sequence[Run]]) -> list[dict[int, Segment]]:
        """Return for each row the cells of marks and of their labels, by column. Curves are drawn over them."""
        rows: list[dict[int, Segment]] = [{} for _ in cells]
        styled = [
            (column, mark, self._theme.colour(mark.colour) if mark.colour else self._theme.muted)
            for column, mark in self._marks
        ]
        for column, _, style in styled:
            for row in rows:
                row[column] = Segment(self._theme.glyphs.dashed, style)
        for column, mark, style in reversed(styled):  # the newest first: it explains the current values
            label = self._theme.printable(mark.label)
            places = (
                (row, range(start, start + len(label)))
                for row, runs in zip(rows[:LABEL_ROWS], cells, strict=False)
                for start in (column + 1, column - len(label))
                if start >= 0
                and start + len(label) <= self.width
                and _is_free(runs, range(start, start + len(label)))
                and not row.keys() & range(start, start + len(label))
            )
            if place := next(places, None):
                row, columns = place
                row.update((at, Segment(char, style)) for at, char in zip(columns, label, strict=True))
        return rows

    def _centred(self, x: float, y: float) -> tuple[float, float]:
        """Return the position of a character that covers the same cell as a line through the point."""
        if math.isnan(y):
            return x, y
        column, row = _cell(x, self.width, min(2, self._dots)), _cell(y, self.height, self._dots)
        return column / (self.width - 1), row / (self.height - 1)

    def _signal(self, position: int, series: Series) -> Signal:
        points = placed(series, self._x, self._y)
        match series.style:
            case "line":
                return Signal(thinned(points, self.width), line_marker(position, self._theme), connected=True)
            case "points" | "rings":
                points = [self._centred(*point) for point in points]
                character = self._theme.glyphs.points if series.style == "points" else self._theme.glyphs.rings
                return Signal(points, character, connected=False)
            case "band":
                return Signal((), self._theme.glyphs.marker, connected=False)

    def _x_tick_columns(self) -> list[tuple[int, str]]:
        columns = (_cell(_inside(self._x.at(tick)), self.width, min(2, self._dots)) for tick in self._x.ticks)
        return list(zip(columns, self._x.labels, strict=True))

    def x_axis(self) -> Row:
        glyphs = self._theme.glyphs
        axis = [Segment(glyphs.horizontal, self._theme.muted)] * self.width
        for column, _ in self._x_tick_columns():
            axis[column] = Segment(glyphs.tick_below, self._theme.muted)
        for x in self._data.faults:
            if (fault := self._column(x)) is not None:
                axis[fault] = Segment(glyphs.wrong, self._theme.warning)
        return merged([Segment(" " * (self.left - 1) + glyphs.corner, self._theme.muted), *axis])

    def x_ticks(self, name: str) -> Row:
        """Return labels below their ticks, omitting those that would touch, and `name` at the right end."""
        total = self.left + self.width
        free_until = total
        line = [" "] * total
        if name and cell_len(name) <= self.width // 2:
            free_until = total - cell_len(name) - 1
            line[free_until + 1 :] = list(name)
        free_from = 0
        for column, label in self._x_tick_columns():
            start = max(0, min(self.left + column - len(label) // 2, total - len(label)))
            if start >= free_from and start + len(label) <= free_until:
                line[start : start + len(label)] = label
                free_from = start + len(label) + 1
        return [Segment("".join(line).rstrip(), self._theme.muted)]
