"""Milliseconds a meta-step on a logarithmic axis: a row for each work, a mark for each engine, and the floor."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from metatui.learning.benchmark import ENGINES, Cell, Measurement
from metatui.tui.screens.benchmark.rows import name
from metatui.tui.terminal.symbols import Glyphs

MUTED, FLOOR = "muted", "floor"

MARGIN = 0.06
"""Of the axis, free at either end."""


@dataclass(frozen=True)
class Piece:
    """Characters of one meaning: MUTED, FLOOR, an engine's name, or nothing for plain text."""

    text: str
    meaning: str = ""


Row = list[Piece]


def marks() -> dict[str, str]:
    """A letter for each engine: its first one that no engine before it has."""
    found: dict[str, str] = {}
    for engine in ENGINES:
        letters = [letter for letter in engine.upper() if letter not in found.values()]
        found[engine] = letters[0] if letters else "?"
    return found


def mark(cell: Cell) -> str:
    """The letter of its engine, lower case where meta-steps are captured."""
    letter = marks()[cell.engine]
    return letter.lower() if cell.captured else letter


def legend(found: Sequence[Measurement], glyphs: Glyphs) -> Row:
    """What the marks mean."""
    shown = {each.cell.engine for each in found}
    captured = {each.cell.engine for each in found if each.cell.captured}
    row = [Piece("ms a meta-step: "), Piece(glyphs.vertical, FLOOR), Piece(" floor", MUTED)]
    for engine, letter in marks().items():
        if engine in shown:
            row += [Piece("  "), Piece(letter, engine), Piece(f" {engine}", MUTED)]
        if engine in captured:
            row += [Piece("  "), Piece(letter.lower(), engine), Piece(" + graph", MUTED)]
    return row


def plot(found: Sequence[Measurement], width: int, glyphs: Glyphs) -> list[Row]:
    """Rows of at most `width` characters, the axis below them; none where nothing was measured or there is no room."""
    groups = [(work, list(each)) for work, each in groupby(found, key=lambda each: each.cell.work)]
    values = [value for each in found for value in (each.ms, each.floor_ms) if value]
    label = max((len(name(work)) for work, _ in groups), default=0) + 2
    if not values or width - label < 20:
        return []
    axis = _Axis(min(values), max(values), width - label)
    rows = [[Piece(f"{name(work):{label}}"), *_marked(each, axis, glyphs)] for work, each in groups]
    line, numbers = axis.drawn(glyphs)
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

    def drawn(self, glyphs: Glyphs) -> tuple[str, str]:
        """The line with its ticks, and the numbers under them: powers of ten, then what else there is room for."""
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


def _marked(found: Sequence[Measurement], axis: _Axis, glyphs: Glyphs) -> Row:
    """A row's marks, and a line of dots from the floor to the slowest engine."""
    cells: list[Piece | None] = [None] * axis.width
    floors = [each.floor_ms for each in found if each.floor_ms]
    if floors:
        cells[axis.column(floors[0])] = Piece(glyphs.vertical, FLOOR)
    for each in sorted(found, key=lambda each: each.ms or 0):
        if each.ms:
            at = _free(cells, axis.column(each.ms))
            cells[at] = Piece(mark(each.cell), each.cell.engine)
    taken = [at for at, cell in enumerate(cells) if cell]
    between = range(taken[0], taken[-1]) if taken else range(0)
    row = [cell or Piece("." if at in between else " ", MUTED) for at, cell in enumerate(cells)]
    groups = groupby(row, key=lambda piece: piece.meaning)
    return [Piece("".join(piece.text for piece in pieces), meaning) for meaning, pieces in groups]


def _free(cells: Sequence[Piece | None], at: int) -> int:
    """The free column nearest to `at`: two engines of one speed stand beside each other."""
    free = [column for column, cell in enumerate(cells) if cell is None]
    return min(free, key=lambda column: (abs(column - at), -column))
