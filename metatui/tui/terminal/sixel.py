"""Pictures in terminals with sixel graphics (https://vt100.net/docs/vt3xx-gp/chapter14.html).

The cells of a picture are drawn as text, with a mark in their style. After each update of the screen, the
pictures of the marked cells in the update are drawn. Therefore, whenever cells of a picture are drawn, the part
of the picture in these cells is drawn again, and no other part. Terminals erase a picture where text is drawn over it.
Pictures on screens below a dialog have no marks and are drawn as text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import count
from typing import Final, NamedTuple, cast

from rich.color import Color, ColorSystem
from rich.console import Console, RenderableType
from rich.control import Control
from rich.segment import Segment
from rich.style import Style
from textual._compositor import ChopsUpdate, CompositorUpdate, LayoutUpdate
from textual.message import Message
from textual.strip import Strip

from metatui.tui.terminal.kitty import MAX_PICTURES, Picture

QUESTIONS: Final = "\x1b[16t\x1b[c"
"""Queries for the size of a cell and for the device attributes. Every terminal replies to the second query."""
REGISTERS: Final = "\x1b[?1;3;256S"
"""Escape sequence that asks xterm for 256 colour registers (XTSMGRAPHICS). By default, xterm has only 16."""
REPLY: Final = re.compile(r"\x1b\[(?:\?[\d;]{0,99}[cS]|6;\d{1,5};\d{1,5}t)")
UNFINISHED_REPLY: Final = re.compile(r"\x1b\[(?:\?|6;)[\d;]{0,99}\Z")

MAX_COLOURS: Final = 32
"""Maximum number of colours of a picture. More would hardly be visible in a thumbnail, but would take more bytes."""
MAX_CELL_SIDE: Final = 128
"""Maximum width and height of a cell, in pixels."""
MARK: Final = "picture"

Pixel = tuple[int, int, int]


class Reply(Message):
    """Posted when the terminal replies to a query."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text


class Area(NamedTuple):
    """A rectangular part of a picture, measured in cells."""

    row: int
    column: int
    rows: int
    columns: int


class SixelTerminal:
    """Finds out whether the terminal supports sixel graphics. Replies may come at any time, or never."""

    def __init__(self, write: Callable[[str], object], line_cell: Callable[[], tuple[int, int] | None]) -> None:
        """Create the object without sending a query.

        Args:
            write: function that sends a string to the terminal.
            line_cell: function that returns the width and height of a cell in pixels, as the terminal reported them to
                the kernel, or None if they are unknown.
        """
        self._write, self._line_cell = write, line_cell
        self._asked = self._supported = False
        self._cell: tuple[int, int] | None = None
        self._colours = MAX_COLOURS

    def ask(self) -> None:
        self._asked = True
        self._write(QUESTIONS)

    def resized(self) -> None:
        """Ask again for the size of a cell, which may have changed with the size of the terminal."""
        if self._supported:
            self._write(QUESTIONS)

    def receive(self, reply: str) -> SixelPictures | None:
        """Process a reply from the terminal. Return an object that draws pictures, or None if that is not possible."""
        numbers = [int(number) for number in re.findall(r"\d+", reply)]
        if reply.endswith("t"):
            self._cell = (numbers[2], numbers[1])
        elif reply.endswith("S"):
            if numbers[:2] == [1, 0] and len(numbers) == 3:  # the number of colour registers, without an error
                self._colours = min(MAX_COLOURS, numbers[2])
        elif self._asked and not self._supported and 4 in numbers[1:]:
            self._supported = True
            self._write(REGISTERS)
        cell = self._cell or self._line_cell()
        if not (self._supported and cell and min(cell) > 0 and max(cell) <= MAX_CELL_SIDE and self._colours > 2):
            return None
        return SixelPictures(*cell, self._colours)


