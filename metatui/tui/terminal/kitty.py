"""Pictures in terminals with Kitty's graphics protocol (https://sw.kovidgoyal.net/kitty/graphics-protocol/).

A picture is sent once. The cells of the picture then contain placeholder characters, which Textual draws like any text.
The colour of a placeholder encodes the number of the picture, and its diacritics encode its row and column.

The name of the terminal decides whether pictures are used. Waiting for the reply to a query would delay the first
frame, keys could be mistaken for the reply, and some terminals that reply do not support placeholders.
"""

from __future__ import annotations

import zlib
from base64 import standard_b64encode
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

PLACEHOLDER: Final = "\U0010eeee"

# The first entries of rowcolumn-diacritics.txt in the protocol's documentation.
_DIACRITICS: Final = [
    *(0x305, 0x30D, 0x30E, 0x310, 0x312, 0x33D, 0x33E, 0x33F, 0x346, 0x34A, 0x34B, 0x34C, 0x350, 0x351, 0x352, 0x357),
    *(0x35B, *range(0x363, 0x370), *range(0x483, 0x488), *range(0x592, 0x596), *range(0x597, 0x59A)),
    *(*range(0x59C, 0x5A2), 0x5A8, 0x5A9, 0x5AB, 0x5AC, 0x5AF, 0x5C4),
]
MAX_SIDE_CELLS: Final = len(_DIACRITICS)
"""Maximum number of rows, and of columns, of a picture."""

MAX_PICTURES: Final = 1024
"""Maximum number of pictures in the terminal. The least recently used ones are deleted."""

CHUNK: Final = 4096
"""Maximum size in bytes of the part of a picture that one message sends."""


def is_supported(environ: Mapping[str, str]) -> bool:
    """Return whether the terminal can show pictures. Multiplexers, which change `TERM`, do not pass pictures on.

    Placeholders need exact colours, so the result is false if the user has reduced the number of colours.
    """
    all_colours = environ.get("TEXTUAL_COLOR_SYSTEM", "auto") in ("auto", "truecolor")
    return all_colours and environ.get("TERM") in ("xterm-kitty", "xterm-ghostty")


class Picture(NamedTuple):
    """A picture in a rectangle of cells."""

    pixels: bytes
    """Pixels, row by row: one byte per pixel of a greyscale image, or three (red, green, blue) of a colour image."""
    height: int
    width: int
    rows: int
    columns: int


class KittyPictures:
    """Sends each picture to the terminal only once."""

    def __init__(self, write: Callable[[str], object]) -> None:
        self._write = write
        self._numbers: OrderedDict[Picture, int] = OrderedDict()
        self._sent = 0

    def send_again(self) -> None:
        """Send all pictures again, because the terminal deletes them when the app is suspended."""
        for picture, number in self._numbers.items():
            self._send(picture, number)

    def number(self, picture: Picture) -> int:
        """Return the number of a picture, counted from 1. Send the picture first if the terminal does not have it."""
        if picture in self._numbers:
            self._numbers.move_to_end(picture)
            return self._numbers[picture]
        if len(self._numbers) == MAX_PICTURES:
            _, oldest = self._numbers.popitem(last=False)
            self._write(f"\x1b_Ga=d,d=I,i={oldest},q=2\x1b\\")
        self._sent += 1
        self._numbers[picture] = self._sent
        self._send(picture, self._sent)
        return self._sent

    def _send(self, picture: Picture, number: int) -> None:
        grey = len(picture.pixels) == picture.height * picture.width
        pixels = bytes(value for value in picture.pixels for _ in range(3)) if grey else picture.pixels
        payload = standard_b64encode(zlib.compress(pixels)).decode()
        chunks = [payload[start : start + CHUNK] for start in range(0, len(payload), CHUNK)]
        for index, chunk in enumerate(chunks):
            keys = f"i={number},f=24,o=z,s={picture.width},v={picture.height},q=2," if index == 0 else ""
            self._write(f"\x1b_G{keys}m={int(index < len(chunks) - 1)};{chunk}\x1b\\")
        self._write(f"\x1b_Ga=p,U=1,i={number},c={picture.columns},r={picture.rows},q=2\x1b\\")


def placeholders(rows: int, columns: int) -> list[str]:
    """Return the placeholder characters of each row of a picture."""
    marks = [chr(code) for code in _DIACRITICS]
    return ["".join(PLACEHOLDER + marks[row] + marks[column] for column in range(columns)) for row in range(rows)]
