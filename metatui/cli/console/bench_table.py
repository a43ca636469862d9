"""Report of `metatui bench`: a table and a plot for each task, and notes on the measurement."""

from __future__ import annotations

import math
import os
import textwrap
from collections.abc import Iterator, Mapping, Sequence

from rich import box
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.segment import Segment
from rich.style import Style
from rich.table import Table
from rich.text import Text

from metatui.cli.console.output import cell, table
from metatui.learning.benchmark import ENGINES, Cell, Measurement, described, rows
from metatui.tui.screens.benchmark import plot
from metatui.tui.terminal import symbols
from metatui.tui.terminal.symbols import GLYPHS, Glyphs, Symbols

COLOURS = ("cyan", "yellow", "green", "magenta", "red", "blue")
"""Colours of the engines, in order. They belong to the terminal's theme, because the background is unknown."""

STYLES = {
    **{engine: COLOURS[i % len(COLOURS)] for i, engine in enumerate(ENGINES)},
    plot.MUTED: "dim",
    plot.FLOOR: "bold",
    "": "none",
}

ASCII_HEAD = box.Box("    \n    \n -- \n    \n    \n    \n    \n    \n", ascii=True)


def bench_report(measurements: Sequence[Measurement], screen: Console, *, ascii_only: bool) -> Iterator[RenderableType]:
    """Yield the parts of the report."""
    look = Symbols.ASCII if ascii_only else symbols.detect(os.environ, screen.encoding)
    glyphs = GLYPHS[look]
    by_cell = {m.cell: m for m in measurements}
    for task, lines in rows.by_task(by_cell):
        cells = [by_cell[cell] for _, cell in lines]
        yield Text(f"{task}: {described(task)}", style="bold")
        yield _table(lines, by_cell, look)
        yield from (Text(rows.failed(m), style="dim") for m in cells if m.error)
        if drawn := plot.plot(cells, screen.width - 1, glyphs):
            yield from map(_text, [plot.legend(cells, glyphs), *drawn, []])
    machine = rows.describe_machine(measurements[0].machine)
    for note in filter(None, (machine, *rows.NOTES, rows.graph_note(measurements), rows.floor_warning(measurements))):
        text = symbols.ascii(note) if look is Symbols.ASCII else note
        yield Text(textwrap.fill(text, min(screen.width, 120)), style="dim")


def _table(lines: Sequence[tuple[str, Cell]], measurements: Mapping[Cell, Measurement], look: Symbols) -> Table:
    made = table(*rows.HEADINGS, numbers=rows.NUMBERS)
    made.columns[0].no_wrap = True
    made.add_column("speed", ratio=1)
    made.expand, made.padding = True, (0, 1, 0, 0)
    if look is Symbols.ASCII:
        made.box = ASCII_HEAD
    ratios = rows.speed_ratios(measurements.values())
    for name, line in lines:
        texts = (name, rows.engine(line), *rows.figures(measurements[line]))
        made.add_row(*map(cell, texts), _Bar(ratios.get(line, 0.0), STYLES[line.engine], GLYPHS[look]))
    return made


def _text(row: plot.Row) -> Text:
    return Text.assemble(" ", *((piece.text, STYLES[piece.meaning]) for piece in row), no_wrap=True, overflow="crop")


class _Bar:
    """A bar over `share` of the available width: empty for 0, otherwise at least one character."""

    def __init__(self, share: float, style: str, glyphs: Glyphs) -> None:
        self._share, self._style, self._glyphs = share, style, glyphs

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Segment(self._glyphs.done * math.ceil(self._share * options.max_width), Style.parse(self._style))
