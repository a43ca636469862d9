"""Tests of the positions of curves, points, bands and marks relative to the ticks, and of overlapping curves.

The environment variable METATUI_CHARTS sets the number of random charts to draw, for example 10000.
"""

from __future__ import annotations

import math
import os
import random
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metatui.tui.colors import palette
from metatui.tui.terminal.symbols import GLYPHS, Symbols
from metatui.tui.widgets.charts import ChartData, LineChart, Mark, Series
from metatui.tui.widgets.charts.axis import Axis
from metatui.tui.widgets.charts.canvas import Run, Signal, draw_signals
from metatui.tui.widgets.charts.plot import ChartView, draw
from tests.tui.drawing import Stage
from tests.tui.widgets.test_charts import text, theme

CHARTS = int(os.environ.get("METATUI_CHARTS", "150"))
BITS = ((0x40, 0x04, 0x02, 0x01), (0x80, 0x20, 0x10, 0x08))


def scale(axis: Axis, cells: Sequence[int]) -> tuple[float, float]:
    """Return the offset and factor that map values to cells, computed from the drawn positions of the ticks.

    On a logarithmic axis, they map the decimal logarithms of the values.
    """
    if axis.log:  # 2 and 5 times a power of ten are only near the centres of cells
        factor = axis.cells / math.log10(axis.high / axis.low)
        offset = -factor * math.log10(axis.low)
        for tick, cell in zip(axis.ticks, cells, strict=True):
            assert abs(offset + factor * math.log10(tick) - cell - 0.5) < 0.251
    else:
        factor = (cells[-1] - cells[0]) / (axis.ticks[-1] - axis.ticks[0])
        offset = cells[0] + 0.5 - factor * axis.ticks[0]
    return offset, factor


def dots_of(lines: Sequence[str], symbols: Symbols, left: int) -> set[tuple[int, int]]:
    """Return the column and the row, counted from the bottom, of each dot drawn in the plot area."""
    dots = set()
    for y, line in enumerate(reversed(lines)):
        for x, char in enumerate(line[left:]):
            if symbols is Symbols.BRAILLE and 0x2800 <= ord(char) < 0x2900:
                dots |= {(2 * x + i, 4 * y + j) for i in (0, 1) for j in range(4) if ord(char) & BITS[i][j]}
            elif symbols is Symbols.ASCII and char == GLYPHS[symbols].lines[0]:
                dots.add((x, y))
    return dots


def walk(points: Sequence[tuple[float, float]], rng: random.Random) -> Iterator[tuple[float, float]]:
    """Yield the points, then one random position on the line between each pair of consecutive points."""
    yield from points
    for (x, y), (next_x, next_y) in pairwise(points):
        share = rng.random()
        yield x + share * (next_x - x), y + share * (next_y - y)


@given(seed=st.integers(0, 2**32), log=st.booleans(), symbols=st.sampled_from([Symbols.BRAILLE, Symbols.ASCII]))
@settings(max_examples=CHARTS)
def test_curves_are_within_a_dot_of_their_place_between_the_ticks(seed: int, log: bool, symbols: Symbols) -> None:
    rng = random.Random(seed)
    size, level = 10 ** rng.uniform(-4, 6), rng.choice([0, 0, 1, 100])
    xs = sorted(rng.uniform(0, 10 ** rng.uniform(0, 6)) for _ in range(rng.randrange(2, 12)))
    values = [size * (level + 10 ** rng.uniform(-3, 0)) if log else size * (level + rng.gauss(0, 1)) for _ in xs]
    points = list(zip(xs, values, strict=True))
    data = ChartData((Series("", palette.TRAIN, points),), log_y=log, last_values=False)
    drawing = draw(data, rng.randrange(30, 90), rng.randrange(10, 30), theme(symbols))
    plot, lines, glyphs = drawing.plot, text(drawing.rows), GLYPHS[symbols]
    assert plot is not None
    body, below = lines[: plot.height], lines[plot.height]
    rows = [plot.height - 1 - y for y, line in enumerate(body) if line[plot.left - 1] == glyphs.tick_left]
    columns = [x for x, char in enumerate(below[plot.left :]) if char == glyphs.tick_below]
    if min(len(rows), len(columns)) < 2:
        return
    y_offset, y_factor = scale(plot.y, rows[::-1])
    x_offset, x_factor = scale(plot.x, columns)
    assert len({after - before for before, after in pairwise(columns)}) == 1
    assert plot.y.log or len({after - before for before, after in pairwise(rows)}) == 1
    dots = dots_of(body, symbols, plot.left)
    across, up = (2, 4) if symbols is Symbols.BRAILLE else (1, 1)
    # A straight line on the screen is straight in the logarithms.
    placed = [(x_offset + x_factor * x, y_offset + y_factor * (math.log10(y) if plot.y.log else y)) for x, y in points]
    for x, y in walk(placed, rng):
        column, row = math.floor(across * x), math.floor(up * y)
        assert any((column + i, row + j) in dots for i in (-1, 0, 1) for j in (-1, 0, 1)), (x, y)


