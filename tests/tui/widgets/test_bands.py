"""The ends of intervals as dotted lines: where their dots are, and what they give way to."""

from __future__ import annotations

import math

from metatui.tui.widgets.charts.bands import Band, laid_under
from metatui.tui.widgets.charts.canvas import Run

BLANK = [[Run(" " * 4, None)] for _ in range(4)]


def drawn(rows: list[list[Run]]) -> list[str]:
    return ["".join(run.text for run in row) for row in rows]


def level(low: float, high: float) -> list[tuple[float, float]]:
    """An interval that is the same all along."""
    return [(0.0, low), (0.0, high), (1.0, low), (1.0, high)]


def test_both_ends_are_dotted_in_every_second_column() -> None:
    assert drawn(laid_under(BLANK, [Band(0, level(0.0, 1.0))], ".")) == [". . ", "    ", "    ", ". . "]


def test_braille_has_two_columns_and_four_rows_a_cell() -> None:
    assert drawn(laid_under(BLANK, [Band(0, level(0.0, 1.0))], None)) == ["⠁⠁⠁⠁", "    ", "    ", "⡀⡀⡀⡀"]


def test_ends_between_two_points_are_on_the_line_between_them() -> None:
    rising = [(0.0, 0.0), (0.0, 0.0), (1.0, 1.0), (1.0, 1.0)]
    assert drawn(laid_under([[Run(" " * 5, None)] for _ in range(5)], [Band(0, rising)], ".")) == [
        "    .", "     ", "  .  ", "     ", ".    ",
    ]  # fmt: skip


def test_a_line_lies_above_and_shares_its_braille_cells() -> None:
    rows = laid_under([[Run("⠒⠒", 1), Run("  ", None)]], [Band(0, level(1.0, 1.0))], None)
    assert drawn(rows) == ["⠓⠓⠁⠁"]
    assert [run.signal for run in rows[0]] == [1, 1, 0, 0]
    assert drawn(laid_under([[Run("ab", 1), Run("  ", None)]], [Band(0, level(1.0, 1.0))], ".")) == ["ab. "]


def test_two_bands_in_one_braille_cell_keep_both_their_dots() -> None:
    rows = laid_under([[Run("  ", None)]], [Band(0, level(1.0, 1.0)), Band(1, level(0.0, 0.0))], None)
    assert drawn(rows) == ["⡁⡁"]
    assert {run.signal for run in rows[0]} == {1}


def test_what_cannot_be_drawn_is_a_gap() -> None:
    nan = (math.nan, math.nan)
    ends = [(0.0, 0.0), (0.0, 1.0), nan, nan, (1.0, 0.0), (1.0, 1.0)]
    assert drawn(laid_under(BLANK, [Band(0, ends)], ".")) == ["    "] * 4
    assert drawn(laid_under(BLANK, [Band(0, level(-1.0, 2.0))], ".")) == ["    "] * 4, "beyond the axes"
    assert laid_under([], [Band(0, level(0.0, 1.0))], ".") == []
