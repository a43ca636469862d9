"""A contrast filter that keeps text readable, and lines and marks visible, in every theme."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from rich.color import Color as RichColor
from rich.segment import Segment
from rich.style import Style
from textual.color import Color
from textual.filter import LineFilter

from metatui.tui.terminal.kitty import PLACEHOLDER

TEXT: Final = 4.5
"""Smallest contrast ratio of text that WCAG 2.2 allows (success criterion 1.4.3)."""
MARK: Final = 3.0
"""Smallest contrast ratio of lines and marks that WCAG 2.2 allows (success criterion 1.4.11)."""

STEPS: Final = 20
"""Number of steps from a colour to black or white. The first step with enough contrast is used."""

_LETTERS: Final = re.compile(r"[^\W_]")
_MARKS: Final = re.compile(r"[^\s\u2580-\u259f]")
"""Pattern of characters whose colour may be changed. It excludes blanks and block elements, which draw pictures."""
_WEIGHTS: Final = (0.2126, 0.7152, 0.0722)


def luminance(colour: Color) -> float:
    """Return the relative luminance from 0 to 1, as WCAG 2.2 defines it."""
    parts = (part / 255 for part in colour.rgb)
    linear = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return sum(weight * part for weight, part in zip(_WEIGHTS, linear, strict=True))


def contrast_ratio(one: Color, other: Color) -> float:
    """Return the contrast ratio of two opaque colours, from 1 to 21."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def ensure_contrast(colour: Color, background: Color, least: float) -> Color:
    """Return `colour`, darkened or brightened just enough for a contrast ratio of `least` to `background`."""
    end = max(Color(0, 0, 0), Color(255, 255, 255), key=lambda end: contrast_ratio(end, background))
    changed = (colour.blend(end, step / STEPS) for step in range(STEPS + 1))
    return next((each for each in changed if contrast_ratio(each, background) >= least), end)


def least_ratio(text: str) -> float:
    """Return the contrast ratio that `text` needs: `TEXT` for letters, `MARK` for other marks, otherwise 1."""
    if PLACEHOLDER in text:  # its colour is the number of a picture
        return 1.0
    if _LETTERS.search(text):
        return TEXT
    return MARK if _MARKS.search(text) else 1.0


class ReadableFilter(LineFilter):
    """Changes the colour of text and marks that have too little contrast with their background.

    The terminal's own 16 colours are not changed, because their exact shades are not known.
    """

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        return [
            Segment(text, _ensure_style_contrast(style, least), control)
            if style and style.color and style.bgcolor and (least := least_ratio(text)) > 1
            else segment
            for segment in segments
            for text, style, control in (segment,)
        ]


@lru_cache(maxsize=1024)
def _ensure_style_contrast(style: Style, least: float) -> Style:
    assert style.color
    assert style.bgcolor
    if style.color.triplet is None or style.bgcolor.triplet is None:
        return style
    before, background = (Color(*colour.triplet) for colour in (style.color, style.bgcolor) if colour.triplet)
    after = ensure_contrast(before, background, least)
    return style if after == before else style + Style(color=RichColor.from_rgb(*after.rgb))
