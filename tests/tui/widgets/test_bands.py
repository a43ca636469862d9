"""Tests of interval bands, drawn as dotted lines below the curves."""

from __future__ import annotations

import math

from metatui.tui.widgets.charts.canvas import Band, Run, draw_bands

BLANK = [[Run(" " * 4, None)] for _ in range(4)]


def drawn(rows: list[list[Run]]) -> list[str]:
    return ["".join(run.text for run in row) for row in rows]


def level(low: float, high: float) -> list[tuple[float, float]]:
    """Return a constant interval."""
    return [(0.0, low), (0.0, high), (1.0, low), (1.0, high)]


def test_both_ends_have_dots_in_every_second_column() -> None:
    assert drawn(draw_bands(BLANK, [Band(0, level(0.0, 1.0))], ".")) == [". . ", "    ", "    ", ". . "]


def test_braille_dots() -> None:
    assert drawn(draw_bands(BLANK, [Band(0, level(0.0, 1.0))], None)) == ["⠁⠁⠁⠁", "    ", "    ", "⡀⡀⡀⡀"]


def test_ends_are_interpolated() -> None:
    rising = [(0.0, 0.0), (0.0, 0.0), (1.0, 1.0), (1.0, 1.0)]
    assert drawn(draw_bands([[Run(" " * 5, None)] for _ in range(5)], [Band(0, rising)], ".")) == [
        "    .", "     ", "  .  ", "     ", ".    ",
    ]  # fmt: skip


def test_lines_cover_bands_but_share_braille_cells() -> None:
    rows = draw_bands([[Run("⠒⠒", 1), Run("  ", None)]], [Band(0, level(1.0, 1.0))], None)
    assert drawn(rows) == ["⠓⠓⠁⠁"]
    assert [run.signal for run in rows[0]] == [1, 1, 0, 0]
    assert drawn(draw_bands([[Run("ab", 1), Run("  ", None)]], [Band(0, level(1.0, 1.0))], ".")) == ["ab. "]


def test_two_bands_share_a_braille_cell() -> None:
    rows = draw_bands([[Run("  ", None)]], [Band(0, level(1.0, 1.0)), Band(1, level(0.0, 0.0))], None)
    assert drawn(rows) == ["⡁⡁"]
    assert {run.signal for run in rows[0]} == {1}


def test_gaps() -> None:
    nan = (math.nan, math.nan)
    ends = [(0.0, 0.0), (0.0, 1.0), nan, nan, (1.0, 0.0), (1.0, 1.0)]
    assert drawn(draw_bands(BLANK, [Band(0, ends)], ".")) == ["    "] * 4
    assert drawn(draw_bands(BLANK, [Band(0, level(-1.0, 2.0))], ".")) == ["    "] * 4, "beyond the axes"
    assert draw_bands([], [Band(0, level(0.0, 1.0))], ".") == []
