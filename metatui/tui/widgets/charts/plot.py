"""Drawing line charts as rows of text, with title, legend, axes, curves, and the last value of each curve."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style

from metatui.tui.formatting import number
from metatui.tui.widgets.charts.axis import Axis, clamped, drawable, range_axis, value_axis
from metatui.tui.widgets.charts.canvas import Run, Signal, draw_signals
from metatui.tui.widgets.charts.chart_theme import ChartTheme
from metatui.tui.widgets.charts.header import chart_header, line_marker, point_markers
from metatui.tui.widgets.charts.row_widget import Row, block, centred, merged, truncate, truncate_words
from metatui.tui.widgets.charts.series import ChartData, DrawableSeries, Mark, Series, drawable_series, placed

LABEL_ROWS: Final = 3
"""Maximum number of rows for the labels of marks, at the top of the plot."""

MIN_CURVE_WIDTH: Final = 8
"""Minimum width of the curves if y labels are shown. If last values are shown too, the minimum is three times this."""

LAST_VALUE: Final = 5
"""Minimum width of the column with the last value of each curve. A value such as `0.123` has this width."""

EARLY: Final = 0.1
"""Fraction of the x axis, starting at its left end, in which values may be outside the limits of the y axis. See
`ChartData.early_outside`."""
FLAT: Final = 1 / 3
"""Later values count as flat (see `_later_range`) if they cover less than this fraction of the range of all values."""
MIN_LATER_VALUES: Final = 20
"""Minimum number of later values (see `_later_range`) that can determine the y axis without the early ones."""


@dataclass(frozen=True)
class ChartView:
    """The part of a chart that is shown, and its cursor."""

    window: tuple[float, float] | None = None
    """Limits of the x axis, or None to show all values."""
    cursor: float | None = None
    """The x coordinate of the cursor, or None if there is no cursor. The legend shows the values at this coordinate."""
    order: Mapping[tuple[int, str], int] = field(default_factory=dict, compare=False)
    """A number for each series, keyed by position and style. A series that changed later has a higher number."""


EVERYTHING: Final = ChartView()


class Drawing(NamedTuple):
    rows: list[Row]
    plot: Plot | None
    """The plot, or None if there is nothing to draw or too little room."""


def paint(data: ChartData, width: int, height: int, theme: ChartTheme) -> list[Row]:
    """Draw a chart as exactly `height` rows of exactly `width` cells."""
    return draw(data, width, height, theme).rows


def draw(data: ChartData, width: int, height: int, theme: ChartTheme, view: ChartView = EVERYTHING) -> Drawing:
    """Draw a chart as exactly `height` rows of exactly `width` cells. Return the rows and the plot."""
    if width < 1 or height < 1:
        return Drawing(block([], width, height), None)
    drawn = drawable_series(data)
    rows = chart_header(data, drawn, width, height, theme, view.cursor)
    space = height - len(rows)
    if not drawn:
        hint = centred(theme.printable(data.empty), width, space, theme.muted)
        return Drawing(block([*rows, *hint], width, height), None)
    # The x label has a separate row only if the curves keep most of the height.
    label_row = bool(data.x_label) and space >= 11
    plot_height = space - 2 - label_row
    if plot_height < 2 or width < 12:
        return Drawing(block([*rows, *_readings(drawn, width, theme)], width, height), None)
    plot = Plot(data, drawn, width, plot_height, theme, view)
    names = [theme.printable(name) for name in (data.x_label, data.shorter_x_label) if name]
    rows += [*plot.curves(), plot.x_axis(), plot.x_ticks([] if label_row else names)]
    if label_row:
        label = truncate_words(theme.printable(data.x_label), plot.width, theme.glyphs.ellipsis)
        indent = plot.left + (plot.width - cell_len(label)) // 2
        rows.append([Segment(" " * indent), Segment(label, theme.muted)])
    return Drawing(block(rows, width, height), plot)


def _ordered(drawn: Sequence[DrawableSeries], width: int, view: ChartView) -> list[DrawableSeries]:
    """Return the series in the order in which they are drawn, the last one on top.

    A line with more points than columns would hide a sparse one, so dense lines are drawn below sparse ones. Of two
    dense or two sparse lines, the one that changed last is on top.
    """
    layers = {"band": 0, "line": 1, "points": 2, "rings": 2}

    def rank(each: DrawableSeries) -> tuple[int, bool, int, int]:
        series = each.series
        changed = view.order.get((each.position, series.style), 0)
        count = len(series.points) if series.style == "line" else 0
        return layers[series.style], count <= width, changed, -count

    return sorted(drawn, key=rank)


def _readings(drawn: Sequence[DrawableSeries], width: int, theme: ChartTheme) -> list[Row]:
    """Return the last value of each series as a row of text. These rows are shown if there is no room for curves."""
    rows: list[Row] = []
    for _, series in drawn:
        words = truncate(f"{theme.printable(series.name)} {number(_last(series))}", width, theme.glyphs.ellipsis)
        rows.append([Segment(words, theme.text if math.isfinite(_last(series)) else theme.warning)])
    return rows


def _last(series: Series) -> float:
    """Return the last value, even if it is not finite and therefore not drawn."""
    return next(y for x, y in reversed(series.points) if math.isfinite(x))


def _last_drawn(series: Series, log: bool) -> float:
    return next(y for x, y in reversed(series.points) if math.isfinite(x) and drawable(y, log))


def _later_range(points: Sequence[tuple[float, float]]) -> list[float]:
    """Return the range of the later values if they would look flat on a y axis for all values, otherwise an empty list.

    Later values are those to the right of the early part (EARLY). The range is rounded outwards, which keeps the axis
    from moving with every new value.
    """
    finite = [(clamped(x), clamped(y)) for x, y in points if math.isfinite(y)]
    first, last = min((x for x, _ in finite), default=0.0), max((x for x, _ in finite), default=0.0)
    later = [y for x, y in finite if x > first + EARLY * (last - first)]
    if len(later) < MIN_LATER_VALUES:
        return []
    low, high = min(later), max(later)
    span, whole = high - low, max(y for _, y in finite) - min(y for _, y in finite)
    if not 1e-9 * max(abs(low), abs(high)) < span < FLAT * whole:
        return []
    power = 10.0 ** math.floor(math.log10(span))
    unit = power * (0.2 if span < 2 * power else 0.5 if span < 5 * power else 1.0)
    return [math.floor(low / unit) * unit, math.ceil(high / unit) * unit]


def _with_marks(blank: str, start: int, marks: Mapping[int, Segment]) -> Row:
    """Return the row `blank`, which starts in column `start`, with `marks` drawn on it. Keys of `marks` are columns."""
    if not marks:
        return [Segment(blank)]
    return merged([marks.get(column, Segment(" ")) for column in range(start, start + len(blank))])


def _is_free(runs: Sequence[Run], columns: range) -> bool:
    """Return whether no curve is in `columns`."""
    column = 0
    for run in runs:
        if run.signal is not None and column < columns.stop and columns.start < column + len(run.text):
            return False
        column += len(run.text)
    return True


def _spread(wanted: Sequence[int], count: int) -> list[int]:
    """Return distinct rows near the wanted rows, in ascending order, each from 0 to `count` - 1.

    Args:
        wanted: At most `count` rows in ascending order, some of which may be equal.
    """
    rows: list[int] = []
    for row in wanted:
        rows.append(max(row, rows[-1] + 1) if rows else row)
    for index in range(len(rows) - 1, -1, -1):
        rows[index] = min(rows[index], count - len(rows) + index)
    return rows


class Plot:
    """The part of a chart below its header."""

    def __init__(
        self,
        data: ChartData,
        drawn: Sequence[DrawableSeries],
        width: int,
        height: int,
        theme: ChartTheme,
        view: ChartView = EVERYTHING,
    ) -> None:
        self._data, self._theme, self._view = data, theme, view
        self.drawn = _ordered(drawn, width, view)
        self._points = point_markers(drawn, theme)
        self.height = height
        self.y = self._y_axis()
        labels = max((len(label) for label in self.y.labels), default=0)
        self._lasts = self._last_values() if data.last_values and width >= 50 else {}
        # Most values have five characters. A gutter that changes with each value would move the whole chart.
        gutter = max(LAST_VALUE, *(len(text) for text, _ in self._lasts.values())) + 1 if self._lasts else 0
        if width - labels - 1 - gutter < 3 * MIN_CURVE_WIDTH:
            self._lasts, gutter = {}, 0
        self._labels = labels if width - labels - 1 >= MIN_CURVE_WIDTH else 0
        self.left = self._labels + 1
        self.width = width - self.left - gutter
        self.x = self._x_axis()
        self._marks = [(column, mark) for mark in data.marks if (column := self.x.cell(mark.x)) is not None]

    def _y_axis(self) -> Axis:
        low, high = self._view.window or (-math.inf, math.inf)
        points = [point for _, series in self.drawn for point in series.points if math.isfinite(point[0])]
        visible = [y for x, y in points if low <= x <= high] if self._view.window else []
        if self._data.y_limits is not None and not self._data.log_y:
            return range_axis(*self._data.y_limits, self.height)
        if self._data.early_outside and not self._data.log_y and not self._view.window:
            visible = _later_range(points)
        axis = value_axis(visible, self.height, log=self._data.log_y) or value_axis(
            (y for _, y in points), self.height, log=self._data.log_y
        )
        assert axis is not None  # every drawn series has a drawable point
        return axis

    def _x_axis(self) -> Axis:
        limits = self._view.window or self._data.x_limits
        if limits is None:
            values = [x for _, series in self.drawn for x, y in series.points if math.isfinite(x) and math.isfinite(y)]
            limits = min(values), max(values)
            if limits[0] == limits[1]:
                limits = min(0.0, limits[0]), max(0.0, limits[1])
        return range_axis(*limits, self.width, wide=True, whole=self._data.integer_x)

    def _row(self, value: float) -> int | None:
        """Return the row of a value, counted from the top, or None if the value is beyond the limits of the axis."""
        cell = self.y.cell(value)
        return None if cell is None else self.height - 1 - cell

    def _last_values(self) -> dict[int, tuple[str, Series]]:
        """Return the formatted last value and the series of each line, keyed by row.

        Values that would share a row are moved to neighbouring rows.
        """
        lines = [series for _, series in self.drawn if series.style == "line"]
        lasts = sorted(((_last_drawn(series, self._data.log_y), series) for series in lines), key=lambda last: -last[0])
        visible = [(row, series) for value, series in lasts if (row := self._row(value)) is not None]
        if len(visible) > self.height:
            return {}
        rows = _spread([row for row, _ in visible], self.height)
        return {row: (number(_last(series)), series) for row, (_, series) in zip(rows, visible, strict=True)}

    def curves(self) -> list[Row]:
        cells = draw_signals(tuple(self._signal(*each) for each in self.drawn), self.width, self.height)
        behind = self._mark_cells(cells)
        ticks = {self._row(tick): label for tick, label in zip(self.y.ticks, self.y.labels, strict=True)}
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
                series = self.drawn[run.signal].series
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
        """Return the cells of marks, labels and the cursor in each row, keyed by column. Curves cover these cells."""
        rows: list[dict[int, Segment]] = [{} for _ in cells]
        styled = [(column, mark, self._mark_style(mark)) for column, mark in self._marks]
        lines = [(column, Segment(self._theme.glyphs.dashed, style)) for column, _, style in styled]
        if self._view.cursor is not None and (column := self.x.cell(self._view.cursor)) is not None:
            lines.append((column, Segment(self._theme.glyphs.vertical, self._theme.title)))
        for column, line in lines:
            for row in rows:
                row[column] = line
        labelled: list[set[int]] = [set() for _ in rows[:LABEL_ROWS]]
        for column, mark, style in reversed(styled):  # newest first, because it explains the current values
            label = self._theme.printable(self._mark_label(mark))
            places = [
                (number, range(start, start + len(label)))
                for number, (taken, runs) in enumerate(zip(labelled, cells, strict=False))
                for start in (column + 1, column - len(label))
                if start >= 0
                and start + len(label) <= self.width
                and _is_free(runs, range(start, start + len(label)))
                and not taken & set(range(start, start + len(label)))
            ]
            # A label covers the line of another mark only if there is no other room.
            clear = (place for place in places if not rows[place[0]].keys() & place[1])
            if place := next(clear, places[0] if places else None):
                number, columns = place
                rows[number].update((at, Segment(char, style)) for at, char in zip(columns, label, strict=True))
                labelled[number].update(columns)
        return rows

    def _mark_label(self, mark: Mark) -> str:
        """Return the label of a mark, preceded by a sample of the run's line if colours do not distinguish the runs."""
        position = next((each.position for each in self.drawn if each.series.name == mark.run), None)
        if not (mark.run and mark.label and self._theme.distinct) or position is None:
            return mark.label
        return f"{line_marker(position, self._theme)} {mark.label}"

    def _mark_style(self, mark: Mark) -> Style:
        return self._theme.colour(mark.colour) if mark.colour else self._theme.muted

    def _signal(self, position: int, series: Series) -> Signal:
        points, glyphs = placed(series.points, self.x, self.y), self._theme.glyphs
        match series.style:
            case "line":
                return Signal(points, line_marker(position, self._theme), "line")
            case "points" | "rings":
                marker = self._points[position] if series.style == "points" else glyphs.rings
                return Signal(points, marker, "points")
            case "band":
                marker = glyphs.marker if glyphs.marker == "braille" and not self._theme.distinct else glyphs.speck
                return Signal(points, marker, "band")

    def x_axis(self) -> Row:
        glyphs = self._theme.glyphs
        axis = [Segment(glyphs.horizontal, self._theme.muted)] * self.width
        for tick in self.x.ticks:
            if (column := self.x.cell(tick)) is not None:
                axis[column] = Segment(glyphs.tick_below, self._theme.muted)
        for fault in self._data.faults:
            if (column := self.x.cell(fault.x)) is not None:
                style = self._theme.colour(fault.colour) if fault.colour else self._theme.warning
                axis[column] = Segment(glyphs.wrong, style)
        return merged([Segment(" " * (self.left - 1) + glyphs.corner, self._theme.muted), *axis])

    def x_ticks(self, names: Sequence[str]) -> Row:
        """Return a row with the labels of ticks and a name of the axis. Labels that would touch are omitted.

        The name is placed to the right of the last label or, if there is no room, in the last gap between labels that
        is wide enough.

        Args:
            names: names of the axis, in order of preference. The first one for which there is room is used.
        """
        total = self.left + self.width
        labels: list[tuple[int, str]] = []
        free_from = 0
        for tick, label in zip(self.x.ticks, self.x.labels, strict=True):
            column = self.x.cell(tick) or 0
            start = max(0, min(self.left + column - len(label) // 2, total - len(label)))
            if start >= free_from:
                labels.append((start, label))
                free_from = start + len(label) + 1
        line = [" "] * total
        place = next((place for name in names if (place := _place_of(name, labels, total))), None)
        for start, text in sorted([*labels, *([place] if place else [])], reverse=True):
            # A name can have fewer characters than cells.
            line[start : start + cell_len(text)] = text
        return [Segment("".join(line).rstrip(), self._theme.muted)]


def _place_of(name: str, labels: Sequence[tuple[int, str]], total: int) -> tuple[int, str] | None:
    """Return the start column and the text of the name of an axis, or None if there is no room between the labels.

    Args:
        labels: start column and text of each label.
        total: number of columns in the row of labels.
    """
    ends = [0, *(start + len(label) + 1 for start, label in labels)]
    starts = [*(start - 1 for start, _ in labels), total]
    gaps = [(start, end) for start, end in zip(ends, starts, strict=True) if end - start >= cell_len(name)]
    if len(labels) > 1:
        gaps = [gap for gap in gaps if gap[0] > 0]  # not before the first label
    if not gaps:
        return None
    start, end = gaps[-1]
    return end - cell_len(name) if end == total else start + (end - start - cell_len(name)) // 2, name
