"""Table and chart of the benchmark screen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from rich.style import Style
from rich.text import Text
from textual.coordinate import Coordinate
from textual.widgets import DataTable, Static

from metatui.learning.benchmark import rows
from metatui.learning.benchmark.runner import Measurement
from metatui.learning.benchmark.workloads import ENGINES, Cell, describe_task
from metatui.tui.colors import palette
from metatui.tui.screens.benchmark import plot
from metatui.tui.terminal.symbols import GLYPHS
from metatui.tui.widgets.charts.chart_theme import symbols_of
from metatui.tui.widgets.static_text import shown_in

NARROW = 84
"""Terminal width below which the column with meta-steps per second is omitted, because the milliseconds per meta-step
contain the same information."""
LEFT_OUT = rows.HEADINGS.index("meta-\nsteps/s")

WIDTHS = (16, 9, 7, 7, 8, 7, 7)
"""Widths of the columns to the left of the bars."""


def engine_style(index: int, app: Any) -> Style:
    """Return the style of the engine at position `index` of ENGINES."""
    hue = palette.RUN_HUES[index % len(palette.RUN_HUES)]
    return Style.parse(palette.shade(hue, app.current_theme.dark, app.native_ansi_color))


class BenchmarkTable(DataTable[Text]):
    """Table with a row for each combination of a workload and an engine, grouped by task.

    The cursor moves to each row when its measurement starts, until the user moves the cursor.
    """

    DEFAULT_CSS = "BenchmarkTable { height: 1fr; scrollbar-size-vertical: 1; overflow-x: hidden; }"

    def __init__(self, cells: Sequence[Cell]) -> None:
        super().__init__(cursor_type="row", zebra_stripes=False)
        self._set_cells(cells)
        self.measurements: dict[Cell, Measurement] = {}
        self._measuring: Cell | None = None
        self._width = 0
        """Width for which the columns were last laid out."""
        self._followed = 0
        """Row to which the widget last moved the cursor. If the cursor is on another row, the user has moved it, and
        the widget no longer moves it."""

    def show(self, cells: Sequence[Cell]) -> None:
        """Replace the benchmark cells (rows) of the table. This must be called before the first measurement."""
        if cells != self._cells:
            self._set_cells(cells)
            if self.columns:
                self._rebuild()

    def _set_cells(self, cells: Sequence[Cell]) -> None:
        self._cells = cells
        self._lines: list[str | Cell] = []
        """Rows of the table: the name of each task, followed by the benchmark cells of the task."""
        self._names: dict[Cell, str] = {}
        for task, lines in rows.by_task(cells):
            self._lines += [task, *(cell for _, cell in lines)]
            self._names |= {cell: name for name, cell in lines}

    @property
    def selected_task(self) -> str:
        line = self._lines[self.cursor_row]
        return line.work.task if isinstance(line, Cell) else line

    @property
    def selected(self) -> Measurement | None:
        """The measurement in the row under the cursor, or None if there is no measurement in this row."""
        line = self._lines[self.cursor_row]
        return self.measurements.get(line) if isinstance(line, Cell) else None

    def start(self, cell: Cell) -> None:
        """Show that `cell` is being measured."""
        self._measuring = cell
        self._update(cell)
        if self.cursor_row == self._followed:
            self._followed = self._lines.index(cell)
            self.move_cursor(row=self._followed, scroll=True)

    def add(self, measurement: Measurement) -> None:
        """Show a measurement, and redraw all bars of its workload, because they show relative speeds."""
        self.measurements[measurement.cell] = measurement
        for cell in self._cells:
            if cell.work == measurement.cell.work:
                self._update(cell)

    def finish(self) -> None:
        """Show that nothing is being measured."""
        cell, self._measuring = self._measuring, None
        if cell:
            self._update(cell)

    def on_resize(self) -> None:
        # Use the outer width, because the inner width changes when the scroll bar appears or disappears.
        if self._width != self.outer_size.width:
            self._width = self.outer_size.width
            self._rebuild()
        else:
            self.move_cursor(row=self.cursor_row, scroll=True)

    def _rebuild(self) -> None:
        row = self.cursor_row
        self.clear(columns=True)
        shown = [i for i in range(len(WIDTHS)) if self._width >= NARROW or i != LEFT_OUT]
        for i in shown:
            heading = Text(rows.HEADINGS[i], justify="right" if i > 1 else "left")
            self.add_column(heading, width=WIDTHS[i], key=str(i))
        self.header_height = 2
        used = sum(WIDTHS[i] + 2 * self.cell_padding for i in shown) + self.scrollbar_size_vertical
        self.add_column("speed", width=max(4, self._width - used - 2 * self.cell_padding), key="bar")
        for line in self._lines:
            self.add_row(*self._texts(line), key=line if isinstance(line, str) else rows.full_name(line))
        self.move_cursor(row=row, scroll=True)

    def _update(self, cell: Cell) -> None:
        if self.columns:
            row = self._lines.index(cell)
            for column, text in enumerate(self._texts(cell)):
                self.update_cell_at(Coordinate(row, column), text)

    def _texts(self, line: str | Cell) -> list[Text]:
        """Return the texts of a row, one for each visible column."""
        if isinstance(line, str):
            return [Text(line, style="bold"), *(Text() for _ in self.ordered_columns[1:])]
        names = [Text(self._names[line]), Text(rows.engine(line))]
        texts = {str(i): text for i, text in enumerate(names + self._numbers(line))}
        texts["bar"] = self._bar(line)
        return [texts[str(column.key.value)] for column in self.ordered_columns]

    def _numbers(self, cell: Cell) -> list[Text]:
        measurement = self.measurements.get(cell)
        if measurement is None:
            first = GLYPHS[symbols_of(self)].ellipsis if cell == self._measuring else ""
            numbers: tuple[str, ...] = (first, *[""] * (len(rows.NUMBERS) - 1))
        else:
            numbers = rows.figures(measurement)
            if measurement.error:
                numbers = ("failed", *numbers[1:])
        return [Text(number, justify="right") for number in numbers]

    def _bar(self, cell: Cell) -> Text:
        ratio = rows.speed_ratios(self.measurements.values()).get(cell, 0.0)
        length = math.ceil(ratio * self.ordered_columns[-1].width)
        return Text(GLYPHS[symbols_of(self)].done * length, style=engine_style(ENGINES.index(cell.engine), self.app))


class BenchmarkChart(Static):
    """Plots the milliseconds per meta-step of each engine, and their lower bound on this machine.

    The plot shows the workloads of one task.
    """

    DEFAULT_CSS = """
    BenchmarkChart {
        height: 10; border-top: solid $foreground 30%; border-title-color: $foreground; border-title-style: bold;
        &:ansi { border-top: solid ansi_bright_black; }
    }
    """

    def __init__(self) -> None:
        super().__init__("", markup=False)
        self._measurements: Sequence[Measurement] = ()

    def show(self, task: str, measurements: Sequence[Measurement]) -> None:
        self.border_title = shown_in(self, f" {task}: {describe_task(task)} ")
        self._measurements = measurements
        self._draw()

    def on_resize(self) -> None:
        self._draw()

    def _draw(self) -> None:
        glyphs = GLYPHS[symbols_of(self)]
        drawn = plot.plot(self._measurements, self.size.width, glyphs)
        styles = {engine: engine_style(i, self.app) + Style(bold=True) for i, engine in enumerate(ENGINES)}
        styles |= {plot.MUTED: Style(dim=True), plot.FLOOR: Style(bold=True), "": Style()}
        lines = [
            Text.assemble(*((piece.text, styles[piece.meaning]) for piece in row), no_wrap=True, overflow="crop")
            for row in ([plot.legend(self._measurements, glyphs), *drawn] if drawn else ())
        ]
        self.update(Text("\n").join(lines))
