"""The benchmark's table as a widget: a row for each cell, filled in as it is measured."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from rich.style import Style
from rich.text import Text
from textual.coordinate import Coordinate
from textual.widgets import DataTable

from metatui.learning.benchmark import ENGINES, Cell, Measurement
from metatui.tui import palette
from metatui.tui.screens.benchmark import rows
from metatui.tui.terminal.symbols import GLYPHS
from metatui.tui.widgets.charts.chart_theme import symbols_of

NARROW = 84
"""Below as many columns, meta-steps a second are left out: milliseconds say the same."""

LEFT_OUT = rows.HEADINGS.index("meta-\nsteps/s")

WIDTHS = (16, 9, 7, 7, 8, 7, 7)
"""Of the columns before the bars, in their order."""


def colour(index: int, app: Any) -> Style:
    """How an engine is drawn, by its number among ENGINES, in the app's theme."""
    hue = palette.RUN_HUES[index % len(palette.RUN_HUES)]
    return Style.parse(palette.shade(hue, app.current_theme.dark, app.native_ansi_color))


class BenchmarkTable(DataTable[Text]):
    """Shows `cells` in their order, tasks above each other. The cursor follows what is measured until it is moved."""

    DEFAULT_CSS = "BenchmarkTable { height: 1fr; scrollbar-size-vertical: 1; overflow-x: hidden; }"

    def __init__(self, cells: Sequence[Cell]) -> None:
        super().__init__(cursor_type="row", zebra_stripes=False)
        self._cells, self._lines = cells, _lines(cells)
        self.found: dict[Cell, Measurement] = {}
        self._measuring: Cell | None = None
        self._width = 0
        """That the columns were made for."""
        self._placed = 0
        """The row that the cursor was last put on; the user has moved it where it is on another."""

    def show(self, cells: Sequence[Cell]) -> None:
        """Replace the cells before anything is measured."""
        if cells != self._cells:
            self._cells, self._lines = cells, _lines(cells)
            if self.columns:
                self._rebuild(self._width)

    @property
    def selected_task(self) -> str:
        """The task under the cursor."""
        line = self._line
        return line.work.task if isinstance(line, Cell) else line

    @property
    def selected(self) -> Measurement | None:
        """What is known of the cell under the cursor."""
        line = self._line
        return self.found.get(line) if isinstance(line, Cell) else None

    @property
    def _line(self) -> str | Cell:
        return self._lines[self.cursor_row]

    def measuring(self, cell: Cell) -> None:
        """`cell` has its turn."""
        self._measuring = cell
        self._update(cell)
        if self.cursor_row == self._placed:
            self._placed = self._lines.index(cell)
            self.move_cursor(row=self._placed, scroll=True)

    def measured(self, found: Measurement) -> None:
        """A cell is done; the bars of its work may all change with it."""
        self.found[found.cell] = found
        for cell in self._cells:
            if cell.work == found.cell.work:
                self._update(cell)

    def finish(self) -> None:
        """Nothing is being measured any more."""
        cell, self._measuring = self._measuring, None
        if cell:
            self._update(cell)

    def on_resize(self) -> None:
        # The whole width, since the scroll bar comes and goes.
        if self._width != self.outer_size.width:
            self._width = self.outer_size.width
            self._rebuild(self._width)
        else:
            self.move_cursor(row=self.cursor_row, scroll=True)

    def _rebuild(self, width: int) -> None:
        row = self.cursor_row
        self.clear(columns=True)
        kept = [i for i in range(len(WIDTHS)) if width >= NARROW or i != LEFT_OUT]
        for i in kept:
            heading = Text(rows.HEADINGS[i], justify="right" if i > 1 else "left")
            self.add_column(heading, width=WIDTHS[i], key=str(i))
        self.header_height = 2
        taken = sum(WIDTHS[i] + 2 * self.cell_padding for i in kept) + self.scrollbar_size_vertical
        self.add_column("speed", width=max(4, width - taken - 2 * self.cell_padding), key="bar")
        for line in self._lines:
            self.add_row(*self._texts(line), key=_key(line))
        self.move_cursor(row=row, scroll=True)

    def _update(self, cell: Cell) -> None:
        if not self.columns:
            return
        row = self._lines.index(cell)
        for column, text in enumerate(self._texts(cell)):
            self.update_cell_at(Coordinate(row, column), text)

    def _texts(self, line: str | Cell) -> list[Text]:
        """The cells of a row, for the columns that there are."""
        if isinstance(line, str):
            return [Text(line, style="bold"), *(Text() for _ in self.ordered_columns[1:])]
        made = {str(i): text for i, text in enumerate(self._named(line) + self._numbers(line))}
        made["bar"] = self._bar(line)
        return [made[str(column.key.value)] for column in self.ordered_columns]

    def _named(self, cell: Cell) -> list[Text]:
        before = self._lines[self._lines.index(cell) - 1]
        again = isinstance(before, Cell) and before.work == cell.work
        return [Text("" if again else rows.name(cell.work)), Text(rows.engine(cell))]

    def _numbers(self, cell: Cell) -> list[Text]:
        found = self.found.get(cell)
        if found:
            figures = ("failed", *rows.figures(found)[1:]) if found.error else rows.figures(found)
            return [Text(figure, justify="right") for figure in figures]
        glyphs = GLYPHS[symbols_of(self)]
        return [
            Text(glyphs.ellipsis if cell == self._measuring and i == 0 else "", justify="right")
            for i in range(len(rows.NUMBERS))
        ]

    def _bar(self, cell: Cell) -> Text:
        found = self.found.get(cell)
        best = rows.fastest(self.found.values()).get(cell.work)
        if found is None or best is None or found.tasks_per_s is None:
            return Text()
        room = self.ordered_columns[-1].width
        done = GLYPHS[symbols_of(self)].done * math.ceil(found.tasks_per_s / best * room)
        return Text(done, style=colour(ENGINES.index(cell.engine), self.app))


def _lines(cells: Sequence[Cell]) -> list[str | Cell]:
    """The rows: each task is followed by its cells."""
    lines: list[str | Cell] = []
    for cell in cells:
        if cell.work.task not in lines:
            lines.append(cell.work.task)
        lines.append(cell)
    return lines


def _key(line: str | Cell) -> str:
    return line if isinstance(line, str) else rows.called(line)
