"""Plot of milliseconds per meta-step on a logarithmic axis.

Each row shows one workload, with a mark for each engine and a mark for the floor: the shortest time that is possible on
the machine.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from metatui.learning.benchmark.rows import name
from metatui.learning.benchmark.runner import Measurement
from metatui.learning.benchmark.workloads import ENGINES, Cell
from metatui.tui.terminal.symbols import Glyphs

MUTED, FLOOR = "muted", "floor"

MARGIN = 0.06
"""Fraction of the axis that is left empty at each end."""


@dataclass(frozen=True)
class Piece:
    """A styled piece of text. `meaning` is MUTED, FLOOR, the name of an engine, or empty for the default style."""

    text: str
    meaning: str = ""


Row = list[Piece]


def marks() -> dict[str, str]:
    """Assign each engine the first letter of its name that no earlier engine uses."""
    letters: dict[str, str] = {}
    for engine in ENGINES:
        letters[engine] = next((letter for letter in engine.upper() if letter not in letters.values()), "?")
    return letters


def mark(cell: Cell) -> str:
    """Return the letter of a cell's engine. It is in lower case if the meta-steps are captured as a CUDA graph."""
    letter = marks()[cell.engine]
    return letter.lower() if cell.captured else letter


def legend(measurements: Sequence[Measurement], glyphs: Glyphs) -> Row:
    """Return the legend, which explains the marks in the plot."""
    shown = {each.cell.engine for each in measurements}
    captured = {each.cell.engine for each in measurements if each.cell.captured}
    row = [Piece("ms per meta-step: "), Piece(glyphs.vertical, FLOOR), Piece(" floor", MUTED)]
    for engine, letter in marks().items():
        if engine in shown:
            row += [Piece("  "), Piece(letter, engine), Piece(f" {engine}", MUTED)]
        if engine in captured:
            row += [Piece("  "), Piece(letter.lower(), engine), Piece(" + graph", MUTED)]
    return row


def plot(measurements: Sequence[Measurement], width: int, glyphs: Glyphs) -> list[Row]:
    """Draw the rows and the axis, at most `width` characters wide.

    The result is empty if there are no measurements, or if `width` is too small.
    """
    groups = [(work, list(each)) for work, each in groupby(measurements, key=lambda each: each.cell.work)]
    values = [value for each in measurements for value in (each.ms, each.floor_ms) if value]
    label = max((len(name(work)) for work, _ in groups), default=0) + 2
    if not values or width - label < 20:
        return []
    axis = _Axis(min(values), max(values), width - label)
    rows = [[Piece(f"{name(work):{label}}"), *_marks(each, axis, glyphs)] for work, each in groups]
    line, numbers = axis.draw(glyphs)
    return [*rows, [Piece(" " * label + line, MUTED)], [Piece(" " * label + numbers, MUTED)]]


class _Axis:
    def __init__(self, low: float, high: float, width: int) -> None:
        self.width = width
        self._low, self._high = math.log10(low), math.log10(high)
        margin = MARGIN * max(self._high - self._low, 0.5)
        self._low, self._high = self._low - margin, self._high + margin

    def column(self, value: float) -> int:
        share = (math.log10(value) - self._low) / (self._high - self._low)
        return min(self.width - 1, max(0, round(share * (self.width - 1))))

    def draw(self, glyphs: Glyphs) -> tuple[str, str]:
        """Return the axis line and the row of labels below it: powers of ten and, if there is room, other numbers."""
        line, numbers = [glyphs.horizontal] * self.width, [" "] * self.width
        powers = range(math.floor(self._low), math.ceil(self._high) + 1)
        for factors in ((1,), (2, 5)):
            for value in (factor * 10.0**power for power in powers for factor in factors):
                if not self._low <= math.log10(value) <= self._high:
                    continue
                text, at = f"{value:,.10g}", self.column(value)
                start = min(self.width - len(text), max(0, at - len(text) // 2))
                around = numbers[max(0, start - 1) : start + len(text) + 1]
                if not any(char.strip() for char in around):
                    numbers[start : start + len(text)] = text
                    line[at] = glyphs.tick_below
        return "".join(line), "".join(numbers)


def _marks(measurements: Sequence[Measurement], axis: _Axis, glyphs: Glyphs) -> Row:
    """Draw the marks of a row, with dots between the first and the last mark."""
    cells: list[Piece | None] = [None] * axis.width
    floors = [each.floor_ms for each in measurements if each.floor_ms]
    if floors:
        cells[axis.column(floors[0])] = Piece(glyphs.vertical, FLOOR)
    for each in sorted(measurements, key=lambda each: each.ms or 0):
        if each.ms:
            at = _free(cells, axis.column(each.ms))
            cells[at] = Piece(mark(each.cell), each.cell.engine)
    taken = [at for at, cell in enumerate(cells) if cell]
    between = range(taken[0], taken[-1]) if taken else range(0)
    row = [cell or Piece("." if at in between else " ", MUTED) for at, cell in enumerate(cells)]
    groups = groupby(row, key=lambda piece: piece.meaning)
    return [Piece("".join(piece.text for piece in pieces), meaning) for meaning, pieces in groups]


def _free(cells: Sequence[Piece | None], at: int) -> int:
    """Return the free column nearest to `at`, so that marks for equal speeds are next to each other."""
    free = [column for column, cell in enumerate(cells) if cell is None]
    return min(free, key=lambda column: (abs(column - at), -column))
