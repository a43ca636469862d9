"""Header of a chart, which contains the title, the legend and the label of the y axis."""

from __future__ import annotations

import math
import string
from collections.abc import Iterable, Sequence
from dataclasses import replace

from rich.cells import cell_len
from rich.segment import Segment

from metatui.tui.formatting import number
from metatui.tui.widgets.charts.chart_theme import ChartTheme
from metatui.tui.widgets.charts.row_widget import Row, spread, truncate_words, width_of
from metatui.tui.widgets.charts.series import ChartData, DrawableSeries, Mark, Series

TWO_ROWS_FROM = 10
"""Minimum height of a chart in which the header may have two rows."""

LONG_LEGEND_FROM = 16
"""Minimum height of a chart in which the legend may have MAX_LEGEND_ROWS rows."""
MAX_LEGEND_ROWS = 3


def line_marker(index: int, theme: ChartTheme) -> str:
    """Return the marker that draws the line at position `index` of the series of a chart.

    It is a character or the name of a plotext marker.
    """
    return theme.glyphs.lines[index % len(theme.glyphs.lines)] if theme.distinct else theme.glyphs.marker


def point_markers(drawn: Iterable[DrawableSeries], theme: ChartTheme) -> dict[int, str]:
    """Return the character that draws each series of points, keyed by position.

    If there are several such series and colours do not distinguish them, the characters are letters.
    """
    positions = sorted({each.position for each in drawn if each.series.style == "points"})
    if len(positions) < 2 or not theme.distinct:
        return dict.fromkeys(positions, theme.glyphs.points)
    letters = string.ascii_uppercase
    return {position: letters[index % len(letters)] for index, position in enumerate(positions)}


def legend_entry(index: int, series: Series, theme: ChartTheme, points: str = "") -> Row:
    """Return a sample of the series and its name.

    Args:
        points: the character that draws the points of the series, if it differs from the default of the glyph set.
    """
    sample = line_marker(index, theme) if theme.distinct else theme.glyphs.sample
    if points:
        sample += points
    mark = {"points": points or theme.glyphs.points, "rings": theme.glyphs.rings}.get(series.style, sample)
    return [Segment(f"{mark} ", theme.colour(series.colour)), Segment(theme.printable(series.name), theme.text)]


def chart_header(
    data: ChartData, drawn: Sequence[DrawableSeries], width: int, height: int, theme: ChartTheme, cursor: float | None
) -> list[Row]:
    """Lay out the title and the legend.

    If there is a cursor, they show the x coordinate, the marks and the values at the cursor.
    """
    titles, named = [data.title, *data.shorter_titles], [each for each in drawn if each.series.name]
    if cursor is not None:
        titles = [f"{data.x_label}: {_coordinate(cursor)}"]
        lines = [each for each in drawn if each.series.style == "line"]
        named = [
            DrawableSeries(
                each.position, _with_values(each.series, [s for at, s in lines if at == each.position], cursor)
            )
            for each in named
        ]
    letters = {at: mark for at, mark in point_markers(drawn, theme).items() if mark != theme.glyphs.points}
    shown = data.legend or cursor is not None
    titles = [theme.printable(title) for title in titles]
    marks = [_mark_entry(mark, theme) for mark in marks_at(data, drawn, cursor, width)] if cursor is not None else []
    entries: list[Row] = []
    for level in range(1 + max((len(each.series.shorter) for each in named), default=0) if shown else 0):
        legend = (DrawableSeries(each.position, _shortened(each.series, level)) for each in named)
        entries = [*marks, *(legend_entry(*each, theme, letters.get(each.position, "")) for each in legend)]
        if _is_complete(entries, titles[-1], width, height):
            break
    return _header(titles, data.y_label, entries, width, height, theme)


def _shortened(series: Series, level: int) -> Series:
    """Return the series with its name or, if `level` is at least 1, with one of its shorter names."""
    return (
        replace(series, name=series.shorter[min(level, len(series.shorter)) - 1])
        if level and series.shorter
        else series
    )


def _is_complete(entries: Sequence[Row], title: str, width: int, height: int) -> bool:
    """Return whether the header of a chart with these entries shows all of them."""
    if height < TWO_ROWS_FROM:
        return cell_len(title) + 2 + _width(entries) <= width
    return _width(_wrapped(entries, width, _most_rows(height))[-1]) <= width


def _most_rows(height: int) -> int:
    """Return the maximum number of legend rows in a chart of `height` rows. `height` must be at least TWO_ROWS_FROM."""
    return MAX_LEGEND_ROWS if height >= LONG_LEGEND_FROM else 1