def test_zero_is_at_the_tick_of_zero() -> None:
    for symbols in Symbols:
        for height in range(6, 30, 4):
            data = ChartData((Series("", palette.TRAIN, [(0.0, 0.0), (9.0, 0.0), (10.0, 0.73)]),))
            lines = text(draw(data, 40, height, theme(symbols)).rows)
            (zero,) = (line for line in lines[:-2] if line.lstrip().startswith("0") and "." not in line[:4])
            assert len(zero.strip()) > 20, (symbols, height)


def test_marks_and_faults_are_in_the_column_of_their_x() -> None:
    data = ChartData(
        (Series("", palette.TRAIN, [(0.0, 0.0), (60.0, 1.0)]),),
        marks=(Mark(20.0, ""),),
        faults=(Mark(40.0, "not finite"),),
    )
    drawing = draw(data, 66, 12, theme())
    lines = text(drawing.rows)
    assert drawing.plot is not None
    columns = [at for at, char in enumerate(lines[-2]) if char in "┬✗"]
    ticks = dict(zip(drawing.plot.x.ticks, columns, strict=True))
    assert {line.index("┊") for line in lines if "┊" in line} == {ticks[20]}
    assert lines[-2][ticks[40]] == "✗"


@pytest.mark.parametrize("at", [(10.0, 10.5), (10.0, 12.0), (50.0, 51.0), (97.0, 98.0)])
def test_close_marks_keep_their_labels(at: tuple[float, float]) -> None:
    data = ChartData(
        (Series("", palette.TRAIN, [(0.0, 0.0), (100.0, 0.0)]),),
        marks=(Mark(at[0], "inner_lr 0.03"), Mark(at[1], "inner_lr 0.01")),
        y_limits=(0, 1),
    )
    lines = text(draw(data, 80, 14, theme()).rows)
    assert sum("inner_lr 0.01" in line for line in lines) == 1
    assert sum("inner_lr 0.03" in line for line in lines) == 1


def test_the_axis_of_a_single_x_starts_at_zero() -> None:
    drawing = draw(ChartData((Series("", palette.TRAIN, [(200.0, 0.5)]),)), 60, 12, theme())
    assert drawing.plot is not None
    assert drawing.plot.x.ticks[0] == 0
    assert drawing.plot.x.high < 250


def test_a_line_that_leaves_the_window_keeps_its_direction() -> None:
    data = ChartData((Series("", palette.TRAIN, [(0.0, 0.0), (1000.0, 1000.0)]),), y_limits=(400, 600))
    drawing = draw(data, 60, 20, theme(Symbols.ASCII), ChartView(window=(400, 600)))
    assert drawing.plot is not None
    x, y = drawing.plot.x, drawing.plot.y
    body = text(drawing.rows)[: drawing.plot.height]
    drawn = {(x.value(column), y.value(row)) for column, row in dots_of(body, Symbols.ASCII, drawing.plot.left)}
    assert len(drawn) > 30
    assert all(abs(across - up) <= 2 * (y.high - y.low) / y.cells for across, up in drawn)