class SixelPictures:
    """Draws pictures over the cells that are marked for them."""

    def __init__(self, cell_width: int, cell_height: int, colours: int = MAX_COLOURS) -> None:
        self.cell = (cell_width, cell_height)
        self.colours = colours
        self._numbers: dict[Picture, int] = {}
        """The number of each picture, in order from the least to the most recently used picture."""
        self._pictures: dict[int, Picture] = {}
        self._count = 0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SixelPictures) and (self.cell, self.colours) == (other.cell, other.colours)

    def __hash__(self) -> int:
        return hash((self.cell, self.colours))

    def mark_cells(self, picture: Picture, rows: Iterable[Iterable[Segment]]) -> list[list[Segment]]:
        """Return the rows of a picture, with the style of each cell marked. Each segment of `rows` is one cell.

        The mark contains the number of the picture and the position of the cell in the picture.
        """
        number = self._numbers.pop(picture, self._count)
        self._numbers[picture], self._pictures[number] = number, picture
        self._count = max(self._count, number + 1)
        if len(self._numbers) > MAX_PICTURES:
            del self._pictures[self._numbers.pop(next(iter(self._numbers)))]
        return [
            [Segment(text, _marked(style, number, y, x)) for x, (text, style, _) in enumerate(row)]
            for y, row in enumerate(rows)
        ]

    def add_pictures(self, update: RenderableType | None, height: int) -> RenderableType | None:
        """Return an update that also draws the pictures in the cells of `update`. The screen has `height` rows."""
        if isinstance(update, LayoutUpdate | ChopsUpdate):
            return cast("RenderableType", _Update(update, self, height))
        return update

    def render(
        self, strips: Iterable[tuple[int, int, Strip]], height: int, system: ColorSystem = ColorSystem.TRUECOLOR
    ) -> str:
        """Return escape sequences that draw the pictures whose marked cells are in `strips`.

        Nothing is drawn in the last row of the screen, because terminals scroll when a picture reaches it.

        Args:
            strips: column, row and strip of each updated part of the screen.
            height: number of rows of the screen.
            system: colour system in which the text is drawn.
        """
        places: dict[tuple[int, int, int], set[tuple[int, int]]] = {}
        grounds: dict[tuple[int, int, int], Pixel | None] = {}
        for left, y, strip in strips:
            x = left
            for segment in strip:
                if segment.style and (mark := segment.style.meta.get(MARK)) and y < height - 1:
                    number, row, column = mark
                    place = (number, x - column, y - row)
                    places.setdefault(place, set()).add((row, column))
                    grounds[place] = _shown(segment.style.bgcolor, system)
                x += segment.cell_length
        return "".join(
            f"\x1b[{top + area.row + 1};{left + area.column + 1}H"
            + _sixels(self._pictures[number], *self.cell, self.colours, area, grounds[number, left, top])
            for (number, left, top), cells in places.items()
            if number in self._pictures
            for area in _areas(cells)
        )


@lru_cache(maxsize=8192)
def _marked(style: Style | None, number: int, row: int, column: int) -> Style:
    mark = Style.from_meta({MARK: (number, row, column)})
    mark._link_id = ""  # otherwise, Textual would highlight the cell under the mouse as a link
    return (style or Style()) + mark


def _shown(colour: Color | None, system: ColorSystem) -> Pixel | None:
    """Return the colour in which the terminal shows `colour`, or None if it is unknown."""
    shown = colour.downgrade(system) if colour else None
    return shown.get_truecolor() if shown and not shown.is_default else None


def _areas(cells: set[tuple[int, int]]) -> Iterator[Area]:
    """Split a set of cells, given as pairs of row and column, into rectangles."""
    left = set(cells)
    while left:
        row, column = min(left)
        columns = next(n for n in count(1) if (row, column + n) not in left)
        span = range(column, column + columns)
        rows = next(n for n in count(1) if not all((row + n, x) in left for x in span))
        left -= {(y, x) for y in range(row, row + rows) for x in span}
        yield Area(row, column, rows, columns)


