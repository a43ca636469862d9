"""What the charts are made of: numbers, axes, thinning, the plotext canvas and the painted rows."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Sequence

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.style import Style

from metatui.tui import palette
from metatui.tui.terminal.symbols import Symbols
from metatui.tui.widgets.charts import Series, number, percent
from metatui.tui.widgets.charts.axis import Axis, axis_for, fixed_axis
from metatui.tui.widgets.charts.canvas import Canvas, Run, Signal
from metatui.tui.widgets.charts.chart_renderer import Picture, paint
from metatui.tui.widgets.charts.chart_theme import ChartTheme
from metatui.tui.widgets.charts.format import tick_labels
from metatui.tui.widgets.charts.row_widget import Row, centred, fitted, width_of
from metatui.tui.widgets.charts.series import thinned
from metatui.tui.widgets.charts.sparkline import bars

EDGES = [0.0, 1.0, -1.0, 1e300, -1e300, 1e-290, 2e-290, 1e-320, 1e308, math.nan, math.inf, -math.inf]
HOSTILE = st.floats() | st.sampled_from(EDGES)


def look(symbols: Symbols = Symbols.BRAILLE, *, monochrome: bool = False) -> ChartTheme:
    plain = Style()
    return ChartTheme(
        symbols,
        dark=True,
        ansi=False,
        monochrome=monochrome,
        text=plain,
        title=plain,
        muted=plain,
        key=plain,
        warning=plain,
    )


def text(rows: Sequence[Row]) -> list[str]:
    return ["".join(segment.text for segment in row) for row in rows]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, "0"), (0.0, "0"), (-0.0, "0"), (7, "7"), (9_999, "9,999"), (10_000, "10.0k"), (0.123456, "0.123"),
        (1.2, "1.20"), (999.6, "1.00k"), (0.9996, "1.00"), (123_456.0, "123k"), (1.2345e-5, "1.23e-5"),
        (-4567.0, "-4.57k"), (1e18, "1.00e18"), (5e-324, "4.94e-324"), (math.nan, "nan"), (-math.inf, "-inf"),
    ],
)  # fmt: skip
def test_numbers_have_three_significant_digits(value: float, expected: str) -> None:
    assert number(value) == expected


@given(HOSTILE)
def test_a_number_is_short_and_near_its_value(value: float) -> None:
    shown = number(value)
    assert len(shown) <= 10
    if 1e-300 < abs(value) < 1e300:
        factors = {"k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
        read = float(shown.rstrip("kMGT")) * factors.get(shown[-1], 1)
        assert read == pytest.approx(value, rel=0.0051)


def test_percentages() -> None:
    assert (percent(0.9731), percent(1), percent(math.nan)) == ("97.3 %", "100.0 %", "nan")


@pytest.mark.parametrize(
    ("ticks", "step", "expected"),
    [
        ([0.0, 500.0, 1000.0], 500, ["0", "500", "1000"]),
        ([0.0, 5_000.0, 10_000.0], 5_000, ["0", "5k", "10k"]),
        ([0.0, 0.2, 0.4, 0.6000000000000001], 0.2, ["0", "0.2", "0.4", "0.6"]),
        ([0.0, 2e-5, 4e-5], 2e-5, ["0", "2e-5", "4e-5"]),
        ([-5.0, 0.0, 5.0], 5, ["-5", "0", "5"]),
    ],
)
def test_tick_labels_match_each_other(ticks: list[float], step: float, expected: list[str]) -> None:
    assert tick_labels(ticks, step) == expected


def _check(axis: Axis, kept: Sequence[float]) -> None:
    assert math.isfinite(axis.low)
    assert axis.low < axis.high
    assert len(axis.ticks) == len(axis.labels)
    assert all(-1e-6 <= axis.at(tick) <= 1 + 1e-6 for tick in axis.ticks)
    assert all(-1e-6 <= axis.at(value) <= 1 + 1e-6 for value in kept)


@example([1e-290], 2, True)
@given(st.lists(HOSTILE, max_size=20), st.integers(2, 8), st.booleans())
def test_an_axis_holds_all_values(values: list[float], count: int, log: bool) -> None:
    axis = axis_for(values, count, log=log)
    kept = [value for value in values if math.isfinite(value) and (value >= 1e-290 or not log)]
    assert (axis is None) == (not kept)
    if axis is not None:
        _check(axis, kept)
        assert len(axis.ticks) <= count + 3 if not log else len(axis.ticks) <= 3 * count


@example(1e-290, 1e-290, 2, False)
@given(HOSTILE, HOSTILE, st.integers(2, 8), st.booleans())
def test_any_two_ends_make_an_axis(low: float, high: float, count: int, log: bool) -> None:
    axis = fixed_axis(low, high, count, log=log)
    _check(axis, [])
    if math.isfinite(low) and math.isfinite(high) and 0 < low < high < 1e200 and high > 1.01 * low > 1e-200:
        assert (axis.low, axis.high) == (low, high)


def test_ticks_are_round() -> None:
    axis = axis_for([0.37, 3.19], 5)
    assert axis is not None
    assert (axis.ticks, axis.labels) == ((0, 1, 2, 3, 4), ("0", "1", "2", "3", "4"))
    axis = axis_for([0.0021, 0.83], 5, log=True)
    assert axis is not None
    assert axis.labels == ("0.01", "0.1", "1") or axis.labels == ("0.002", "0.01", "0.1", "1")
    assert axis.at(0.1) - axis.at(0.01) == pytest.approx(axis.at(1) - axis.at(0.1))


def test_a_chart_with_fixed_ends_has_two_ticks_or_more() -> None:
    assert len(fixed_axis(-4, 4, 3).ticks) >= 2
    assert len(fixed_axis(0, 7, 2).ticks) >= 2


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(-1, 2) | st.just(math.nan)), max_size=500), st.integers(1, 60))
def test_thinning_keeps_the_extremes(points: list[tuple[float, float]], width: int) -> None:
    kept = thinned(points, width)
    assert len(kept) <= 2 * width
    heights = [up for _, up in points if not math.isnan(up)]
    kept_heights = [up for _, up in kept if not math.isnan(up)]
    assert (min(kept_heights, default=None), max(kept_heights, default=None)) == (
        min(heights, default=None),
        max(heights, default=None),
    )


DIAGONAL = tuple((index / 20, index / 20) for index in range(21))


@pytest.mark.parametrize("marker", ["braille", "hd", "*"])
def test_the_canvas_is_what_was_asked_for_at_any_size(marker: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """plotext's own figure would be limited to the terminal's size."""
    monkeypatch.setenv("COLUMNS", "20")
    monkeypatch.setenv("LINES", "5")
    canvas = Canvas()
    for width, height in ((40, 10), (300, 100), (2, 2), (60, 3)):
        rows = canvas.draw([Signal(DIAGONAL, marker, True)], width, height)
        assert len(rows) == height
        assert all(sum(len(run.text) for run in row) == width for row in rows)
        assert rows[0][-1].signal == 0
        assert rows[-1][0].signal == 0


def test_canvases_share_nothing() -> None:
    one, other = Canvas(), Canvas()
    first = one.draw([Signal(DIAGONAL, "braille", True)], 30, 8)
    other.draw([Signal(((0.0, 1.0), (1.0, 0.0)), "hd", True), Signal(DIAGONAL, "*", False)], 50, 12)
    assert one.draw([Signal(DIAGONAL, "braille", True)], 30, 8) == first


def test_a_gap_in_a_line_stays_empty() -> None:
    gap = (math.nan, math.nan)
    (row, *_) = Canvas().draw([Signal(((0.0, 1.0), (0.3, 1.0), gap, (0.7, 1.0), (1.0, 1.0)), "*", True)], 10, 2)
    assert "".join(run.text for run in row) == "****  ****"


def test_the_last_signal_lies_on_top_in_its_own_colour() -> None:
    rows = Canvas().draw([Signal(DIAGONAL, "*", True), Signal(((0.0, 0.0),), "o", False)], 10, 4)
    assert rows[-1][0] == Run("o", 1)


@given(
    st.lists(st.lists(st.tuples(HOSTILE, HOSTILE), max_size=40), max_size=4),
    st.integers(0, 80), st.integers(0, 30), st.booleans(), st.sampled_from(Symbols), st.booleans(),
    st.none() | st.tuples(HOSTILE, HOSTILE), st.sampled_from(["line", "points"]), st.text(max_size=30),
)  # fmt: skip
@settings(max_examples=300, deadline=None)
def test_nothing_brings_a_chart_down(
    data: list[list[tuple[float, float]]], width: int, height: int, log: bool, symbols: Symbols, legend: bool,
    limits: tuple[float, float] | None, style: str, words: str,
) -> None:  # fmt: skip
    series = tuple(Series(words, palette.TRAIN, points, "points" if style == "points" else "line") for points in data)
    picture = Picture(
        series, title=words, x_label=words, y_label=words, log_y=log, y_limits=limits, legend=legend, empty=words
    )
    rows = paint(picture, width, height, look(symbols), Canvas())
    assert len(rows) == height
    assert all(width_of(row) == width for row in rows)
    assert all(line.isprintable() for line in text(rows))
    if symbols is Symbols.ASCII:
        assert all(line.isascii() for line in text(rows))


FUZZ = """
import itertools, math, random
from rich.style import Style
from metatui.tui.widgets.charts.canvas import Canvas
from metatui.tui.widgets.charts.chart_theme import Look
from metatui.tui.widgets.charts.chart_renderer import Picture, paint
from metatui.tui.widgets.charts.row_widget import width_of
from metatui.tui.widgets.charts.series import Series
from metatui.tui.terminal.symbols import Symbols