def rows_of(*signals: Signal, width: int = 16, height: int = 4) -> tuple[list[str], list[list[int | None]]]:
    rows = draw_signals(tuple(signals), width, height)
    owners = [[run.signal for run in row for _ in run.text] for row in rows]
    return ["".join(run.text for run in row) for row in rows], owners


LEVEL = ((0.0, 0.4), (1.0, 0.4))


def test_lines_that_cover_each_other_alternate() -> None:
    _, owners = rows_of(Signal(LEVEL, "braille", "line"), Signal(LEVEL, "braille", "line"))
    assert owners[2] == [0] * 4 + [1] * 4 + [0] * 4 + [1] * 4
    lines, _ = rows_of(Signal(LEVEL, "*", "line"), Signal(LEVEL, "+", "line"))
    assert lines[2] == "****++++****++++"


def test_crossing_lines_share_cells() -> None:
    steep = Signal(((0.5, 0.0), (0.5, 1.0)), "braille", "line")
    alone, _ = rows_of(Signal(LEVEL, "braille", "line"))
    lines, owners = rows_of(Signal(LEVEL, "braille", "line"), steep)
    column = owners[0].index(1)
    assert owners[2][column] == 1
    assert ord(lines[2][column]) & ord(alone[2][column]) == ord(alone[2][column])


def test_dense_lines_are_below_sparse_ones() -> None:
    dense = Series("dense", palette.TRAIN, [(x / 100, 0.0) for x in range(101)])
    sparse = Series("sparse", palette.VALIDATION, [(0.0, -0.01), (1.0, 0.01)])
    for series in ((dense, sparse), (sparse, dense)):
        plot = draw(ChartData(series), 40, 12, theme()).plot
        assert plot is not None
        assert [each.series.name for each in plot.drawn] == ["dense", "sparse"]


def band(low: float, high: float) -> tuple[tuple[float, float], ...]:
    return ((0.0, low), (0.0, high), (1.0, low), (1.0, high))


def test_bands_have_dots_at_both_ends_in_every_second_column() -> None:
    assert rows_of(Signal(band(0, 1), ".", "band"), width=4)[0] == [". . ", "    ", "    ", ". . "]
    assert rows_of(Signal(band(0, 1), "braille", "band"), width=4)[0] == ["⠁⠁⠁⠁", "    ", "    ", "⡀⡀⡀⡀"]
    gap = ((0.0, 0.0), (0.0, 1.0), (math.nan, math.nan), (math.nan, math.nan), (1.0, 0.0), (1.0, 1.0))
    assert rows_of(Signal(gap, ".", "band"), width=5)[0] == [".   .", "     ", "     ", ".   ."]
    assert rows_of(Signal(band(-1, 2), ".", "band"))[0] == [" " * 16] * 4


def test_lines_cover_bands_but_share_braille_cells() -> None:
    lines, owners = rows_of(Signal(band(1, 1), "braille", "band"), Signal(((0.0, 0.9), (0.3, 0.9)), "braille", "line"))
    assert lines[0] == "⠓⠓⠓⠓⠓" + "⠁" * 11
    assert owners[0] == [1] * 5 + [0] * 11
    assert draw_signals((Signal(band(0, 1), ".", "band"), Signal(((0.0, 1.0),), "o", "points")), 2, 2) == [
        [Run("o", 1), Run(" ", None)], [Run(".", 0), Run(" ", None)],
    ]  # fmt: skip


