"""Tables of words as rows, in parts below each other where they are wider than the room."""

from __future__ import annotations

from rich.cells import cell_len
from rich.segment import Segment

from metatui.runs.analysis.comparison.tables import TextTable
from metatui.tui.widgets.charts.chart_theme import ChartTheme
from metatui.tui.widgets.charts.row_widget import Row, fitted, padded

GAP = 2
SHORTEST_NAME = 12


def table_rows(table: TextTable, width: int, look: ChartTheme) -> list[Row]:
    """The title, then the table; where it does not fit, its columns in several parts that each begin with the names."""
    cells = [[look.say(cell) for cell in row] for row in (table.headings, *table.rows)]
    widths = [max(cell_len(row[column]) for row in cells) for column in range(len(table.headings))]
    names = list(range(table.names))
    largest = max(widths[table.names :], default=0)
    while sum(widths[i] + GAP for i in names) + largest > width and max(widths[i] for i in names) > SHORTEST_NAME:
        widths[max(names, key=lambda i: widths[i])] -= 1
    rows: list[Row] = [[Segment(line, look.title)] for line in [fitted(look.say(table.title), width, "")]]
    for columns in _parts(widths, table.names, width):
        for number, row in enumerate(cells):
            style = look.muted if number == 0 else look.text
            line: Row = []
            for i in [*names, *columns]:
                text = fitted(row[i], widths[i], look.glyphs.ellipsis)
                blank = " " * (widths[i] - cell_len(text))
                line.append(Segment(f"{text}{blank}" if i < table.names else f"{blank}{text}", style))
                line.append(Segment(" " * GAP))
            rows.append(padded(line, width))
        rows.append([])
    return rows


def _parts(widths: list[int], names: int, width: int) -> list[list[int]]:
    """The columns beside the names, as many in each part as fit."""
    room = width - sum(size + GAP for size in widths[:names])
    parts: list[list[int]] = [[]]
    used = 0
    for i in range(names, len(widths)):
        if parts[-1] and used + widths[i] > room:
            parts.append([])
            used = 0
        parts[-1].append(i)
        used += widths[i] + GAP
    return parts
