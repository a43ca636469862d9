"""What is sent to the terminal: of a frame, only the cells that are not on the screen already.

Textual sends a widget's rows whole, and draws the whole screen anew when a dialog opens, a tab is changed or the focus
moves, often several times in a row: 20 KB each at 120x40. On a slow line that is the time until a key is answered.
"""

from __future__ import annotations

import re
import time
from itertools import groupby
from typing import NamedTuple

from rich.cells import cell_len

KEPT = 30.0
"""Seconds for which it is believed that what was sent is still there: a screen that something else wrote on is put
right by the next frame after that."""

GAP = 8
"""Unchanged cells that are sent again rather than passed over, which takes about as many bytes."""

_MOVE = re.compile(r"\x1b\[(\d+);(\d+)H")
_STYLED = re.compile(r"(?:\x1b\[([\d;]*)m)?([^\x1b]+)(?:\x1b\[0m)?")
_OTHER_SCREEN = "\x1b[?1049"


class Cell(NamedTuple):
    text: str
    """A character and what combines with it; empty in the second cell of a wide one."""
    style: str
    """The numbers of its SGR sequence."""


class Screen:
    """What the terminal shows, as far as it is known, by row and column."""

    def __init__(self) -> None:
        self._rows: dict[int, _Row] = {}

    def news(self, text: str) -> str:
        """What of `text`, a frame or something else that is sent, has to be sent. It counts as sent from now on."""
        if _OTHER_SCREEN in text:
            self._rows.clear()
        first, *parts = _MOVE.split(text)
        if not parts:
            return text
        kept = [first]
        for row, column, drawn in zip(parts[::3], parts[1::3], parts[2::3], strict=True):
            piece, y, x = drawn.removesuffix("\n"), int(row), int(column)
            if piece:
                kept += self._rows.setdefault(y, _Row(y)).draw(x, piece)
            else:  # this is where the cursor is left
                kept.append(f"\x1b[{y};{x}H")
        return "".join(kept)


class _Row:
    def __init__(self, y: int) -> None:
        self._y = y
        self._cells: list[Cell | None] = []
        self._sent = 0.0

    def draw(self, column: int, text: str) -> list[str]:
        """What draws `text` from `column` (from 1) on, over what is there."""
        new = cells(text)
        if new is None:
            self._cells = []
            return [f"\x1b[{self._y};{column}H{text}"]
        start, end = column - 1, column - 1 + len(new)
        self._cells += [None] * (end - len(self._cells))
        old, self._cells[start:end] = self._cells[start:end], new
        now = time.monotonic()
        if now - self._sent >= KEPT:
            self._sent = now
            return [f"\x1b[{self._y};{column}H{text}"]
        return [f"\x1b[{self._y};{column + first}H{styled(new[first:last])}" for first, last in changes(old, new)]


def cells(text: str) -> list[Cell] | None:
    """The cells of a styled text; None for one with sequences other than styles in it."""
    found: list[Cell] = []
    read = 0
    for part in _STYLED.finditer(text):
        if part.start() != read:
            return None
        read = part.end()
        style, words = part[1] or "", part[2]
        if words.isascii() or cell_len(words) == len(words):
            found += [Cell(character, style) for character in words]
            continue
        for character in words:
            width = cell_len(character)
            if not width and found:
                found[-1] = Cell(found[-1].text + character, found[-1].style)
            else:
                found += [Cell(character, style), *[Cell("", style)] * (width - 1)]
    return found if read == len(text) else None


def changes(old: list[Cell | None], new: list[Cell]) -> list[tuple[int, int]]:
    """Stretches of cells, from and to, that differ, those with little between them as one."""
    if old == new:
        return []
    found: list[tuple[int, int]] = []
    for at, (before, now) in enumerate(zip(old, new, strict=True)):
        if before != now:
            first = at
            while first and not new[first].text:  # half of a wide character cannot be drawn
                first -= 1
            if found and first - found[-1][1] <= GAP:
                found[-1] = found[-1][0], at + 1
            else:
                found.append((first, at + 1))
    return [(first, _whole(new, last)) for first, last in found]


def _whole(row: list[Cell], last: int) -> int:
    """`last`, or the end of the wide character that it would cut."""
    while last < len(row) and not row[last].text:
        last += 1
    return last


def styled(row: list[Cell]) -> str:
    """`row` as it is sent: each stretch sets its style and resets it."""
    parts = []
    for style, some in groupby(row, key=lambda cell: cell.style):
        words = "".join(cell.text for cell in some)
        parts.append(f"\x1b[{style}m{words}\x1b[0m" if style else words)
    return "".join(parts)
