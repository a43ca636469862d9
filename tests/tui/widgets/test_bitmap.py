"""Tests of drawing images as characters. A figure in an image must be visible whatever its background is."""

from __future__ import annotations

import pytest

from metatui.tui.terminal.symbols import Symbols
from metatui.tui.widgets.adaptation.bitmap import are_drawings, draw_bitmap

SIDE = 16


def picture(ground: int, figure: int) -> bytes:
    """Return an image of a square with brightness `figure` on a background with brightness `ground`."""
    inside = range(4, 12)
    return bytes(figure if x in inside and y in inside else ground for y in range(SIDE) for x in range(SIDE))


def inked(image: bytes) -> tuple[str, ...]:
    return draw_bitmap(image, SIDE, SIDE, 4, 8, Symbols.BRAILLE)


SQUARE = ("        ", "  ⣿⣿⣿⣿  ", "  ⣿⣿⣿⣿  ", "        ")


@pytest.mark.parametrize(("ground", "figure"), [(0, 255), (255, 0), (40, 230), (120, 230), (250, 5), (200, 90)])
def test_figures_on_any_background(ground: int, figure: int) -> None:
    assert inked(picture(ground, figure)) == SQUARE


@pytest.mark.parametrize("value", [0, 90, 255])
def test_uniform_images(value: int) -> None:
    assert len(set("".join(inked(bytes([value]) * SIDE * SIDE)))) == 1


def test_photographs_are_not_drawings() -> None:
    bright = bytes(120 + 8 * x for _ in range(SIDE) for x in range(SIDE))
    assert not are_drawings((bright,))
    assert are_drawings((bright, picture(0, 255), picture(250, 5)))
