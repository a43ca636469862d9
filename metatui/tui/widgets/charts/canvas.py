"""Adapter for plotext, which turns curves into rows of characters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import groupby
from typing import Any, Final, Literal, NamedTuple

from metatui.tui.widgets.charts.dots import Position, band_dots, line_dots, point_dots

STRIPE: Final = 4
"""Where lines coincide, their colours or characters alternate after this number of columns."""


@dataclass(frozen=True)
class Signal:
    """Points to draw. `marker` is one character, or `braille` or `hd` to draw several dots in a cell."""

    points: tuple[Position, ...]
    marker: str
    shape: Literal["line", "points", "band"]


class Run(NamedTuple):
    """Consecutive characters of one signal, or consecutive blanks. `signal` is the index of the signal, or None."""

    text: str
    signal: int | None


class _Dots(NamedTuple):
    """A grid of dots in a cell. `bits[column][row]` is the bit of a dot, counting from the lower left corner."""

    bits: tuple[tuple[int, ...], ...]
    glyphs: str
    """The glyph for each combination of dots. Its index is the sum of the bits of the dots."""


GRIDS: Final = {
    "braille": _Dots(
        ((0x40, 0x04, 0x02, 0x01), (0x80, 0x20, 0x10, 0x08)), "".join(chr(0x2800 + bits) for bits in range(256))
    ),
    "hd": _Dots(((4, 1), (8, 2)), " ▘▝▀▖▌▞▛▗▚▐▜▄▙▟█"),
}
"""The grids of the markers that draw several dots in a cell."""

_SHAPES: Final = {"line": line_dots, "points": point_dots, "band": band_dots}

Cell = tuple[int, int]
"""Column and row, counted from the lower left corner."""
Cells = Mapping[Cell, int]
"""The sum of the bits of the dots that are drawn in each cell."""


@cache
def _figure() -> Any:
    """Return a figure whose size is not limited. It is created at first use, because importing plotext is slow.

    plotext 5.3 draws on one global figure, limited to the terminal's size. A private class of plotext creates
    independent figures. Therefore, the version of plotext is pinned, and a test covers the use of this class.
    """
    from plotext._figure import _figure_class

    figure = _figure_class()
    figure._limit_size(False, False)
    figure.clear_color()
    figure.frame(False)
    figure.xticks([])
    figure.yticks([])
    return figure


@lru_cache(maxsize=16)
def draw_signals(signals: tuple[Signal, ...], width: int, height: int) -> Sequence[Sequence[Run]]:
    """Return rows from top to bottom, each exactly `width` characters. Later signals are drawn over earlier ones.

    A cell through which several lines pass shows the dots of all of them. Where two lines coincide, the cells
    alternate between their colours. The last drawings are kept, because a change of the theme changes only colours.

    The character of each cell is computed here and passed to plotext. If plotext drew the lines itself, their dots
    would be up to two dots away from the values, and a signal would hide earlier signals in the same cell.
    """
    glyphs = _glyphs(signals, width, height) if width > 1 and height > 1 else {}
    if not glyphs:
        return [[Run(" " * width, None)] if width else [] for _ in range(height)]
    figure = _figure()
    figure.clear_data()
    figure.plot_size(width, height)
    # plotext puts 0 into the first cell and 1 into the last one.
    figure.xlim(0, 1)
    figure.ylim(0, 1)
    xs, ys = [column / (width - 1) for column, _ in glyphs], [row / (height - 1) for _, row in glyphs]
    figure.scatter(xs, ys, marker=[run.text for run in glyphs.values()])
    lines = figure.build().replace("\x1b[0m", "").split("\n")[:height]
    return [_runs(line, height - 1 - row, glyphs) for row, line in enumerate(lines)]


def _glyphs(signals: Sequence[Signal], width: int, height: int) -> dict[Cell, Run]:
    """Map each cell that is not blank to its character and the index of the signal that determines its colour."""
    layers = [_cells(signal, width, height) for signal in signals]
    stacks: dict[Cell, list[int]] = {}
    for index, layer in enumerate(layers):
        for cell in layer:
            stacks.setdefault(cell, []).append(index)
    glyphs = {}
    for cell, stack in stacks.items():
        owner = stack[-1]
        bits = layers[owner][cell]
        if len(stack) > 1:
            if signals[owner].shape == "line":
                same = [i for i in stack if signals[i].shape == "line" and not layers[i][cell] & ~bits]
                owner = same[cell[0] // STRIPE % len(same)]
            for index in stack:
                bits |= layers[index][cell] if signals[index].marker == signals[owner].marker else 0
        marker = signals[owner].marker
        glyphs[cell] = Run(GRIDS[marker].glyphs[bits] if marker in GRIDS else marker, owner)
    return glyphs


def _cells(signal: Signal, width: int, height: int) -> Cells:
    cells: dict[Cell, int] = {}
    dots = GRIDS.get(signal.marker)
    bits = dots.bits if dots else ((1,),)
    across, up = len(bits), len(bits[0])
    for column, row in _SHAPES[signal.shape](signal.points, across * width, up * height):
        cell = column // across, row // up
        cells[cell] = cells.get(cell, 0) | bits[column % across][row % up]
    return cells


def _runs(line: str, row: int, glyphs: Mapping[Cell, Run]) -> list[Run]:
    def owner(column: int) -> int:
        glyph = glyphs.get((column, row))
        return -1 if glyph is None or glyph.signal is None else glyph.signal

    runs = []
    for signal, columns in groupby(range(len(line)), key=owner):
        first, *rest = columns
        runs.append(Run(line[first : first + len(rest) + 1], None if signal < 0 else signal))
    return runs
