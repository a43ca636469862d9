"""Displaying line drawings as text. Strokes are drawn as dots, which are as fine as the glyph set allows."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from metatui.tui.terminal.symbols import GLYPHS, Symbols
from metatui.tui.widgets.charts.canvas import GRIDS

_INK: Final = 0.3
"""A dot is drawn if the mean value of its area, from 0 (background) to 1 (stroke), is above this threshold. The
threshold is so low that strokes one pixel wide remain visible when an image is shrunk to a third of its size."""
_GROUND: Final = 0.1
"""Maximum difference between the background of a drawing and the darkest or brightest value of the image, as a
fraction of the range of values."""


@lru_cache(maxsize=256)
def are_drawings(images: Sequence[bytes]) -> bool:
    """Return whether these grey images are line drawings.

    They are drawings if at least half of them have a background close to the darkest or brightest value of the image.
    """
    grounds = [_ground(image) for image in images if image]
    return 2 * sum(not _GROUND < ground < 1 - _GROUND for ground in grounds) >= len(grounds)


def _ground(image: bytes) -> float:
    """Return the brightness of an image's background, from 0 (darkest value in the image) to 1 (brightest value).

    The background is assumed to have the median value of the image.
    """
    ordered = sorted(image)
    low, middle, high = ordered[0], ordered[len(ordered) // 2], ordered[-1]
    return (middle - low) / (high - low) if high > low else 0.0


@lru_cache(maxsize=4096)
def draw_bitmap(image: bytes, height: int, width: int, rows: int, columns: int, symbols: Symbols) -> tuple[str, ...]:
    """Draw an image as `rows` lines of `columns` characters.

    Args:
        image: `height` x `width` grey values, row by row, of a drawing on a dark or a bright background. An image of
            the wrong size is drawn as blanks.
        columns: Number of characters per line. A square image looks square with twice as many columns as rows.
    """
    if len(image) != height * width or not image or rows < 1 or columns < 1:
        return (" " * max(0, columns),) * max(0, rows)
    down, across = {Symbols.BRAILLE: (4, 2), Symbols.BLOCK: (2, 2), Symbols.ASCII: (1, 1)}[symbols]
    ink = [value / 255 for value in shrink(_ink_of(image), height, width, rows * down, columns * across)]
    wide = columns * across

    def cell(row: int, column: int) -> list[list[float]]:
        starts = [(row * down + y) * wide + column * across for y in range(down)]
        return [ink[start : start + across] for start in starts]

    return tuple("".join(_glyph(cell(row, column), symbols) for column in range(columns)) for row in range(rows))


def _ink_of(image: bytes) -> bytes:
    """Scale the brightness of an image to the range from 0 to 255, and invert an image with a bright background."""
    low, high = min(image), max(image)
    if low == high or (low == 0 and _ground(image) == 0):
        return image
    table = [255 * (min(max(value, low), high) - low) // (high - low) for value in range(256)]
    return image.translate(bytes(255 - value if _ground(image) > 0.5 else value for value in table))


def shrink(values: bytes, height: int, width: int, rows: int, columns: int) -> list[float]:
    """Shrink an image to `rows` x `columns` values, and return them row by row. Each is the mean of an area."""
    across = [(column * width // columns, (column + 1) * width // columns) for column in range(columns)]
    means = []
    for row in range(rows):
        top = row * height // rows
        bottom = max(top + 1, (row + 1) * height // rows)
        for left, end in across:
            right = max(left + 1, end)
            total = sum(sum(values[y * width + left : y * width + right]) for y in range(top, bottom))
            means.append(total / ((bottom - top) * (right - left)))
    return means


def _glyph(cell: list[list[float]], symbols: Symbols) -> str:
    if symbols is Symbols.ASCII:
        ramp = GLYPHS[symbols].ramp
        return ramp[min(len(ramp) - 1, round(1.5 * cell[0][0] * (len(ramp) - 1)))]
    dots = GRIDS[GLYPHS[symbols].marker]
    bits = sum(dots.bits[x][-1 - y] for y, row in enumerate(cell) for x, value in enumerate(row) if value > _INK)
    # A blank replaces the empty braille pattern, which some fonts draw with hollow dots.
    return dots.glyphs[bits] if bits else " "
