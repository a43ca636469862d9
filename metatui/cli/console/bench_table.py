"""What `metatui bench` prints for people: a table and a plot for each task, and what they were measured by."""

from __future__ import annotations

import math
import os
import textwrap
from collections.abc import Iterator, Sequence
from itertools import groupby

from rich import box
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.segment import Segment
from rich.style import Style
from rich.table import Table
from rich.text import Text

from metatui.cli.console.output import cell, table
from metatui.learning.benchmark import ENGINES, Measurement, described
from metatui.tui.screens.benchmark import plot, rows
from metatui.tui.terminal import symbols
from metatui.tui.terminal.symbols import GLYPHS, Glyphs, Symbols

COLOURS = ("cyan", "yellow", "green", "magenta", "red", "blue")
"""Of the engines, in their order; the terminal's own, since nothing tells how light it is."""

STYLES = {
    **{engine: COLOURS[i % len(COLOURS)] for i, engine in enumerate(ENGINES)},
    plot.MUTED: "dim",
    plot.FLOOR: "bold",
    "": "none",
}

ASCII_HEAD = box.Box("    \n    \n -- \n    \n    \n    \n    \n    \n", ascii=True)


def shown(found: Sequence[Measurement], screen: Console, *, ascii_only: bool) -> Iterator[RenderableType]:
    """All of it, for as many cells as have been measured."""
    look = Symbols.ASCII if ascii_only else symbols.detect(os.environ, screen.encoding)
    glyphs = GLYPHS[look]
    for task, group in groupby(found, key=lambda each: each.cell.work.task):
        cells = list(group)
        yield Text(f"{task}: {described(task)}", style="bold")
        yield _table(cells, look)
        yield from (Text(rows.failed(each), style="dim") for each in cells if each.error)
        drawn = plot.plot(cells, screen.width - 1, glyphs)
        if drawn:
            yield from map(_text, [plot.legend(cells, glyphs), *drawn, []])
    notes = (rows.said(found[0].machine), *rows.NOTES, rows.graph_note(found), rows.doubt(found)) if found else ()
    for text in filter(None, notes):
        said = symbols.ascii(text) if look is Symbols.ASCII else text
        yield Text(textwrap.fill(said, min(screen.width, 120)), style="dim")


def _table(found: Sequence[Measurement], look: Symbols) -> Table:
    made = table(*rows.HEADINGS, numbers=rows.NUMBERS)
    made.columns[0].no_wrap = True
    made.add_column("speed", ratio=1)
    made.expand, made.padding = True, (0, 1, 0, 0)
    if look is Symbols.ASCII:
        made.box = ASCII_HEAD
    fastest, last = rows.fastest(found), None
    for each in found:
        work, engine = each.cell.work, each.cell.engine
        share = (each.tasks_per_s or 0) / fastest.get(work, math.inf)
        name = "" if work == last else rows.name(work)
        made.add_row(
            *map(cell, (name, rows.engine(each.cell), *rows.figures(each))), _Bar(share, STYLES[engine], GLYPHS[look])
        )
        last = work
    return made


def _text(row: plot.Row) -> Text:
    return Text.assemble(" ", *((piece.text, STYLES[piece.meaning]) for piece in row), no_wrap=True, overflow="crop")


class _Bar:
    """As long as `share` of the room there is; nothing for 0, at least a cell for anything else."""

    def __init__(self, share: float, style: str, glyphs: Glyphs) -> None:
        self._share, self._style, self._glyphs = share, style, glyphs

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Segment(self._glyphs.done * math.ceil(self._share * options.max_width), Style.parse(self._style))
