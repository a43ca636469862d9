"""Tests of drawing photographs in terminal cells."""

from __future__ import annotations

from dataclasses import replace

import pytest
from rich.color import Color
from rich.style import Style

from metatui.tui.colors.contrast import least_ratio
from metatui.tui.terminal.kitty import PLACEHOLDER, KittyPictures, placeholders
from metatui.tui.terminal.symbols import Symbols
from metatui.tui.widgets.adaptation.photograph import columns_of, draw
from metatui.tui.widgets.charts.chart_theme import ChartTheme
from metatui.tui.widgets.charts.row_widget import Row
from tests.tui.widgets.test_adaptation import chart_theme

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)
QUARTERS = bytes(value for pixel in (RED, GREEN, GREEN, BLUE) for value in pixel)
"""Colour image of 2 x 2 pixels, with three bytes per pixel."""


def quarters(rows: int, columns: int, theme: ChartTheme) -> list[Row]:
    return draw(QUARTERS, 2, 2, rows, columns, theme)


def triplet(colour: Color | None) -> tuple[int, ...] | None:
    return tuple(colour.get_truecolor()) if colour else None


def pixels(row: Row) -> list[tuple[object, object]]:
    """Return the colours of the upper and the lower pixel in each cell of a row."""
    cells: list[tuple[object, object]] = []
    for segment in row:
        style = segment.style or Style()
        lower = triplet(style.bgcolor)
        cells += [(triplet(style.color) if char == "▀" else lower, lower) for char in segment.text]
    return cells


def test_cells_of_two_pixels() -> None:
    first, last = quarters(2, 3, chart_theme())  # three lines of pixels, and a blank half line
    assert pixels(first) == [(RED, RED), (RED, RED), (GREEN, GREEN)]
    assert pixels(last) == [(GREEN, None), (GREEN, None), (BLUE, None)]


def test_cells_of_one_pixel_need_no_unicode() -> None:
    rows = quarters(5, 4, chart_theme(Symbols.ASCII))
    assert {segment.text for row in rows for segment in row} == {" "}
    assert [pixels(row)[0][0] for row in rows] == [RED, RED, GREEN, GREEN, None]


def test_grey_photographs_are_grey() -> None:
    (row,) = draw(bytes([0, 255]), 1, 2, 1, 2, chart_theme())
    assert pixels(row) == [((0, 0, 0), None), ((255, 255, 255), None)]


@pytest.mark.parametrize(("symbols", "dark", "ramp"), [
    (Symbols.BRAILLE, True, " ░▒▓█"), (Symbols.BRAILLE, False, "█▓▒░ "), (Symbols.ASCII, True, " .:-=+*#%@"),
])  # fmt: skip
def test_shades_without_colour(symbols: Symbols, dark: bool, ramp: str) -> None:
    values = bytes(round(255 * (index + 0.5) / len(ramp)) for index in range(len(ramp)))
    (row,) = draw(values, 1, len(ramp), 1, len(ramp), chart_theme(symbols, dark=dark, monochrome=True))
    assert "".join(segment.text for segment in row) == ramp
    assert not any(segment.style and (segment.style.color or segment.style.bgcolor) for segment in row)


def test_pictures() -> None:
    written: list[str] = []
    theme = replace(chart_theme(), pictures=KittyPictures(written.append))
    first, second = (quarters(2, 3, theme) for _ in range(2))
    assert first == second
    assert [(segment.text, segment.style) for (segment,) in first] == [
        (text, Style(color=Color.from_rgb(0, 0, 1))) for text in placeholders(2, 3)
    ]
    assert len(written) == 2
    assert least_ratio(first[0][0].text) == 1.0
    for other in (replace(theme, monochrome=True), replace(theme, symbols=Symbols.ASCII)):
        assert PLACEHOLDER not in quarters(2, 3, other)[0][0].text


def test_proportions() -> None:
    assert columns_of(5, 32, 32, chart_theme()) == 9  # nine lines of pixels as high as wide
    assert columns_of(5, 32, 64, chart_theme()) == 18
    assert columns_of(5, 32, 32, chart_theme(monochrome=True)) == 8  # four lines twice as high as wide


def test_wrong_sizes_are_blank() -> None:
    for theme in (chart_theme(), chart_theme(monochrome=True)):
        rows = draw(QUARTERS[:5], 2, 2, 2, 3, theme)
        assert ["".join(segment.text for segment in row) for row in rows] == ["   ", "   "]
