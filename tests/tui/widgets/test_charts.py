"""Tests of the parts of charts: number labels, axes, drawing with plotext, painted rows and sparkline bars."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.style import Style

from metatui.tui.colors import palette
from metatui.tui.formatting import tick_labels
from metatui.tui.terminal.symbols import Symbols
from metatui.tui.widgets.charts import ChartData, Series, number, percent
from metatui.tui.widgets.charts.axis import Axis, range_axis, value_axis
from metatui.tui.widgets.charts.canvas import Run, Signal, draw_signals
from metatui.tui.widgets.charts.chart_theme import ChartTheme
from metatui.tui.widgets.charts.plot import paint
from metatui.tui.widgets.charts.row_widget import Row, centred, truncate, truncate_words, width_of
from metatui.tui.widgets.charts.sparkline import bars

EDGES = [0.0, 1.0, -1.0, 1e300, -1e300, 1e-290, 2e-290, 1e-320, 1e308, math.nan, math.inf, -math.inf]
HOSTILE = st.floats() | st.sampled_from(EDGES)


def theme(symbols: Symbols = Symbols.BRAILLE, *, monochrome: bool = False) -> ChartTheme:
    plain = Style()
    return ChartTheme(
        symbols, dark=True, ansi=False, monochrome=monochrome,
        text=plain, title=plain, muted=plain, key=plain, good=plain, warning=plain, error=plain,
    )  # fmt: skip


def text(rows: Sequence[Row]) -> list[str]:
    return ["".join(segment.text for segment in row) for row in rows]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, "0"), (0.0, "0"), (-0.0, "0"), (7, "7"), (9_999, "9,999"), (10_000, "10.0k"), (0.123456, "0.123"),
        (1.2, "1.20"), (999.6, "1.00k"), (0.9996, "1.00"), (123_456.0, "123k"), (1.2345e-5, "1.23e-5"),
        (-4567.0, "-4.57k"), (1e18, "1.00e18"), (5e-324, "4.94e-324"), (math.nan, "diverged"), (-math.inf, "diverged"),
    ],
)  # fmt: skip
def test_number(value: float, expected: str) -> None:
    assert number(value) == expected


@given(HOSTILE)
def test_numbers_are_short_and_accurate(value: float) -> None:
    text = number(value)
    assert len(text) <= 10
    if 1e-300 < abs(value) < 1e300:
        factors = {"k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
        read = float(text.rstrip("kMGT")) * factors.get(text[-1], 1)
        assert read == pytest.approx(value, rel=0.0051)


def test_percent() -> None:
    assert (percent(0.9731), percent(1), percent(math.nan)) == ("97.3 %", "100.0 %", "diverged")


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
def test_tick_labels(ticks: list[float], step: float, expected: list[str]) -> None:
    assert tick_labels(ticks, step) == expected


def _check(axis: Axis, kept: Sequence[float]) -> None:
    assert math.isfinite(axis.low)
    assert axis.low < axis.high
    assert len(axis.ticks) == len(axis.labels)
    assert all(axis.cell(value) is not None for value in kept)
    cells = [cell for tick in axis.ticks if (cell := axis.cell(tick)) is not None]
    assert len(cells) == len(axis.ticks)
    allowed = 0.25 if axis.log else 1e-3
    for tick, cell in zip(axis.ticks, cells, strict=True):
        assert axis.at(tick) * axis.cells == pytest.approx(cell + 0.5, abs=allowed + 1e-3)
    if not axis.log:
        assert len({after - before for before, after in pairwise(cells)}) <= 1


@example([1e-290], 2, True)
@example([-1.0, 1.0], 2, False)
@given(st.lists(HOSTILE, max_size=20), st.integers(2, 60), st.booleans())
def test_an_axis_contains_all_values(values: list[float], cells: int, log: bool) -> None:
    axis = value_axis(values, cells, log=log)
    kept = [value for value in values if math.isfinite(value) and (value >= 1e-290 or not log)]
    assert (axis is None) == (not kept)
    if axis is not None:
        _check(axis, kept)
        assert len(axis.ticks) <= max(9, cells)


@example(1e-290, 1e-290, 2, False)
@given(HOSTILE, HOSTILE, st.integers(2, 200), st.booleans())
def test_any_two_ends_make_an_axis(low: float, high: float, cells: int, wide: bool) -> None:
    axis = range_axis(low, high, cells, wide=wide)
    _check(axis, [end for end in (low, high) if math.isfinite(end)])
    if cells >= 40 and 0 < low < high < 1e200 and high > 1.01 * low > 1e-200:
        assert len(axis.ticks) >= 2
        assert axis.at(high) - axis.at(low) > 0.6


@pytest.mark.parametrize(
    ("values", "cells", "log", "labels", "at"),
    [
        ((0.0, 100.0), 12, False, ["0", "50", "100"], [0, 5, 10]),
        ((-4.0, 4.0), 10, False, ["-4", "-2", "0", "2", "4"], [0, 2, 4, 6, 8]),
        ((0.37, 3.19), 12, False, ["0", "1", "2", "3"], [0, 3, 6, 9]),
        ((0.35, 0.97), 12, False, ["0.4", "0.6", "0.8", "1.0"], [1, 4, 7, 10]),
        ((0.05, 1.4), 20, True, ["0.05", "0.1", "0.2", "0.5", "1"], [0, 4, 8, 13, 17]),
        (
            (0.0021, 0.83),
            12,
            True,
            ["0.002", "0.005", "0.01", "0.02", "0.05", "0.1", "0.2", "0.5", "1"],
            [0, 2, 3, 4, 6, 7, 8, 10, 11],
        ),
        ((0.013, 1.3), 8, True, ["0.01", "", "", "0.1", "", "", "1", ""], list(range(8))),
        ((1.3e-4, 1.3), 12, True, ["1e-4", "0.001", "0.01", "0.1", "1", "10"], [0, 2, 4, 6, 8, 10]),
        ((1.3e-5, 1.3), 8, True, ["1e-4", "0.01", "1", "100"], [1, 3, 5, 7]),
        ((1e-15, 1.0), 12, True, ["1e-15", "1e-12", "1e-9", "1e-6", "0.001", "1"], [0, 2, 4, 6, 8, 10]),
        ((1e-6, 2.0), 12, True, ["1e-6", "1e-4", "0.01", "1"], [0, 3, 6, 9]),
        ((0.45, 0.55), 12, True, ["0.45", "0.50", "0.55"], [0, 5, 10]),
    ],
)
def test_ticks(values: tuple[float, float], cells: int, log: bool, labels: list[str], at: list[int]) -> None:
    axis = value_axis(values, cells, log=log)
    assert axis is not None
    assert list(axis.labels) == labels
    assert [axis.cell(tick) for tick in axis.ticks] == at


def test_horizontal_labels_do_not_touch() -> None:
    for low, high, cells in ((0, 3000, 80), (-5, 5, 25), (0, 1_000_000, 44), (100, 107, 60)):
        axis = range_axis(low, high, cells, wide=True)
        (spacing,) = {round((b - a) / (axis.high - axis.low) * cells) for a, b in pairwise(axis.ticks)}
        assert max(map(len, axis.labels)) < spacing
    assert range_axis(0, 3, 100, wide=True, whole=True).ticks == (0, 1, 2, 3)


DIAGONAL = tuple((index / 20, index / 20) for index in range(21))


@pytest.mark.parametrize("marker", ["braille", "hd", "*"])
def test_drawing_size(marker: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Check that, unlike plotext's default figure, a drawing is not limited to the size of the terminal."""
    monkeypatch.setenv("COLUMNS", "20")
    monkeypatch.setenv("LINES", "5")
    for width, height in ((40, 10), (300, 100), (2, 2), (60, 3)):
        rows = draw_signals((Signal(DIAGONAL, marker, "line"),), width, height)
        assert len(rows) == height
        assert all(sum(len(run.text) for run in row) == width for row in rows)
        assert rows[0][-1].signal == 0
        assert rows[-1][0].signal == 0


