"""Pictures as characters: what stands out of any kind of picture is what is drawn."""

from __future__ import annotations

import pytest

from metatui.tui.terminal.symbols import Symbols
from metatui.tui.widgets.adaptation.bitmap import drawn

SIDE = 16


def picture(ground: int, figure: int) -> bytes:
    """A square of brightness `figure` in the middle of a `ground`."""
    inside = range(4, 12)
    return bytes(figure if x in inside and y in inside else ground for y in range(SIDE) for x in range(SIDE))


def inked(image: bytes) -> tuple[str, ...]:
    return drawn(image, SIDE, SIDE, 4, 8, Symbols.BRAILLE)


SQUARE = ("        ", "  ⣿⣿⣿⣿  ", "  ⣿⣿⣿⣿  ", "        ")


@pytest.mark.parametrize(("ground", "figure"), [(0, 255), (255, 0), (40, 230), (120, 230), (250, 5), (200, 90)])
def test_a_figure_on_any_ground_is_what_is_drawn(ground: int, figure: int) -> None:
    assert inked(picture(ground, figure)) == SQUARE


@pytest.mark.parametrize("value", [0, 90, 255])
def test_what_is_all_alike_is_drawn_without_a_figure(value: int) -> None:
    assert len(set("".join(inked(bytes([value]) * SIDE * SIDE)))) == 1


def test_the_brighter_half_of_a_photograph_is_drawn() -> None:
    bright = bytes(120 + 8 * x for _ in range(SIDE) for x in range(SIDE))
    assert inked(bright) == ("    ⣿⣿⣿⣿",) * 4
