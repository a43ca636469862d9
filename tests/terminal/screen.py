"""Emulator that computes the screen and modes of a terminal from the bytes that a program sends."""

from __future__ import annotations

import re
from collections import defaultdict

import pyte

BEYOND_PYTE = re.compile(rb"\x1b\[(?:[<>=][\d;]*[a-zA-Z]|\?[\d;]*(?:\$p|u))")
"""Matches queries and keyboard modes of newer terminals, which pyte would draw as text or misinterpret."""

UNFINISHED = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*)?\Z")
PRIVATE_MODES = re.compile(rb"\x1b\[\?([\d;]+)([hl])")
ESCAPES = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[()][0-9A-B]|[=>78cDEHM])")
TRUE_COLOURS = re.compile(rb"[34]8;2;(\d+);(\d+);(\d+)")

ENTER, CLEAR = b"\x1b[?1049h", b"\x1b[2J"
"""The alternate screen is empty when a program enters it, which pyte does not know."""

ALTERNATE_SCREEN, CURSOR, BRACKETED_PASTE, FOCUS_EVENTS = 1049, 25, 2004, 1004
MOUSE = (1000, 1002, 1003, 1005, 1006, 1015, 1016)


class Emulator:
    """A terminal of `columns` by `rows`."""

    def __init__(self, columns: int, rows: int) -> None:
        self.screen = pyte.Screen(columns, rows)
        self.sent = b""
        """All bytes that were sent."""
        self._stream = pyte.ByteStream(self.screen)
        self._waiting = b""
        self._rows: list[str] | None = None

    def feed(self, data: bytes) -> None:
        self.sent += data
        data = self._waiting + data
        cut = UNFINISHED.search(data)
        data, self._waiting = (data[: cut.start()], data[cut.start() :]) if cut else (data, b"")
        self._stream.feed(BEYOND_PYTE.sub(b"", data).replace(ENTER, ENTER + CLEAR))
        self._rows = None

    def resize(self, columns: int, rows: int) -> None:
        """Change the size, and clear the screen, so that only what the program draws afterwards is seen."""
        self.screen.resize(rows, columns)
        self.screen.erase_in_display(2)
        self._rows = None

    @property
    def rows(self) -> list[str]:
        """The characters of each row, cached until something is sent."""
        if self._rows is None:
            screen = self.screen
            cells = [screen.buffer[row] for row in range(screen.lines)]
            self._rows = ["".join(row[column].data for column in range(screen.columns)) for row in cells]
        return self._rows

    @property
    def modes(self) -> dict[int, bool]:
        """Private modes by number, and whether they are on. Modes that were never set are off."""
        modes: dict[int, bool] = defaultdict(bool)
        for numbers, how in PRIVATE_MODES.findall(self.sent):
            for number in numbers.split(b";"):
                modes[int(number)] = how == b"h"
        return modes

    @property
    def colours(self) -> set[tuple[int, int, int]]:
        """Red, green and blue of every true colour that was used."""
        return {(int(r), int(g), int(b)) for r, g, b in TRUE_COLOURS.findall(self.sent)}

    @property
    def plain_bytes(self) -> bytes:
        """The sent bytes without escape sequences."""
        return ESCAPES.sub(b"", self.sent)
