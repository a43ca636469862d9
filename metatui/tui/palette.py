"""Colours that mean something, told apart by colour-blind eyes on dark and on light backgrounds.

The hues are those of Okabe and Ito (Color Universal Design, 2008), with lightness and saturation moved until all of
them read on a dark and on a light screen and stay apart for protan, deutan and tritan vision (Machado et al., 2009).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Hue:
    dark: str
    """On a dark background."""
    light: str
    """On a light background."""
    ansi_dark: str
    """The name among the terminal's own 16 colours, on a dark background."""
    ansi_light: str


HUES: Final[Mapping[str, Hue]] = {
    "hue-blue": Hue("#5c8dff", "#2c60e6", "bright_blue", "blue"),
    "hue-orange": Hue("#f7c52e", "#8f7415", "bright_yellow", "yellow"),
    "hue-green": Hue("#2ce38b", "#0b8846", "bright_green", "green"),
    "hue-purple": Hue("#f08adb", "#b53fa9", "bright_magenta", "magenta"),
    "hue-vermillion": Hue("#e0662a", "#802100", "red", "red"),
    "hue-grey": Hue("#8c8c8c", "#767676", "bright_black", "bright_black"),
    "hue-plain": Hue("#f0f0f0", "#202020", "white", "black"),
}

TRAIN: Final = "hue-blue"
VALIDATION: Final = "hue-orange"
TEST: Final = "hue-purple"
BEFORE: Final = "hue-grey"
"""A prediction before adaptation."""
AFTER: Final = "hue-blue"
"""A prediction after adaptation, where no run lends its colour."""
TRUTH: Final = "hue-plain"
SUPPORT: Final = "hue-plain"
"""Support examples: they lie on the truth, and have its colour."""
RIGHT: Final = "hue-green"
WRONG: Final = "hue-vermillion"

RUN_HUES: Final = ("hue-blue", "hue-orange", "hue-green", "hue-purple", "hue-vermillion")

_HUE_OF_SHADE: Final = {shade: name for name, hue in HUES.items() for shade in (hue.dark, hue.light)}


def run_colour(index: int, dark: bool) -> str:
    """The colour of the run with this index, as `#rrggbb`; from the sixth run on, colours come again."""
    return shade(RUN_HUES[index % len(RUN_HUES)], dark)


def shade(colour: str, dark: bool, ansi: bool = False) -> str:
    """`colour` for this background: a meaning above, or a shade made for the other background, becomes the one that
    reads here. Any other colour is given back as it is.

    Args:
        ansi: Whether the terminal's own 16 colours are to be used; gives a colour name as rich knows it.
    """
    hue = HUES.get(_HUE_OF_SHADE.get(colour, colour))
    if hue is None:
        return colour
    if ansi:
        return hue.ansi_dark if dark else hue.ansi_light
    return hue.dark if dark else hue.light
