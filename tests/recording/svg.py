"""Converts the screen of a terminal to an SVG with exact cells and colours, which needs no external fonts or files."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from html import escape
from itertools import groupby
from typing import NamedTuple

import pyte

from tests.recording.glyphs import HEIGHT, WIDTH, filled, heavy, light

FOREGROUND, BACKGROUND = "e0e0e0", "121212"
"""Default colours of text and background. The margin has the colour of the background."""

MARGIN = 8
BASELINE = 12
FONTS = "ui-monospace,'DejaVu Sans Mono',Menlo,Consolas,monospace"
FONT_SIZE = 13.3
"""Size at which a character of `FONTS` is about WIDTH wide. The attribute `textLength` sets the exact width."""


class TextStyle(NamedTuple):
    """Style of the text in a cell."""

    colour: str
    bold: bool
    italic: bool
    underline: bool


class Piece(NamedTuple):
    """Consecutive characters of a row that have the same style."""

    x: int
    y: int
    text: str
    style: TextStyle
    ground: str


def screen_svg(capture: bytes, columns: int, rows: int, title: str) -> str:
    """Convert a terminal screen to an SVG.

    Args:
        capture: output of `tmux capture-pane -e -p -N`.
        columns, rows: size of the terminal.
        title: title of the picture.
    """
    screen = pyte.Screen(columns, rows)
    pyte.ByteStream(screen).feed(capture.rstrip(b"\n").replace(b"\n", b"\r\n"))
    pieces = [piece for row in range(rows) for piece in _pieces(screen, row)]
    width, height = columns * WIDTH + 2 * MARGIN, rows * HEIGHT + 2 * MARGIN
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">',
            f"<title>{escape(title)}</title>",
            f'<rect width="{width}" height="{height}" rx="6" fill="#{BACKGROUND}"/>',
            f'<g transform="translate({MARGIN} {MARGIN})">',
            *_backgrounds(pieces),
            f'<g font-family="{FONTS}" font-size="{FONT_SIZE}" xml:space="preserve">',
            *_texts(pieces),
            "</g>",
            *_shapes(pieces),
            "</g>",
            "</svg>\n",
        ]
    )


def _pieces(screen: pyte.Screen, row: int) -> Iterator[Piece]:
    cells = [screen.buffer[row][column] for column in range(screen.columns)]
    column = 0
    for (ink, ground), group in groupby(cells, key=_cell_style):
        text = "".join(cell.data for cell in group)
        yield Piece(column * WIDTH, row * HEIGHT, text, ink, ground)
        column += len(text)


def _cell_style(cell: pyte.screens.Char) -> tuple[TextStyle, str]:
    ink = FOREGROUND if cell.fg == "default" else cell.fg
    ground = BACKGROUND if cell.bg == "default" else cell.bg
    if cell.reverse:
        ink, ground = ground, ink
    return TextStyle(ink, cell.bold, cell.italics, cell.underscore), ground


def _backgrounds(pieces: list[Piece]) -> Iterator[str]:
    """Yield an SVG path for each background colour except the default, covering all cells with this colour."""
    paths: dict[str, str] = defaultdict(str)
    for piece in pieces:
        if piece.ground != BACKGROUND:
            wide = len(piece.text) * WIDTH
            paths[piece.ground] += f"M{piece.x} {piece.y}h{wide}v{HEIGHT}h-{wide}z"
    for colour, path in paths.items():
        yield f'<path fill="#{colour}" shape-rendering="crispEdges" d="{path}"/>'


def _texts(pieces: list[Piece]) -> Iterator[str]:
    """Yield an SVG group for each style. It contains the words in this style, each exactly as wide as its cells."""
    groups: dict[TextStyle, str] = defaultdict(str)
    for piece in pieces:
        for at, word in _words(piece.text):
            x, y, wide = piece.x + at * WIDTH, piece.y + BASELINE, len(word) * WIDTH
            groups[piece.style] += (
                f'<text x="{x}" y="{y}" textLength="{wide}" lengthAdjust="spacingAndGlyphs">{escape(word)}</text>'
            )
    for ink, texts in groups.items():
        bold = ' font-weight="bold"' if ink.bold else ""
        italic = ' font-style="italic"' if ink.italic else ""
        underline = ' text-decoration="underline"' if ink.underline else ""
        yield f'<g fill="#{ink.colour}"{bold}{italic}{underline}>{texts}</g>'


def _words(text: str) -> Iterator[tuple[int, str]]:
    """Split `text` at double spaces, and yield the position and the text of each part.

    Characters that are drawn as paths count as spaces. Each character outside the Latin alphabets is a separate part,
    so that its neighbours do not move if its font has a different width.
    """
    plain = "".join(" " if _is_shape(char) else char for char in text)
    start = 0
    for kind, group in groupby(plain, key=lambda char: "latin" if char < "\u0250" else char):
        part = "".join(group)
        if kind != "latin":
            yield from ((start + at, char) for at, char in enumerate(part))
        else:
            at = 0
            for word in part.split("  "):
                if word.strip():
                    yield start + at + len(word) - len(word.lstrip()), word.strip()
                at += len(word) + 2
        start += len(part)


def _shapes(pieces: list[Piece]) -> Iterator[str]:
    """Yield an SVG path for each combination of colour and shape: filled, thin lines or thick lines."""
    paths: dict[tuple[str, str], str] = defaultdict(str)
    for piece in pieces:
        for at, char in enumerate(piece.text):
            x = piece.x + at * WIDTH
            paths["fill", piece.style.colour] += filled(char, x, piece.y)
            paths["light", piece.style.colour] += light(char, x, piece.y)
            paths["heavy", piece.style.colour] += heavy(char, x, piece.y)
    for (kind, colour), path in paths.items():
        if path:
            how = f'fill="#{colour}"' if kind == "fill" else f'fill="none" stroke="#{colour}"'
            thick = ' stroke-width="3"' if kind == "heavy" else ""
            yield f'<path {how}{thick} d="{path}"/>'


def _is_shape(char: str) -> bool:
    return bool(filled(char, 0, 0) or light(char, 0, 0) or heavy(char, 0, 0))
