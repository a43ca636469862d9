"""Themes that the theme key cycles through, and an ASCII filter for terminals without Unicode."""

from __future__ import annotations

from collections.abc import Mapping

from rich.segment import Segment
from textual.color import Color
from textual.filter import LineFilter
from textual.theme import BUILTIN_THEMES

from metatui.tui.terminal import symbols

DARK, LIGHT, ANSI_DARK, ANSI_LIGHT = "textual-dark", "textual-light", "ansi-dark", "ansi-light"
CYCLE = (DARK, LIGHT, ANSI_DARK, ANSI_LIGHT)


class AsciiFilter(LineFilter):
    """Filter that replaces all non-ASCII characters, such as the arrows and boxes of Textual's widgets."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        return [
            segment if segment.text.isascii() else Segment(_to_ascii(segment.text), segment.style, segment.control)
            for segment in segments
        ]


def _to_ascii(text: str) -> str:
    return "".join(char if char.isascii() else _ascii_cells(char) for char in text)


def _ascii_cells(char: str) -> str:
    """Return ASCII characters of the same width as `char`."""
    width = Segment(char).cell_length
    if "\u2589" <= char <= "\u2590":  # vertical borders
        return "|"
    if "\u2500" <= char <= "\u257f" and char not in "│─━":  # corners and junctions of boxes
        return "+"
    return symbols.ascii(char)[:width].ljust(width) if width else ""


def names() -> list[str]:
    return sorted(BUILTIN_THEMES)


def default_theme(environ: Mapping[str, str]) -> str:
    """Return the default theme. In a terminal with only 16 colours, this theme uses the terminal's own colours."""
    many = environ.get("COLORTERM", "") in ("truecolor", "24bit") or "256" in environ.get("TERM", "")
    return DARK if many else ANSI_DARK
