"""Small greyscale images drawn with characters."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from metatui.tui.terminal.symbols import GLYPHS, Symbols

# Bit of the Unicode braille pattern for the dot at (row, column) of a cell.
_BRAILLE: Final = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
_QUADRANTS: Final = " ▘▝▀▖▌▞▛▗▚▐▜▄▙▟█"
_INK: Final = 0.3
"""Mean ink from which a dot is set: a stroke one pixel wide survives shrinking to a third."""


@lru_cache(maxsize=4096)
def draw_bitmap(image: bytes, height: int, width: int, rows: int, columns: int, symbols: Symbols) -> tuple[str, ...]:
    """Draw an image as `rows` lines of `columns` characters.

    Args:
        image: `height` x `width` grey values, row by row, ink as 255. A wrong size draws blanks.
        columns: Twice `rows` keeps square images square.
    """
    if len(image) != height * width or not image or rows < 1 or columns < 1:
        return (" " * max(0, columns),) * max(0, rows)
    down, across = {Symbols.BRAILLE: (4, 2), Symbols.BLOCK: (2, 2), Symbols.ASCII: (1, 1)}[symbols]
    ink = _shrink(_with_dark_ground(image), height, width, rows * down, columns * across)
    lines = []
    for row in range(rows):
        line = ""
        for column in range(columns):
            cell = [[ink[row * down + y][column * across + x] for x in range(across)] for y in range(down)]
            line += _glyph(cell, symbols)
        lines.append(line)
    return tuple(lines)


def _with_dark_ground(image: bytes) -> bytes:
    """Adjust brightness so that the figure is ink: keep drawings, invert scans of bright pages, and take the brighter
    half of photographs."""
    ordered = sorted(image)
    low, middle, high = ordered[0], ordered[len(ordered) // 2], ordered[-1]
    if middle == 0 or low == high:
        return image
    ground = (middle - low) / (high - low)
    table = []
    for value in range(256):
        ink = (min(max(value, low), high) - low) / (high - low)
        if ground > 0.9:
            ink = 1 - ink
        elif ink < ground:
            ink *= _INK / ground
        elif ground:
            ink = 1 - (1 - ink) * (1 - _INK) / (1 - ground)
        table.append(round(255 * ink))
    return image.translate(bytes(table))


def _shrink(image: bytes, height: int, width: int, rows: int, columns: int) -> list[list[float]]:
    """Return the mean ink, from 0 to 1, of the patch of the image below each dot."""
    means = []
    for row in range(rows):
        top = row * height // rows
        bottom = max(top + 1, (row + 1) * height // rows)
        line = []
        for column in range(columns):
            left = column * width // columns
            right = max(left + 1, (column + 1) * width // columns)
            total = sum(sum(image[y * width + left : y * width + right]) for y in range(top, bottom))
            line.append(total / (255 * (bottom - top) * (right - left)))
        means.append(line)
    return means


def _glyph(cell: list[list[float]], symbols: Symbols) -> str:
    if symbols is Symbols.ASCII:
        ramp = GLYPHS[symbols].ramp
        return ramp[min(len(ramp) - 1, round(1.5 * cell[0][0] * (len(ramp) - 1)))]
    if symbols is Symbols.BLOCK:
        return _QUADRANTS[sum((cell[y][x] > _INK) << (2 * y + x) for y in range(2) for x in range(2))]
    bits = sum(_BRAILLE[y][x] for y in range(4) for x in range(2) if cell[y][x] > _INK)
    # Not the empty pattern, which some fonts draw with hollow dots.
    return chr(0x2800 + bits) if bits else " "
