"""The words above a chart: its title, its legend and what its y axis counts."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len
from rich.segment import Segment

from metatui.tui.widgets.charts.chart_theme import ChartTheme
from metatui.tui.widgets.charts.row_widget import Row, fitted, spread, width_of
from metatui.tui.widgets.charts.series import Series

ROOMY = 10
"""Rows of a chart that can spare a second row for words."""

HIGH = 16
"""Rows of a chart that can spare more for its legend, MOST_ROWS in all."""
MOST_ROWS = 3


def line_marker(index: int, look: ChartTheme) -> str:
    """What the line with this position among its chart's series is drawn with."""
    return look.glyphs.lines[index % len(look.glyphs.lines)] if look.distinct else look.glyphs.marker


def entry(index: int, series: Series, look: ChartTheme) -> Row:
    """A legend's entry: a sample of the series and its name."""
    sample = line_marker(index, look) if look.distinct else look.glyphs.sample
    mark = look.glyphs.points if series.style == "points" else sample
    return [Segment(f"{mark} ", look.colour(series.colour)), Segment(look.say(series.name), look.text)]


def header(title: str, y_label: str, entries: Sequence[Row], width: int, height: int, look: ChartTheme) -> list[Row]:
    """The title with the legend beside it, or under it beside the y label where that is needed and there is room; in
    a high chart the legend has as many rows there as it needs."""
    title, y_label = look.say(title), look.say(y_label)
    ellipsis, legend_width, roomy = look.glyphs.ellipsis, _width(entries), height >= ROOMY
    if not title and not entries:
        return [[Segment(fitted(y_label, width, ellipsis), look.muted)]] if y_label else []
    longer = f"{title} ({y_label})"
    if y_label and not roomy and y_label.lower() not in title.lower() and cell_len(longer) + 2 + legend_width <= width:
        title = longer
    left = [Segment(fitted(title, width, ellipsis), look.title)]
    unit = [Segment(fitted(y_label, width, ellipsis), look.muted)] if y_label and roomy else []
    if not roomy or width_of(left) + 2 + legend_width <= width:
        rows = [spread(left, joined(entries, width - width_of(left) - 2, look), width)]
        return [*rows, unit] if unit else rows
    if legend_width <= width or height < HIGH:
        legend = joined(entries, width, look)
        return [left, spread(unit if width_of(unit) + 2 + width_of(legend) <= width else [], legend, width)]
    *rows, last = (joined(row, width, look) for row in _in_rows(entries, width))
    fits = width_of(unit) + 2 + width_of(last) <= width
    return [left, *(spread([], row, width) for row in rows), spread(unit if fits else [], last, width)]


def _in_rows(entries: Sequence[Row], width: int) -> list[list[Row]]:
    """The entries in as few rows as hold them, MOST_ROWS at most: what is more is in the last one."""
    rows: list[list[Row]] = [[]]
    for found in entries:
        if rows[-1] and len(rows) < MOST_ROWS and _width([*rows[-1], found]) > width:
            rows.append([])
        rows[-1].append(found)
    return rows


def joined(entries: Sequence[Row], width: int, look: ChartTheme) -> Row:
    """As many entries as fit, and how many more there are; nothing if not even one fits."""
    for count in range(len(entries), 0, -1):
        rest = len(entries) - count
        more: list[Row] = [[Segment(f"+{rest}", look.muted)]] if rest else []
        shown = [*entries[:count], *more]
        if _width(shown) <= width:
            return [part for index, found in enumerate(shown) for part in ([Segment("  ")] if index else []) + found]
    return []


def _width(entries: Sequence[Row]) -> int:
    return sum(width_of(found) + 2 for found in entries) - 2 if entries else 0
