"""Drawing photographs as pictures, if the terminal can show them, otherwise as coloured cells or in shades of grey."""

from __future__ import annotations

from functools import lru_cache

from rich.color import Color
from rich.segment import Segment
from rich.style import Style

from metatui.tui.terminal.kitty import MAX_SIDE_CELLS, KittyPictures, Picture, placeholders
from metatui.tui.terminal.sixel import SixelPictures
from metatui.tui.terminal.symbols import Symbols
from metatui.tui.widgets.adaptation.bitmap import shrink
from metatui.tui.widgets.charts.chart_theme import ChartTheme
from metatui.tui.widgets.charts.row_widget import Row

UPPER_HALF = "▀"

LEVELS = 32
"""Number of shades of each colour channel. More shades would hardly be visible. With fewer shades, fewer bytes are
sent, because more neighbouring cells have the same colour."""

MIN_IMAGE_HEIGHT = 3
"""Minimum height of a legible image, in rows."""

Pixel = tuple[int, int, int]


def halves(theme: ChartTheme) -> bool:
    """Return whether a cell shows two pixels, one above the other."""
    return theme.symbols is not Symbols.ASCII and not theme.monochrome


def _lines(rows: int, two: bool) -> int:
    """Return the number of pixel lines in an image that is `rows` cells high. If possible, a gap is left below it."""
    return 2 * rows - 1 if two else rows - (rows > MIN_IMAGE_HEIGHT)


def columns_of(rows: int, height: int, width: int, theme: ChartTheme) -> int:
    """Return the number of columns that preserves the aspect ratio of an image drawn in `rows` rows."""
    two = halves(theme)
    return max(4, round(_lines(rows, two) * (1 if two else 2) * width / height))


def draw(image: bytes, height: int, width: int, rows: int, columns: int, theme: ChartTheme) -> list[Row]:
    """Draw a grey or colour image as `rows` rows of `columns` cells.

    If possible, the lower end of the last row stays blank, so that images above each other do not touch.

    Args:
        image: `height` x `width` pixels, row by row, with one byte (grey) or three bytes (colour) per pixel. If the
            number of bytes is wrong, blanks are drawn.
    """
    pictures = theme.pictures if halves(theme) and _channels(image, height, width) else None
    picture = Picture(image, height, width, rows, columns)
    if isinstance(pictures, KittyPictures) and max(rows, columns) <= MAX_SIDE_CELLS:
        number = pictures.number(picture)
        style = Style(color=Color.from_rgb(number >> 16, number >> 8 & 255, number & 255))
        return [[Segment(text, style)] for text in placeholders(rows, columns)]
    if theme.monochrome:
        ramp = theme.glyphs.ramp
        return _shades(image, height, width, rows, columns, ramp if theme.dark else ramp[::-1], theme.text)
    cells = _colours(image, height, width, rows, columns, halves(theme))
    return pictures.mark_cells(picture, cells) if isinstance(pictures, SixelPictures) else cells


@lru_cache(maxsize=1024)
def _shades(image: bytes, height: int, width: int, rows: int, columns: int, ramp: str, style: Style) -> list[Row]:
    """Draw an image with a glyph for the brightness of each pixel. `ramp` contains the glyphs, the darkest first."""
    pixels = _pixels(image, height, width, _lines(rows, False), columns)
    light = [(0.299 * red + 0.587 * green + 0.114 * blue) / 255 for red, green, blue in pixels]
    text = "".join(ramp[min(len(ramp) - 1, int(value * len(ramp)))] for value in light).ljust(rows * columns)
    return [[Segment(text[row * columns : (row + 1) * columns], style)] for row in range(rows)]


@lru_cache(maxsize=1024)
def _colours(image: bytes, height: int, width: int, rows: int, columns: int, two: bool) -> list[Row]:
    pixels: list[Pixel | None] = [*_pixels(image, height, width, _lines(rows, two), columns)]
    deep = 2 if two else 1
    pixels += [None] * (deep * rows * columns - len(pixels))
    lines = [pixels[start : start + columns] for start in range(0, len(pixels), columns)]
    pairs = zip(lines[::deep], lines[deep - 1 :: deep], strict=True)
    return [[_cell(*cell) for cell in zip(upper, lower, strict=True)] for upper, lower in pairs]


@lru_cache(maxsize=4096)
def _cell(upper: Pixel | None, lower: Pixel | None) -> Segment:
    """Return a cell that shows two pixels, one above the other. None stands for the background."""
    if upper == lower:
        return Segment(" ", Style(bgcolor=Color.from_rgb(*lower)) if lower else None)
    assert upper is not None
    return Segment(UPPER_HALF, Style(color=Color.from_rgb(*upper), bgcolor=Color.from_rgb(*lower) if lower else None))


def _pixels(image: bytes, height: int, width: int, rows: int, columns: int) -> list[Pixel]:
    """Return the pixels of an image shrunk to `rows` x `columns`, or an empty list if its size is wrong."""
    channels = _channels(image, height, width)
    if not channels:
        return []
    shrunk = [shrink(image[channel::channels], height, width, rows, columns) for channel in range(channels)]
    red, green, blue = ([_level(value) for value in shrunk[channel % channels]] for channel in range(3))
    return list(zip(red, green, blue, strict=True))


def _channels(image: bytes, height: int, width: int) -> int:
    """Return the number of bytes per pixel, or 0 if the image has the wrong size."""
    channels, rest = divmod(len(image), max(1, height * width))
    return channels if channels in (1, 3) and not rest else 0


def _level(value: float) -> int:
    return round(round(value / 255 * (LEVELS - 1)) * 255 / (LEVELS - 1))
