"""The ends of intervals around a line, as two dotted lines below all others."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from metatui.tui.widgets.charts.canvas import Run

EMPTY: Final = 0x2800
"""The braille character without dots."""

DOTS: Final = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
"""What each dot adds to it, by column and by row from the top."""


@dataclass(frozen=True)
class Band:
    """`ends` are positions in pairs, the lower and the upper end at the same x, from left to right; NaN is a gap."""

    signal: int
    ends: Sequence[tuple[float, float]]


def laid_under(rows: Sequence[Sequence[Run]], bands: Sequence[Band], point: str | None) -> list[list[Run]]:
    """`rows` of a canvas with the dots of `bands` where nothing else is.

    Args:
        point: what a dot is drawn with; None is a braille dot, which can share its cell with a line's.
    """
    width, height = sum(len(run.text) for run in rows[0]) if rows else 0, len(rows)
    if point is not None:
        found = {cell: Run(point, band.signal) for band in bands for cell in _dots(band.ends, width, height)}
    else:
        found = {}
        for band in bands:
            for column, row in _dots(band.ends, 2 * width, 4 * height):
                cell, dot = (column // 2, row // 4), DOTS[column % 2][row % 4]
                before = found[cell].text if cell in found else chr(EMPTY)
                found[cell] = Run(chr(ord(before) | dot), band.signal)
    return [
        [_over(char, run.signal, found.get((column, y))) for column, char, run in _cells(runs)]
        for y, runs in enumerate(rows)
    ]


def _cells(runs: Sequence[Run]) -> Iterator[tuple[int, str, Run]]:
    column = 0
    for run in runs:
        for char in run.text:
            yield column, char, run
            column += 1


def _over(char: str, signal: int | None, below: Run | None) -> Run:
    if below is None:
        return Run(char, signal)
    if signal is None:
        return below
    both_dotted = ord(char) & ~0xFF == EMPTY == ord(below.text) & ~0xFF
    return Run(chr(ord(char) | ord(below.text)) if both_dotted else char, signal)


def _dots(ends: Sequence[tuple[float, float]], across: int, up: int) -> Iterator[tuple[int, int]]:
    """Column and row, from the top, of the dots of a grid: every second column has one at each end."""
    for (low, high), (next_low, next_high) in pairwise(zip(ends[::2], ends[1::2], strict=True)):
        left, right = low[0], next_low[0]
        if not right > left or math.isnan(high[1]) or math.isnan(next_high[1]):
            continue
        first = max(0, math.ceil(left * (across - 1)))
        last = math.floor(min(1.0, right) * (across - 1))
        for column in range(first + first % 2, last + 1, 2):
            share = (column / (across - 1) - left) / (right - left)
            for start, end in ((low, next_low), (high, next_high)):
                row = round((1 - start[1] - share * (end[1] - start[1])) * (up - 1))
                if 0 <= row < up:
                    yield column, row
