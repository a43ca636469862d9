"""Colours with fixed meanings, also distinguishable by people with colour vision deficiency.

The hues are those of Okabe and Ito (Color Universal Design, 2008). Lightness and saturation are adjusted so that the
colours are readable on dark and light backgrounds, and distinct for protan, deutan and tritan vision (Machado et al.,
2009).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Hue:
    dark: str
    """Shade of the colour for a dark background."""
    light: str
    """Shade of the colour for a light background."""
    ansi_dark: str
    """Name of one of the 16 ANSI colours, for a dark background."""
    ansi_light: str


# On black, many terminals show blue, red and bright black hardly visibly; on white, yellow and most bright colours.
HUES: Final[Mapping[str, Hue]] = {
    "hue-blue": Hue("#5c8dff", "#2c60e6", "bright_blue", "blue"),
    "hue-orange": Hue("#f7c52e", "#8f7415", "bright_yellow", "bright_red"),
    "hue-green": Hue("#2ce38b", "#0b8846", "bright_green", "green"),
    "hue-purple": Hue("#f08adb", "#b53fa9", "bright_magenta", "magenta"),
    "hue-vermillion": Hue("#e0662a", "#802100", "bright_red", "red"),
    "hue-grey": Hue("#8c8c8c", "#767676", "cyan", "bright_black"),
    "hue-plain": Hue("#f0f0f0", "#202020", "white", "black"),
}

TRAIN: Final = "hue-blue"
VALIDATION: Final = "hue-orange"
BEFORE: Final = "hue-grey"
"""Colour of predictions before adaptation."""
TRUTH: Final = "hue-plain"
SUPPORT: Final = "hue-plain"
"""Colour of support examples. It is also the colour of the true function, on which these examples lie."""
RIGHT: Final = "hue-green"
WRONG: Final = "hue-vermillion"

RUN_HUES: Final = ("hue-blue", "hue-orange", "hue-green", "hue-purple", "hue-vermillion")

_HUE_OF_SHADE: Final = {shade: name for name, hue in HUES.items() for shade in (hue.dark, hue.light)}


def shade(colour: str, dark: bool, ansi: bool = False) -> str:
    """Return the shade of a colour for a background.

    Args:
        colour: a constant of this module, or a shade of such a constant. Any other colour is returned unchanged.
        ansi: whether to return the name of one of the 16 ANSI colours.
    """
    hue = HUES.get(_HUE_OF_SHADE.get(colour, colour))
    if hue is None:
        return colour
    if ansi:
        return hue.ansi_dark if dark else hue.ansi_light
    return hue.dark if dark else hue.light