random.seed(0)
VALUES = [math.nan, math.inf, -math.inf, 1e300, -1e300, 1.7e308, 1e-320, 5e-324, 0.0, -0.0, 1.0, 1 + 1e-15, -3.0, 1e-13]
SIZES = [(0, 0), (1, 1), (3, 2), (6, 3), (20, 6), (36, 8), (60, 18), (300, 100)]
canvas = Canvas()
def some(kind):
    count = random.choice([0, 1, 2, 3, 17, 400])
    if kind == "constant":
        return [(1.0, random.choice(VALUES))] * count
    if kind == "hostile":
        return [(random.choice(VALUES), random.choice(VALUES)) for _ in range(count)]
    if kind == "gaps":
        return [(float(i), math.nan if i % 2 else i * 1e290) for i in range(count)]
    return [(i * 1.0, random.gauss(0, 1) * 10 ** random.uniform(-300, 300)) for i in range(count)]
for number in range(4000):
    width, height = SIZES[min(number % 9, 7)] if number % 200 == 7 else random.choice(SIZES[:7])
    look = Look(random.choice(list(Symbols)), True, False, False, *[Style()] * 5)
    kinds = random.choices(["constant", "hostile", "gaps", "wide"], k=random.randrange(4))
    styles = random.choices(["line", "points"], k=3)
    series = tuple(Series(kind, "red", some(kind), style) for kind, style in zip(kinds, styles))
    limits = random.choice([None, None, (random.choice(VALUES), random.choice(VALUES))])
    picture = Picture(series, title="t", x_label="x", y_label="y", log_y=random.random() < 0.5, y_limits=limits)
    rows = paint(picture, width, height, look, canvas)
    assert len(rows) == height and all(width_of(row) == width for row in rows), (number, width, height)
