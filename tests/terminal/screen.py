"""Terminal emulator that computes the screen and the terminal modes from the bytes that a program sends."""

from __future__ import annotations

import re
from collections import defaultdict
from functools import cache

import pyte
from pyte.modes import IRM
from pyte.screens import Char, wcwidth

BEYOND_PYTE = re.compile(rb"\x1b\[(?:[<>=][\d;]*[a-zA-Z]|\?[\d;]*(?:\$p|u))")
"""Matches control sequences for queries and keyboard modes that pyte would draw as text or misinterpret."""

UNFINISHED = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*)?\Z")
PRIVATE_MODES = re.compile(rb"\x1b\[\?([\d;]+)([hl])")
ESCAPES = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[()][0-9A-B]|[=>78cDEHM])")
STYLES = re.compile(rb"\x1b\[([\d;]*)m")
TRUE_COLOURS = re.compile(rb"[34]8;2;(\d+);(\d+);(\d+)")

ENTER, CLEAR, LEAVE = b"\x1b[?1049h", b"\x1b[2J", b"\x1b[?1049l"
"""Escape sequences that enter, clear and leave the alternate screen. Terminals clear it on entry, but pyte does not."""

ALTERNATE_SCREEN, CURSOR, BRACKETED_PASTE, FOCUS_EVENTS = 1049, 25, 2004, 1004
MOUSE = (1000, 1002, 1003, 1005, 1006, 1015, 1016)


class Screen(pyte.Screen):
    """A screen that draws single-width characters faster than `pyte.Screen` does, with the same result."""

    def __init__(self, columns: int, rows: int) -> None:
        self._narrow: set[str] = set()
        self._cells: dict[tuple[Char, str], Char] = {}
        self._styles: dict[tuple[Char, tuple[int, ...]], Char] = {}
        super().__init__(columns, rows)

    def draw(self, data: str) -> None:
        if new := set(data) - self._narrow:
            self._narrow |= {character for character in new if wcwidth(character) == 1}
        x, style = self.cursor.x, self.cursor.attrs
        if self.charset or IRM in self.mode or x + len(data) > self.columns or not self._narrow.issuperset(data):
            super().draw(data)
            return
        line, cells = self.buffer[self.cursor.y], self._cells
        for x, character in enumerate(data, x):  # noqa: B020
            cell = cells.get((style, character))
            if cell is None:
                cell = cells[style, character] = style._replace(data=character)
            line[x] = cell
        self.cursor.x += len(data)
        self.dirty.add(self.cursor.y)

    def select_graphic_rendition(self, *attrs: int) -> None:
        key = self.cursor.attrs, attrs
        if key not in self._styles:
            super().select_graphic_rendition(*attrs)
            self._styles[key] = self.cursor.attrs
        self.cursor.attrs = self._styles[key]


@cache
def _numbers(parameters: bytes) -> tuple[int, ...]:
    """Parse the numeric parameters of a control sequence in the same way as pyte."""
    return tuple(min(int(number or b"0"), 9999) for number in parameters.split(b";"))


class Emulator:
    """Terminal emulator that keeps all output of a program and computes the resulting screen."""

    def __init__(self, columns: int, rows: int) -> None:
        self.screen = Screen(columns, rows)
        self.sent = b""
        """All bytes that the program has sent to the terminal."""
        self._stream = pyte.ByteStream(self.screen)
        self._waiting = b""
        self._rows: list[str] | None = None

    def feed(self, data: bytes) -> None:
        self.sent += data
        data = self._waiting + data
        cut = UNFINISHED.search(data)
        data, self._waiting = (data[: cut.start()], data[cut.start() :]) if cut else (data, b"")
        # Styles make up most of the bytes, which pyte's parser takes one at a time.
        text, *pairs = STYLES.split(BEYOND_PYTE.sub(b"", data).replace(ENTER, ENTER + CLEAR))
        self._stream.feed(text)
        for parameters, text in zip(pairs[::2], pairs[1::2], strict=True):
            self.screen.select_graphic_rendition(*_numbers(parameters))
            self._stream.feed(text)
        self._rows = None

    def resize(self, columns: int, rows: int) -> None:
        """Change the size of the screen and clear it, so that tests see only what the program draws afterwards."""
        self.screen.resize(rows, columns)
        self.screen.erase_in_display(2)
        self._rows = None

    @property
    def rows(self) -> list[str]:
        """Text of each row of the screen. It is cached until the next output or change of size."""
        if self._rows is None:
            screen = self.screen
            cells = [screen.buffer[row] for row in range(screen.lines)]
            self._rows = ["".join(row[column].data for column in range(screen.columns)) for row in cells]
        return self._rows

    @property
    def modes(self) -> dict[int, bool]:
        """Private terminal modes: maps the number of a mode to whether it is on. Modes that were never set are off."""
        modes: dict[int, bool] = defaultdict(bool)
        for numbers, how in PRIVATE_MODES.findall(self.sent):
            for number in numbers.split(b";"):
                modes[int(number)] = how == b"h"
        return modes

    @property
    def colours(self) -> set[tuple[int, int, int]]:
        """Red, green and blue values of all 24-bit colours that the program has used."""
        return {(int(r), int(g), int(b)) for r, g, b in TRUE_COLOURS.findall(self.sent)}

    @property
    def plain_bytes(self) -> bytes:
        """Bytes that the program has sent to the terminal, without escape sequences."""
        return ESCAPES.sub(b"", self.sent)
