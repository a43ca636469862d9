"""The themes that one key goes through, and the safety net for terminals without Unicode."""

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
    """Replaces, cell by cell, whatever is not ASCII: Textual's own widgets draw arrows, boxes and blocks."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        return [
            segment if segment.text.isascii() else Segment(_plain(segment.text), segment.style, segment.control)
            for segment in segments
        ]


def _plain(text: str) -> str:
    return "".join(char if char.isascii() else _cell(char) for char in text)


def _cell(char: str) -> str:
    """One ASCII character of the same width, or two where `char` is wide."""
    width = Segment(char).cell_length
    if "\u2500" <= char <= "\u257f" and char not in "│─━":
        return "+"
    return symbols.ascii(char)[:width].ljust(width) if width else ""


def names() -> list[str]:
    """All themes there are."""
    return sorted(BUILTIN_THEMES)


def fitting(environ: Mapping[str, str]) -> str:
    """The theme for a terminal that nobody has chosen one for: the terminal's own colours where it has only 16."""
    many = environ.get("COLORTERM", "") in ("truecolor", "24bit") or "256" in environ.get("TERM", "")
    return DARK if many else ANSI_DARK