@pytest.mark.parametrize("count", [2, 3, 4])
def test_last_values_are_in_the_order_of_their_curves(count: int) -> None:
    series = tuple(
        Series(str(n), palette.TRAIN, [(0.0, 1.0), (1.0, 0.001 * n), (2.0, 0.001 * n)]) for n in range(count)
    )
    lines = text(draw(ChartData(series), 60, 12, theme()).rows)
    values = [float(last) for line in lines[1:-2] if (last := line[52:].strip(" ⠤⠒⣀⠉")) not in ("", "0")]
    assert values == sorted(values, reverse=True)
    assert len(values) == count - 1


def cursor_line(data: ChartData, cursor: float) -> str:
    return " ".join(" ".join(text(draw(data, 90, 14, theme(), ChartView(cursor=cursor)).rows)[:2]).split())


def two_runs(**changes: Any) -> ChartData:
    maml = Series("maml", "hue-blue", [(float(x), 1.0) for x in range(0, 101, 10)])
    anil = Series("anil", "hue-orange", [(float(x), 2.0) for x in range(0, 101, 10)])
    return ChartData((maml, anil), x_label="meta-steps", last_values=False, **changes)


def test_the_cursor_names_the_run_of_a_mark() -> None:
    data = two_runs(
        marks=(Mark(42.0, "inner_lr 0.1", "hue-blue", "maml"), Mark(42.0, "inner_lr 0.2", "hue-orange", "anil")),
        faults=(Mark(70.0, "not finite", "hue-orange", "anil"),),
    )
    assert cursor_line(data, 40.0).startswith(
        "meta-steps: 40 ┊ maml: inner_lr 0.1 at 42 ┊ anil: inner_lr 0.2 at 42 ━ maml"
    )
    assert cursor_line(data, 70.0).startswith("meta-steps: 70 ┊ anil: not finite at 70 ━ maml")
    assert " at " not in cursor_line(data, 50.0)


def test_marks_have_the_colour_and_without_colours_the_character_of_their_run() -> None:
    data = two_runs(
        marks=(Mark(42.0, "inner_lr 0.2", "hue-orange", "anil"),), faults=(Mark(70.0, "", "hue-orange", "anil"),)
    )
    rows = draw(data, 60, 14, theme()).rows
    colour = theme().colour("hue-orange")
    assert all(segment.style == colour for row in rows for segment in row if segment.text.strip() in ("┊", "✗"))
    plain = theme(monochrome=True)
    assert any(f"{plain.glyphs.lines[1]} inner_lr 0.2" in line for line in text(draw(data, 60, 14, plain).rows))


def test_points_of_several_runs_differ_without_colours() -> None:
    plain = theme(Symbols.ASCII)
    points = [Series("", palette.TRAIN, [(x, 1.5)], style="points") for x in (30.0, 60.0)]
    maml, anil = two_runs().series
    lines = text(draw(ChartData((maml, points[0], anil, points[1])), 60, 14, plain).rows)
    assert "*A maml" in lines[0]
    assert "+B anil" in lines[0]
    assert sum("A" in line and "B" in line for line in lines[1:]) == 1


def test_markers_of_lines_differ_from_those_of_points() -> None:
    for glyphs in GLYPHS.values():
        assert not {glyphs.points, glyphs.rings} & set(glyphs.lines)


async def test_the_line_that_changed_last_is_on_top() -> None:
    chart = LineChart()
    level = [(float(x), 1.0) for x in range(200)]

    def show(one: float, two: float) -> None:
        series = (Series("one", "red", [*level, (one, 1.0)]), Series("two", "blue", [*level, (two, 1.0)]))
        chart.show(ChartData(series, x_limits=(0, 400)))

    def order() -> list[str]:
        plot = draw(chart._data, 60, 12, theme(), chart.view).plot
        assert plot is not None
        return [each.series.name for each in plot.drawn]

    async with Stage(chart, then=lambda: show(200, 200)).run_test(size=(60, 18)):
        assert order() == ["one", "two"]
        show(201, 200)
        assert order() == ["two", "one"]
        show(201, 200)
        assert order() == ["two", "one"], "nothing changed"
        show(201, 201)
        assert order() == ["one", "two"]