def _with_values(named: Series, lines: Sequence[Series], x: float) -> Series:
    """Append the value nearest to `x` to the name of a line, and the x coordinate of this value if it is not `x`.

    The name of a series of points does not change.

    Args:
        lines: The named line and the unnamed lines after it. If there are several lines, the name gets the smallest and
            the largest of their values.
    """
    if named.style != "line":
        return named
    nearest = [
        min((point for point in line.points if math.isfinite(point[0])), key=lambda point: abs(point[0] - x))
        for line in lines
    ]
    values = [value for _, value in nearest]
    text = number(values[0]) if len(values) == 1 else f"{number(min(values))} to {number(max(values))}"
    place = "" if nearest[0][0] == x else f" at {_coordinate(nearest[0][0])}"
    return replace(named, name=f"{named.short or named.name} {text}{place}", shorter=())


def marks_at(data: ChartData, drawn: Iterable[DrawableSeries], cursor: float, width: int) -> list[Mark]:
    """Return the marks in the cursor's column, and the marks whose nearest value is under the cursor.

    Every mark can therefore be reached by moving the cursor from value to value.
    """
    xs = {x for each in drawn for x, y in each.series.points if math.isfinite(x) and math.isfinite(y)}
    column = (max(xs) - min(xs)) / (2 * max(1, width)) if xs else 0.0

    def is_near(mark: Mark) -> bool:
        return abs(mark.x - cursor) <= column or min(xs, key=lambda x: abs(x - mark.x), default=mark.x) == cursor

    return [mark for mark in (*data.marks, *data.faults) if mark.label and is_near(mark)]


def _mark_entry(mark: Mark, theme: ChartTheme) -> Row:
    text = f"{mark.run}: {mark.label}" if mark.run else mark.label
    style = theme.colour(mark.colour) if mark.colour else theme.muted
    return [
        Segment(f"{theme.glyphs.dashed} ", style),
        Segment(theme.printable(f"{text} at {_coordinate(mark.x)}"), theme.text),
    ]


def _coordinate(x: float) -> str:
    return f"{x:,.0f}" if float(x).is_integer() and abs(x) < 1e15 else number(x)


def _header(
    titles: Sequence[str], y_label: str, entries: Sequence[Row], width: int, height: int, theme: ChartTheme
) -> list[Row]:
    """Lay out title, legend and y label for a chart of `height` rows.

    The legend is next to the title, or below it next to the y label if the title leaves too little room.

    Args:
        titles: Titles from the longest to the shortest. The first one that fits is shown.
    """
    y_label, ellipsis = theme.printable(y_label), theme.glyphs.ellipsis
    room = width if height >= TWO_ROWS_FROM or not entries else width - 2 - _width(entries)
    title = next((title for title in titles if cell_len(title) <= room), titles[-1])
    unit = [Segment(truncate_words(y_label, width, ellipsis), theme.muted)] if y_label else []
    if not title and not entries:
        return [unit] if unit else []
    if height < TWO_ROWS_FROM:
        title, unit = _title_with_label(title, y_label, width - 2 - _width(entries)), []
    left = [Segment(truncate_words(title, width, ellipsis), theme.title)]
    if height < TWO_ROWS_FROM or width_of(left) + 2 + _width(entries) <= width:
        first = spread(left, joined(entries, width - width_of(left) - 2, theme), width)
        return [first, unit] if unit else [first]
    *above, last = (joined(row, width, theme) for row in _wrapped(entries, width, _most_rows(height)))
    fits = width_of(unit) + 2 + width_of(last) <= width
    return [left, *(spread([], row, width) for row in above), spread(unit if fits else [], last, width)]


def _title_with_label(title: str, y_label: str, room: int) -> str:
    """Append the y label to the title if the title does not contain it and there is room."""
    both = f"{title} ({y_label})"
    return both if y_label and y_label.lower() not in title.lower() and cell_len(both) <= room else title


def _wrapped(entries: Sequence[Row], width: int, most_rows: int) -> list[list[Row]]:
    """Distribute the entries over at most `most_rows` rows. The last row contains all remaining entries."""
    rows: list[list[Row]] = [[]]
    for entry in entries:
        if rows[-1] and len(rows) < most_rows and _width([*rows[-1], entry]) > width:
            rows.append([])
        rows[-1].append(entry)
    return rows


def joined(entries: Sequence[Row], width: int, theme: ChartTheme) -> Row:
    """Return a row with as many entries as fit and the number of omitted entries, or an empty row if no entry fits."""
    for count in range(len(entries), 0, -1):
        rest = len(entries) - count
        more: list[Row] = [[Segment(f"+{rest}", theme.muted)]] if rest else []
        shown = [*entries[:count], *more]
        if _width(shown) <= width:
            return [part for index, entry in enumerate(shown) for part in ([Segment("  ")] if index else []) + entry]
    return []


def _width(entries: Sequence[Row]) -> int:
    return sum(width_of(entry) + 2 for entry in entries) - 2 if entries else 0