print("drawn")
"""


def test_thousands_of_hostile_charts_leave_the_process_alive() -> None:
    """In a process of its own: what a native crash would take down."""
    done = subprocess.run(
        [sys.executable, "-c", FUZZ], capture_output=True, text=True, timeout=300, env={**os.environ, "COLUMNS": "80"}
    )
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "drawn", "")


def test_names_never_lie_on_the_curve() -> None:
    series = (Series("train", palette.TRAIN, ((0.0, 4.0), (100.0, 4.0))),)
    lines = text(
        paint(Picture(series, title="Meta-loss", x_label="meta-steps", y_label="MSE"), 60, 12, look(), Canvas())
    )
    assert lines[0].startswith("Meta-loss")
    assert lines[0].rstrip().endswith("train")
    assert lines[1].strip() == "MSE"
    assert not any("train" in line for line in lines[1:])
    assert "4.00" in "".join(lines)


def test_a_long_legend_says_how_many_more_there_are() -> None:
    series = tuple(Series(f"a run with a long name {i}", palette.TRAIN, ((0.0, i), (1.0, i))) for i in range(6))
    lines = text(paint(Picture(series, title="Runs", y_label="MSE"), 60, 14, look(), Canvas()))
    assert any(line.rstrip().endswith("+4") for line in lines[:2])


def test_a_high_chart_has_room_for_a_long_legend() -> None:
    series = tuple(Series(f"a run with a long name {i}", palette.TRAIN, ((0.0, i), (1.0, i))) for i in range(7))
    lines = text(paint(Picture(series, title="Runs", y_label="MSE"), 60, 20, look(), Canvas()))
    found = [line.split() for line in lines[1:4]]
    assert [[word for word in row if word.isdigit() or word.startswith("+")] for row in found] == [
        ["0", "1"], ["2", "3"], ["4", "5", "+1"],
    ]  # fmt: skip
    assert all(len(line) == 60 for line in lines)


def test_a_line_without_a_name_is_drawn_like_the_one_before() -> None:
    levels = zip(("one", "", "two"), (0.0, 1.0, 2.0), strict=True)
    series = tuple(Series(name, palette.TRAIN, ((0.0, level), (1.0, level))) for name, level in levels)
    style = look(Symbols.ASCII)
    lines = text(paint(Picture(series, title="Runs", last_values=False), 40, 12, style, Canvas()))
    first, second = style.glyphs.lines[0], style.glyphs.lines[1]
    assert [sum(mark * 5 in line for line in lines) for mark in (first, second)] == [2, 1]


def test_lines_are_told_apart_without_colour() -> None:
    series = tuple(Series(name, palette.TRAIN, ((0.0, i), (1.0, i))) for i, name in enumerate(("one", "two")))
    for style in (look(Symbols.ASCII), look(monochrome=True)):
        lines = text(paint(Picture(series, title="Runs"), 40, 10, style, Canvas()))
        first, second = style.glyphs.lines[0], style.glyphs.lines[1]
        assert f"{first} one" in lines[0]
        assert f"{second} two" in lines[0]
        assert first * 5 in "".join(lines[1:])
        assert second * 5 in "".join(lines[1:])


def test_a_line_keeps_its_marker_when_another_has_nothing_to_draw() -> None:
    series = (Series("one", palette.TRAIN, ()), Series("two", palette.TRAIN, ((0.0, 1.0), (1.0, 1.0))))
    lines = text(paint(Picture(series, title="Runs"), 40, 10, look(Symbols.ASCII), Canvas()))
    assert lines[0].rstrip().endswith("+ two")
    assert "one" not in lines[0]


@pytest.mark.parametrize("symbols", Symbols)
def test_a_point_lies_on_the_line_through_it(symbols: Symbols) -> None:
    curve = tuple((x / 10, math.sin(x / 10)) for x in range(64))
    for at in range(0, 64, 7):
        both = (Series("", palette.TRAIN, curve), Series("", palette.TRUTH, curve[at : at + 1], "points"))
        alone, marked = (text(paint(Picture(found), 40, 12, look(symbols), Canvas())) for found in (both[:1], both))
        hidden = [
            old for before, after in zip(alone, marked, strict=True) for old, new in zip(before, after, strict=True)
            if old != new
        ]  # fmt: skip
        assert len(hidden) == 1
        assert hidden[0].strip()


def test_an_empty_chart_says_what_to_do_next() -> None:
    lines = text(paint(Picture((), title="Meta-loss", empty="Press F5 to start a run."), 40, 9, look(), Canvas()))
    assert lines[0].startswith("Meta-loss")
    assert any(line.strip() == "Press F5 to start a run." for line in lines)


def test_where_no_curve_fits_the_last_values_are_in_words() -> None:
    series = (Series("train", palette.TRAIN, ((0.0, 1.0), (1.0, 0.25), (2.0, math.nan))),)
    assert "train nan" in text(paint(Picture(series, title="Meta-loss"), 30, 3, look(), Canvas()))[1]


@given(st.lists(HOSTILE, max_size=80), st.integers(1, 4))
def test_bars_of_anything(values: list[float], height: int) -> None:
    rows = bars(values, height, "▁▂▃▄▅▆▇█")
    assert [len(row) for row in rows] == [len(values)] * height
    for value, bottom in zip(values, rows[-1], strict=True):
        assert (bottom == " ") == (not math.isfinite(value))


def test_bars_reach_from_the_smallest_to_the_largest() -> None:
    assert bars([0.0, 1.0, math.nan, 2.0], 1, "▁▂▃▄▅▆▇█") == ["▁▅ █"]
    assert bars([0.0, 2.0], 2, "▁▂▃▄▅▆▇█") == [" █", "▁█"]
    assert bars([3.0, 3.0], 1, "▁▂▃▄▅▆▇█") == ["▅▅"]


@given(st.text(), st.integers(0, 40), st.integers(0, 5))
def test_text_of_any_kind_keeps_to_its_place(words: str, width: int, height: int) -> None:
    said = look().say(words)
    assert said.isprintable()
    assert cell_len(fitted(said, width, "…")) <= width
    rows = centred(said, width, height, Style())
    assert [width_of(row) for row in rows] == [width] * height