def test_drawings_are_independent() -> None:
    one = (Signal(DIAGONAL, "braille", "line"),)
    first = draw_signals(one, 30, 8)
    draw_signals((Signal(((0.0, 1.0), (1.0, 0.0)), "hd", "line"), Signal(DIAGONAL, "*", "points")), 50, 12)
    draw_signals.cache_clear()
    assert draw_signals(one, 30, 8) == first


def test_gaps_stay_empty() -> None:
    gap = (math.nan, math.nan)
    (row, *_) = draw_signals((Signal(((0.0, 1.0), (0.3, 1.0), gap, (0.7, 1.0), (1.0, 1.0)), "*", "line"),), 10, 2)
    assert "".join(run.text for run in row) == "****   ***"


def test_later_signals_cover_earlier_ones() -> None:
    rows = draw_signals((Signal(DIAGONAL, "*", "line"), Signal(((0.0, 0.0),), "o", "points")), 10, 4)
    assert rows[-1][0] == Run("o", 1)


@given(
    st.lists(st.lists(st.tuples(HOSTILE, HOSTILE), max_size=40), max_size=4),
    st.integers(0, 80), st.integers(0, 30), st.booleans(), st.sampled_from(Symbols), st.booleans(),
    st.none() | st.tuples(HOSTILE, HOSTILE), st.sampled_from(["line", "points"]), st.text(max_size=30),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_hostile_charts(
    data: list[list[tuple[float, float]]], width: int, height: int, log: bool, symbols: Symbols, legend: bool,
    limits: tuple[float, float] | None, style: str, words: str,
) -> None:  # fmt: skip
    series = tuple(Series(words, palette.TRAIN, points, "points" if style == "points" else "line") for points in data)
    chart = ChartData(
        series, title=words, x_label=words, y_label=words, log_y=log, y_limits=limits, legend=legend, empty=words
    )
    rows = paint(chart, width, height, theme(symbols))
    assert len(rows) == height
    assert all(width_of(row) == width for row in rows)
    assert all(line.isprintable() for line in text(rows))
    if symbols is Symbols.ASCII:
        assert all(line.isascii() for line in text(rows))


EXTREMES = [*EDGES, 1.7e308, 5e-324, -0.0, 1 + 1e-15, -3.0, 1e-13]
SIZES = [(0, 0), (1, 1), (3, 2), (6, 3), (20, 6), (36, 8), (60, 18), (300, 100)]


def _points(kind: str, rng: random.Random) -> list[tuple[float, float]]:
    count = rng.choice([0, 1, 2, 3, 17, 400])
    match kind:
        case "constant":
            return [(1.0, rng.choice(EXTREMES))] * count
        case "hostile":
            return [(rng.choice(EXTREMES), rng.choice(EXTREMES)) for _ in range(count)]
        case "gaps":
            return [(float(i), math.nan if i % 2 else i * 1e290) for i in range(count)]
        case _:
            return [(float(i), rng.gauss(0, 1) * 10 ** rng.uniform(-300, 300)) for i in range(count)]


def test_fuzz() -> None:
    """Draw many random charts, including charts of constant, missing and extreme values."""
    rng = random.Random(0)
    for index in range(200):
        width, height = SIZES[7] if index % 100 == 7 else rng.choice(SIZES[:7])
        kinds = rng.choices(["constant", "hostile", "gaps", "wide"], k=rng.randrange(4))
        series = tuple(
            Series(kind, "red", _points(kind, rng), "points" if rng.random() < 0.5 else "line") for kind in kinds
        )
        limits = rng.choice([None, None, (rng.choice(EXTREMES), rng.choice(EXTREMES))])
        chart = ChartData(series, title="t", x_label="x", y_label="y", log_y=rng.random() < 0.5, y_limits=limits)
        rows = paint(chart, width, height, theme(rng.choice(list(Symbols))))
        assert [width_of(row) for row in rows] == [width] * height, index


def test_names_never_cover_the_curve() -> None:
    series = (Series("train", palette.TRAIN, ((0.0, 4.0), (100.0, 4.0))),)
    lines = text(paint(ChartData(series, title="Meta-loss", x_label="meta-steps", y_label="MSE"), 60, 12, theme()))
    assert lines[0].startswith("Meta-loss")
    assert lines[0].rstrip().endswith("train")
    assert lines[1].strip() == "MSE"
    assert not any("train" in line for line in lines[1:])
    assert "4.00" in "".join(lines)


def test_the_longest_title_that_fits_is_shown() -> None:
    titles = ("Loss on 100 test tasks, 10-shot; dotted: 95 %", "Loss on 100 test tasks, 10-shot", "Loss, test split")
    chart = ChartData(
        (Series("a", "hue-blue", [(0.0, 0.0), (1.0, 1.0)]),), title=titles[0], shorter_titles=titles[1:], x_label="x"
    )
    for width, shown in ((60, titles[0]), (40, titles[1]), (20, titles[2]), (12, "Loss, test…"), (10, "Loss…")):
        assert text(paint(chart, width, 12, theme()))[0].split("  ")[0].rstrip() == shown


def test_texts_are_cut_between_words() -> None:
    cut = "after 10 inner steps"
    assert [truncate_words(cut, width, "…") for width in (20, 15, 14, 9, 3)] == [
        cut, "after 10 inner…", "after 10…", "after 10…", "af…",
    ]  # fmt: skip
    assert truncate_words("training, after 1 step", 12, "…") == "training…"


def test_a_long_legend_counts_hidden_entries() -> None:
    series = tuple(Series(f"a run with a long name {i}", palette.TRAIN, ((0.0, i), (1.0, i))) for i in range(6))
    lines = text(paint(ChartData(series, title="Runs", y_label="MSE"), 60, 14, theme()))
    assert any(line.rstrip().endswith("+4") for line in lines[:2])


@pytest.mark.parametrize(
    ("width", "legend"),
    [(60, "training after 1 step validation after 10 steps"), (50, "training, 1 step validation, 10 steps"),
     (30, "training validation")],
)  # fmt: skip
def test_names_are_shortened_rather_than_omitted_from_the_legend(width: int, legend: str) -> None:
    names = (("training", "1 step"), ("validation", "10 steps"))
    series = tuple(
        Series(f"{kind} after {steps}", palette.TRAIN, ((0.0, 1.0), (1.0, 1.0)), shorter=(f"{kind}, {steps}", kind))
        for kind, steps in names
    )
    line = text(paint(ChartData(series, title="Loss"), width, 9, theme()))[0]
    assert " ".join(word for word in line.replace("━", "").split()[1:]) == legend


def test_a_high_chart_wraps_its_legend() -> None:
    series = tuple(Series(f"a run with a long name {i}", palette.TRAIN, ((0.0, i), (1.0, i))) for i in range(7))
    lines = text(paint(ChartData(series, title="Runs", y_label="MSE"), 60, 20, theme()))
    legend = [line.split() for line in lines[1:4]]
    assert [[word for word in row if word.isdigit() or word.startswith("+")] for row in legend] == [
        ["0", "1"], ["2", "3"], ["4", "5", "+1"],
    ]  # fmt: skip
    assert all(len(line) == 60 for line in lines)


def test_unnamed_lines_repeat_the_marker() -> None:
    levels = zip(("one", "", "two"), (0.0, 1.0, 2.0), strict=True)
    series = tuple(Series(name, palette.TRAIN, ((0.0, level), (1.0, level))) for name, level in levels)
    style = theme(Symbols.ASCII)
    lines = text(paint(ChartData(series, title="Runs", last_values=False), 40, 12, style))
    first, second = style.glyphs.lines[0], style.glyphs.lines[1]
    assert [sum(mark * 5 in line for line in lines) for mark in (first, second)] == [2, 1]


def test_markers_replace_colours() -> None:
    series = tuple(Series(name, palette.TRAIN, ((0.0, i), (1.0, i))) for i, name in enumerate(("one", "two")))
    for style in (theme(Symbols.ASCII), theme(monochrome=True)):
        lines = text(paint(ChartData(series, title="Runs"), 40, 10, style))
        first, second = style.glyphs.lines[0], style.glyphs.lines[1]
        assert f"{first} one" in lines[0]
        assert f"{second} two" in lines[0]
        assert first * 5 in "".join(lines[1:])
        assert second * 5 in "".join(lines[1:])


def test_markers_do_not_depend_on_empty_lines() -> None:
    series = (Series("one", palette.TRAIN, ()), Series("two", palette.TRAIN, ((0.0, 1.0), (1.0, 1.0))))
    lines = text(paint(ChartData(series, title="Runs"), 40, 10, theme(Symbols.ASCII)))
    assert lines[0].rstrip().endswith("+ two")
    assert "one" not in lines[0]


@pytest.mark.parametrize("symbols", Symbols)
def test_points_lie_on_the_line(symbols: Symbols) -> None:
    curve = tuple((x / 10, math.sin(x / 10)) for x in range(64))
    for at in range(0, 64, 7):
        both = (Series("", palette.TRAIN, curve), Series("", palette.TRUTH, curve[at : at + 1], "points"))
        alone, marked = (text(paint(ChartData(series), 40, 12, theme(symbols))) for series in (both[:1], both))
        hidden = [
            old for before, after in zip(alone, marked, strict=True) for old, new in zip(before, after, strict=True)
            if old != new
        ]  # fmt: skip
        assert len(hidden) == 1
        assert hidden[0].strip()


def test_empty_chart() -> None:
    lines = text(paint(ChartData((), title="Meta-loss", empty="Press F5 to start a run."), 40, 9, theme()))
    assert lines[0].startswith("Meta-loss")
    assert any(line.strip() == "Press F5 to start a run." for line in lines)


def test_small_charts_write_the_last_values() -> None:
    series = (Series("train", palette.TRAIN, ((0.0, 1.0), (1.0, 0.25), (2.0, math.nan))),)
    assert "train diverged" in text(paint(ChartData(series, title="Meta-loss"), 30, 3, theme()))[1]


@given(st.lists(HOSTILE, max_size=80), st.integers(1, 4))
def test_bars_of_hostile_values(values: list[float], height: int) -> None:
    rows = bars(values, height, "▁▂▃▄▅▆▇█")
    assert [len(row) for row in rows] == [len(values)] * height
    for value, bottom in zip(values, rows[-1], strict=True):
        assert (bottom == " ") == (not math.isfinite(value))


def test_bars() -> None:
    assert bars([0.0, 1.0, math.nan, 2.0], 1, "▁▂▃▄▅▆▇█") == ["▁▅ █"]
    assert bars([0.0, 2.0], 2, "▁▂▃▄▅▆▇█") == [" █", "▁█"]
    assert bars([3.0, 3.0], 1, "▁▂▃▄▅▆▇█") == ["▅▅"]


@given(st.text(), st.integers(0, 40), st.integers(0, 5))
def test_hostile_text_stays_in_place(words: str, width: int, height: int) -> None:
    line = theme().printable(words)
    assert line.isprintable()
    assert cell_len(truncate(line, width, "…")) <= width
    rows = centred(line, width, height, Style())
    assert [width_of(row) for row in rows] == [width] * height


@pytest.mark.parametrize(
    ("width", "last", "ticks"),
    [
        (34, 3, "0 1 2 3"),
        (60, 3, "0 1 2 inner step 3"),
        (26, 20, "0 10 20"),
        (60, 20, "0 10 inner step 20"),
        (16, 3, "0 1 2 3"),
    ],
)
def test_name_of_the_x_axis_hides_no_tick(width: int, last: int, ticks: str) -> None:
    points = [(float(x), float(x)) for x in range(last + 1)]
    chart = ChartData((Series("a", "hue-blue", points),), x_label="inner step", x_limits=(0, last), integer_x=True)
    assert text(paint(chart, width, 8, theme()))[-1].split() == ticks.split()


@pytest.mark.parametrize(("width", "ticks"), [(80, "0 1 2 inner step 3"), (40, "0 1 2 step 3"), (16, "0 1 2 3")])
def test_shorter_name_of_the_x_axis_leaves_room_for_ticks(width: int, ticks: str) -> None:
    series = (Series("a", "hue-blue", [(float(x), float(x)) for x in range(4)]),)
    chart = ChartData(series, x_label="inner step", shorter_x_label="step", x_limits=(0, 3), integer_x=True)
    assert text(paint(chart, width, 8, theme()))[-1].split() == ticks.split()
