"""Adapter to plotext that turns curves into rows of coloured characters."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, NamedTuple


@dataclass(frozen=True)
class Signal:
    """Points to draw, as positions: (0, 0) is the lower left corner of the canvas, (1, 1) the upper right corner.

    Coordinates are from -1 to 2, or (NaN, NaN) for a gap in a line; `marker` is plotext's name for sub-cell dots
    (`braille`, `hd`) or one character.
    """

    points: Sequence[tuple[float, float]]
    marker: str
    connected: bool


class Run(NamedTuple):
    """Consecutive characters that belong to one signal; `signal` is None for blanks."""

    text: str
    signal: int | None


_RUN: Final = re.compile(r"(?:\x1b\[38;5;(\d+)m)?([^\x1b\n]+)\x1b\[0m")


def dots(marker: str) -> int:
    """Return the number of dots in the height of a cell."""
    return {"braille": 4, "hd": 2}.get(marker, 1)


def _figure() -> Any:
    """Create a figure whose size is not limited.

    plotext 5.3 draws on one global figure, limited to the terminal's size and shared between all callers. Its private
    class creates independent figures; the version is pinned and a test covers this.
    """
    from plotext._figure import _figure_class

    figure = _figure_class()
    figure._limit_size(False, False)
    figure.clear_color()
    figure.frame(False)
    figure.xticks([])
    figure.yticks([])
    return figure


class Canvas:
    """Draws curves with plotext. Each widget has one, created at first use because importing plotext is slow."""

    def __init__(self) -> None:
        self._plotext: Any = None

    def draw(self, signals: Sequence[Signal], width: int, height: int) -> list[list[Run]]:
        """Return rows from top to bottom, each exactly `width` characters; later signals cover earlier ones."""
        empty = [[Run(" " * width, None)] if width else [] for _ in range(height)]
        if width < 2 or height < 2:
            return empty
        self._plotext = figure = self._plotext or _figure()
        figure.clear_data()
        figure.plot_size(width, height)
        # plotext counts from the middle of the first dot to the middle of the last.
        figure.xlim(0, 1)
        figure.ylim(0, 1)
        drawn = False
        for index, signal in enumerate(signals):
            points = signal.points if signal.connected else [p for p in signal.points if not math.isnan(p[1])]
            if all(math.isnan(y) for _, y in points):
                continue
            xs, ys = (list(values) for values in zip(*points, strict=True))
            draw = figure.plot if signal.connected else figure.scatter
            draw(xs, ys, marker=signal.marker, color=index + 1)
            drawn = True
        if not drawn:
            return empty
        return [_runs(line) for line in figure.build().split("\n")[:height]]


def _runs(line: str) -> list[Run]:
    return [Run(text, int(colour) - 1 if colour else None) for colour, text in _RUN.findall(line)]


BRAILLE_BLANK: Final = 0x2800
BRAILLE_DOTS: Final = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
"""Bit of each dot, by column and by row from the top."""


@dataclass(frozen=True)
class Band:
    """An interval along a curve. `ends` are pairs of positions, lower and upper at the same x; NaN is a gap."""

    signal: int
    ends: Sequence[tuple[float, float]]


def draw_bands(rows: Sequence[Sequence[Run]], bands: Sequence[Band], point: str | None) -> list[list[Run]]:
    """Add dotted lines at the ends of `bands` where the rows of a canvas are blank.

    Args:
        point: The character of a dot; None draws braille dots, which can share cells with lines.
    """
    width, height = sum(len(run.text) for run in rows[0]) if rows else 0, len(rows)
    if point is not None:
        cells = {cell: Run(point, band.signal) for band in bands for cell in _band_dots(band.ends, width, height)}
    else:
        cells = {}
        for band in bands:
            for column, row in _band_dots(band.ends, 2 * width, 4 * height):
                cell, dot = (column // 2, row // 4), BRAILLE_DOTS[column % 2][row % 4]
                before = cells[cell].text if cell in cells else chr(BRAILLE_BLANK)
                cells[cell] = Run(chr(ord(before) | dot), band.signal)
    return [
        [
            _overlay(char, run.signal, cells.get((column, y)))
            for column, (char, run) in enumerate((char, run) for run in runs for char in run.text)
        ]
        for y, runs in enumerate(rows)
    ]


def _overlay(char: str, signal: int | None, below: Run | None) -> Run:
    if below is None:
        return Run(char, signal)
    if signal is None:
        return below
    both_braille = ord(char) & ~0xFF == BRAILLE_BLANK == ord(below.text) & ~0xFF
    return Run(chr(ord(char) | ord(below.text)) if both_braille else char, signal)


def _band_dots(ends: Sequence[tuple[float, float]], columns: int, rows: int) -> Iterator[tuple[int, int]]:
    """Yield column and row, from the top, of the dots at both ends of a band in every second column of a grid."""
    for (low, high), (next_low, next_high) in pairwise(zip(ends[::2], ends[1::2], strict=True)):
        left, right = low[0], next_low[0]
        if not right > left or math.isnan(high[1]) or math.isnan(next_high[1]):
            continue
        first = max(0, math.ceil(left * (columns - 1)))
        last = math.floor(min(1.0, right) * (columns - 1))
        for column in range(first + first % 2, last + 1, 2):
            share = (column / (columns - 1) - left) / (right - left)
            for start, end in ((low, next_low), (high, next_high)):
                row = round((1 - start[1] - share * (end[1] - start[1])) * (rows - 1))
                if 0 <= row < rows:
                    yield column, row
