"""Report of `metatui bench`: a table and a plot for each task, and notes on the measurement."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence

from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.segment import Segment
from rich.style import Style
from rich.table import Table
from rich.text import Text

from metatui.cli.console.layout import GAP, column_widths, say, show_table, title
from metatui.learning.benchmark import rows
from metatui.learning.benchmark.runner import Measurement
from metatui.learning.benchmark.workloads import ENGINES, Cell, describe_task
from metatui.tui.screens.benchmark import plot
from metatui.tui.terminal import symbols
from metatui.tui.terminal.symbols import GLYPHS, Glyphs, Symbols

COLOURS = ("cyan", "yellow", "green", "magenta", "red", "blue")
"""ANSI colours, assigned to the engines in order. The theme of the terminal defines the exact shades."""

STYLES = {
    **{engine: COLOURS[i % len(COLOURS)] for i, engine in enumerate(ENGINES)},
    plot.MUTED: "dim",
    plot.FLOOR: "bold",
    "": "none",
}

MAX_WIDTH = 120
"""Maximum width of the report in columns."""

MIN_BAR_WIDTH = 8

ASCII_HEAD = box.Box("    \n    \n -- \n    \n    \n    \n    \n    \n", ascii=True)


def show(measurements: Sequence[Measurement], screen: Console, *, ascii_only: bool) -> None:
    """Print the fastest engines, a table and a plot for each task, and notes."""
    screen.width = min(screen.width, MAX_WIDTH)
    look = Symbols.ASCII if ascii_only else symbols.detect(os.environ, screen.encoding)
    glyphs = GLYPHS[look]
    by_cell = {m.cell: m for m in measurements}
    say(screen, *rows.fastest(measurements))
    for task, lines in rows.by_task(by_cell):
        cells = [by_cell[cell] for _, cell in lines]
        title(screen, f"{task}: {describe_task(task)}")
        _show_table(screen, lines, by_cell, look)
        say(screen, *(rows.failed(m) for m in cells if m.error), style="dim")
        if drawn := plot.plot(cells, screen.width - 1, glyphs):
            for row in [[], plot.legend(cells, glyphs), *drawn]:
                screen.print(_text(row))
    screen.line()
    machine = rows.describe_machine(measurements[0].machine)
    for note in filter(None, (machine, *rows.NOTES, rows.graph_note(measurements), rows.floor_warning(measurements))):
        text = symbols.ascii(note) if look is Symbols.ASCII else note
        say(screen, text, style="dim")


def _show_table(
    screen: Console, lines: Sequence[tuple[str, Cell]], measurements: Mapping[Cell, Measurement], look: Symbols
) -> None:
    """Print a table with a bar for each speed, or without bars if the terminal is too narrow."""
    figures = {cell: rows.figures(measurements[cell]) for _, cell in lines}
    texts = [(name, rows.engine(cell), *figures[cell]) for name, cell in lines]
    head = [tuple(max(heading.split("\n"), key=len) for heading in rows.HEADINGS)]
    widths = column_widths([*head, *texts], screen.width - GAP - MIN_BAR_WIDTH)
    if widths is None:
        headings = [heading.replace("-\n", "-").replace("\n", " ") for heading in rows.HEADINGS]
        named = ((rows.name(cell.work), rows.engine_name(cell), *figures[cell]) for _, cell in lines)
        show_table(screen, headings, named, numbers=headings[2:], names=2)
        return
    table = Table(
        box=ASCII_HEAD if look is Symbols.ASCII else box.SIMPLE_HEAD, show_edge=False, pad_edge=False, expand=True,
        padding=(0, 1, 0, 0),
    )  # fmt: skip
    for heading, width in zip(rows.HEADINGS, widths, strict=True):
        table.add_column(heading, justify="right" if heading in rows.NUMBERS else "left", width=width)
    table.add_column("speed", ratio=1)
    ratios = rows.speed_ratios(measurements.values())
    for row, (_, cell) in zip(texts, lines, strict=True):
        table.add_row(*map(Text, row), _Bar(ratios.get(cell, 0.0), STYLES[cell.engine], GLYPHS[look]))
    screen.print(table)


def _text(row: plot.Row) -> Text:
    return Text.assemble(" ", *((piece.text, STYLES[piece.meaning]) for piece in row), no_wrap=True, overflow="crop")


class _Bar:
    """A bar that fills the fraction `share` of the available width, and at least one character unless `share` is 0."""

    def __init__(self, share: float, style: str, glyphs: Glyphs) -> None:
        self._share, self._style, self._glyphs = share, style, glyphs

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Segment(self._glyphs.done * math.ceil(self._share * options.max_width), Style.parse(self._style))