class _Update(CompositorUpdate):
    """An update of the screen that also draws pictures.

    It draws only the changed parts of lines. In a widget with a changed part, Textual's own update would also draw what
    is to the left of this part, and would therefore draw pictures there again.
    """

    def __init__(self, update: LayoutUpdate | ChopsUpdate, pictures: SixelPictures, height: int) -> None:
        self._update, self._pictures, self._height = update, pictures, height

    def render_segments(self, console: Console) -> str:
        strips = list(_strips(self._update))
        text = [Control.move_to(x, y).segment.text + strip.render(console) for x, y, strip in strips]
        system = console._color_system or ColorSystem.TRUECOLOR
        return "".join(text) + self._pictures.render(strips, self._height, system)


def _strips(update: LayoutUpdate | ChopsUpdate) -> Iterator[tuple[int, int, Strip]]:
    """Yield the strips of an update, each with its column and row."""
    if isinstance(update, LayoutUpdate):
        for y, line in enumerate(update.strips, update.region.y):
            x = update.region.x
            for strip in line:
                yield x, y, strip
                x += strip.cell_length
        return
    for y, first, end in update.spans:
        for right, (x, chop) in zip(update.chop_ends[y], update.chops[y].items(), strict=True):
            if chop is not None and x < end and right > first:
                yield max(x, first), y, chop.crop(max(x, first) - x, min(right, end) - x)


@lru_cache(maxsize=256)
def _sixels(picture: Picture, cell_width: int, cell_height: int, colours: int, area: Area, ground: Pixel | None) -> str:
    """Encode an area of a picture. The lower half of its last row is left blank, as in a picture drawn as text.

    Args:
        ground: colour with which the blank part is filled, because some terminals would fill it with their own
            background colour. If None, the colour is unknown, and the blank part is not filled.
    """
    from PIL import Image

    grey = len(picture.pixels) == picture.height * picture.width
    image = Image.frombytes("L" if grey else "RGB", (picture.width, picture.height), picture.pixels)
    size = (picture.columns * cell_width, picture.rows * cell_height - cell_height // 2)
    scaled = image.convert("RGB").resize(size, Image.Resampling.BOX)
    reduced = scaled.quantize(colours - 1, dither=Image.Dither.NONE)
    left, top, bottom = area.column * cell_width, area.row * cell_height, (area.row + area.rows) * cell_height
    part = reduced.crop((left, top, left + area.columns * cell_width, min(size[1], bottom)))
    values = (reduced.getpalette() or []) + [0] * 3 * colours
    palette = [(values[at], values[at + 1], values[at + 2]) for at in range(0, 3 * (colours - 1), 3)]
    blank = bytes([colours - 1]) * part.width * (bottom - top - part.height) if ground else b""
    return encode(part.tobytes() + blank, part.width, [*palette, ground or (0, 0, 0)])


_RUN: Final = re.compile(rb"(.)\1{3,}", re.DOTALL)


def encode(pixels: bytes, width: int, palette: Sequence[Pixel]) -> str:
    """Encode an image as sixels.

    Args:
        pixels: indices into the palette, row by row.
    """
    height = len(pixels) // max(1, width)
    parts = [f'\x1bP7;1q"1;1;{width};{height}']
    for colour in sorted(set(pixels)):
        red, green, blue = (round(value * 100 / 255) for value in palette[colour])
        parts.append(f"#{colour};2;{red};{green};{blue}")
    for top in range(0, height, 6):
        lines: dict[int, bytearray] = {}
        for bit, y in enumerate(range(top, min(top + 6, height))):
            for x, colour in enumerate(pixels[y * width : (y + 1) * width]):
                if colour not in lines:
                    lines[colour] = bytearray(b"?" * width)
                lines[colour][x] += 1 << bit
        parts.append("$".join(f"#{colour}{_shortened(line)}" for colour, line in lines.items()) + "-")
    return "".join(parts).removesuffix("-") + "\x1b\\"


def _shortened(line: bytearray) -> str:
    """Compress a line of sixels: use repeat counts, and omit blanks at its end."""
    return _RUN.sub(lambda run: b"!%d%c" % (len(run[0]), run[0][0]), bytes(line.rstrip(b"?"))).decode()
