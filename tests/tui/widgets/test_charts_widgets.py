"""Tests of the chart widgets in an app: drawing and updates."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Sequence
from pathlib import PurePath
from typing import Any, ClassVar

import pytest
from textual.app import App, ComposeResult
from textual.binding import BindingType
from textual.containers import VerticalScroll
from textual.geometry import Region
from textual.strip import Strip
from textual.widgets import TabbedContent, TabPane

from metatui.tui.colors import palette
from metatui.tui.model.history import History
from metatui.tui.terminal.symbols import Symbols
from metatui.tui.widgets.charts import ChartData, LineChart, MetricSparkline, Series
from metatui.tui.widgets.charts.canvas import draw_signals
from metatui.tui.widgets.charts.plot import ChartView
from tests.tui.drawing import Stage, curves, falling, rising, turn_wheel


def draw(
    chart: LineChart, series: Sequence[Series], *, title: str = "Meta-loss", log_y: bool = False, empty: str = ""
) -> None:
    y_label = "mean query loss (MSE)"
    chart.show(ChartData(tuple(series), title=title, x_label="meta-steps", y_label=y_label, log_y=log_y, empty=empty))


def dashboard(symbols: Symbols, theme: str = "textual-dark", *, log: bool = False) -> Stage:
    loss, accuracy, chart = MetricSparkline(), MetricSparkline(), LineChart()

    def then() -> None:
        loss.show(falling(), "meta-loss")
        accuracy.show(rising(), "accuracy", percent=True)
        draw(chart, curves(), log_y=log)

    return Stage(loss, accuracy, chart, then=then, symbols=symbols, theme=theme)


@pytest.mark.parametrize(
    ("symbols", "size"),
    [(Symbols.BRAILLE, (80, 24)), (Symbols.ASCII, (120, 40)), (Symbols.BRAILLE, (200, 60))],
    ids=["braille-80x24", "ascii-120x40", "braille-200x60"],
)
def test_dashboard(snap_compare: Any, size: tuple[int, int], symbols: Symbols) -> None:
    assert snap_compare(dashboard(symbols), terminal_size=size)


def test_dashboard_light_log_blocks(snap_compare: Any) -> None:
    assert snap_compare(dashboard(Symbols.BLOCK, "textual-light", log=True), terminal_size=(80, 24))


def test_dashboard_ansi(snap_compare: Any) -> None:
    assert snap_compare(dashboard(Symbols.BRAILLE, "ansi-dark"), terminal_size=(80, 24))


def test_dashboard_without_colour(snap_compare: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert snap_compare(dashboard(Symbols.BRAILLE), terminal_size=(80, 24))


def test_small_chart(snap_compare: Any) -> None:
    chart = LineChart()
    stage = Stage(chart, then=lambda: draw(chart, curves()))
    assert snap_compare(stage, terminal_size=(22, 6))


def test_empty_chart_and_sparkline(snap_compare: Any) -> None:
    chart, spark = LineChart(), MetricSparkline()

    def then() -> None:
        draw(chart, (), empty="Press F5 to start a run, or open one from the runs tab.")
        spark.show(History(), "meta-loss")

    assert snap_compare(Stage(spark, chart, then=then), terminal_size=(60, 14))


class RecordingChart(LineChart):
    """Line chart that records which rows each call of `refresh` redraws. None stands for all rows."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[set[int] | None] = []

    def refresh(self, *regions: Region, repaint: bool = True, layout: bool = False, recompose: bool = False) -> Any:
        if self.is_mounted:
            self.sent.append({region.y for region in regions} if regions else None)
        return super().refresh(*regions, repaint=repaint, layout=layout, recompose=recompose)


def plain(chart: LineChart) -> list[str]:
    return [chart.render_line(y).text for y in range(chart.size.height)]


async def test_only_changed_rows_are_sent() -> None:
    chart = RecordingChart()
    points = [(float(x), math.sin(x / 10)) for x in range(82)]
    series = [Series("train", palette.TRAIN, points)]
    async with Stage(chart, then=lambda: draw(chart, series)).run_test(size=(60, 18)) as pilot:
        await pilot.pause()
        before = plain(chart)
        chart.sent.clear()
        draw(chart, series)
        assert chart.sent == []
        # Add a point that fits on the same axis.
        draw(chart, [Series("train", palette.TRAIN, [*points, (82.0, math.sin(8.2))])])
        (rows,) = chart.sent
        after = plain(chart)
        assert rows == {y for y, (old, new) in enumerate(zip(before, after, strict=True)) if old != new}
        assert 0 < len(rows) < 6


@pytest.mark.parametrize("series", [None, ()])
async def test_hiding_the_cursor_ends_a_drag(series: Sequence[Series] | None) -> None:
    chart = LineChart()
    app = Stage(chart, then=lambda: draw(chart, curves()))
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        chart.action_cursor()
        chart.action_zoom(0.25)
        await pilot.pause()
        await pilot.mouse_down(chart, offset=(60, 10))
        if series is None:
            await pilot.press("escape")
        else:
            draw(chart, series)
        assert app.mouse_captured is None
        await pilot.hover(chart, offset=(50, 10))
        assert chart.view.window is None
        await pilot.mouse_up(chart, offset=(50, 10))


class Tabs(App[None]):
    def compose(self) -> ComposeResult:
        with TabbedContent():
            with TabPane("one", id="one"):
                yield LineChart(id="shown")
            with TabPane("two", id="two"):
                yield LineChart(id="hidden")


async def test_hidden_charts_are_not_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    drawings = []

    def counted(*args: Any) -> Any:
        drawings.append(args)
        return draw_signals(*args)

    monkeypatch.setattr("metatui.tui.widgets.charts.plot.draw_signals", counted)
    app = Tabs()
    async with app.run_test(size=(60, 20)) as pilot:
        hidden = app.query_one("#hidden", LineChart)
        draw(hidden, curves())
        await pilot.pause()
        draw(hidden, curves()[:1])
        await pilot.pause()
        assert drawings == []
        app.query_one(TabbedContent).active = "two"
        await pilot.pause()
        assert len(drawings) == 1
        assert "validation" not in plain(hidden)[0]
        app.query_one(TabbedContent).active = "one"
        await pilot.pause()
        draw(hidden, curves())
        await pilot.pause()
        assert len(drawings) == 1
        app.query_one(TabbedContent).active = "two"
        await pilot.pause()
        assert "validation" in plain(hidden)[0]


class Scrolled(App[None]):
    CSS = "LineChart { height: 15; }"

    def compose(self) -> ComposeResult:
        with VerticalScroll():
            yield LineChart(id="top")
            yield LineChart(id="bottom")


async def test_charts_out_of_sight_are_drawn_when_scrolled_to() -> None:
    app = Scrolled()
    async with app.run_test(size=(60, 10)) as pilot:
        bottom = app.query_one("#bottom", LineChart)
        for title in ("First", "Second"):
            draw(bottom, curves(), title=title)
            await pilot.pause()
        app.query_one(VerticalScroll).scroll_end(animate=False)
        await pilot.pause()
        bottom.scroll_visible(animate=False, top=True)
        await pilot.pause()
        assert "Second" in app.export_screenshot()
        assert "First" not in app.export_screenshot()


async def test_themes_and_sizes_redraw() -> None:
    chart = LineChart()
    app = Stage(chart, then=lambda: draw(chart, curves()))
    async with app.run_test(size=(60, 18)) as pilot:
        await pilot.pause()

        def colours() -> set[str]:
            strips: list[Strip] = [chart.render_line(y) for y in range(chart.size.height)]
            return {str(s.style.color.name) for strip in strips for s in strip if s.style and s.style.color}

        assert palette.shade(palette.TRAIN, dark=True) in colours()
        app.theme = "textual-light"
        await pilot.pause()
        assert palette.shade(palette.TRAIN, dark=False) in colours()
        assert palette.shade(palette.TRAIN, dark=True) not in colours()
        await pilot.resize_terminal(100, 30)
        await pilot.pause()
        assert {chart.render_line(y).cell_length for y in range(chart.size.height)} == {98}


async def test_symbols_can_change() -> None:
    chart = LineChart()
    app = Stage(chart, then=lambda: draw(chart, curves()))
    async with app.run_test(size=(60, 18)) as pilot:
        await pilot.pause()
        app.symbols = Symbols.ASCII
        chart.refresh()
        await pilot.pause()
        assert all(line.isascii() for line in plain(chart))


async def test_apps_without_symbols_get_braille() -> None:
    app = Tabs()
    async with app.run_test(size=(60, 20)) as pilot:
        chart = app.query_one("#shown", LineChart)
        draw(chart, curves())
        await pilot.pause()
        assert any(0x2800 < ord(char) < 0x2900 for line in plain(chart) for char in line)


class Screened(Stage):
    """App that counts key presses that the chart does not handle."""

    BINDINGS: ClassVar[list[BindingType]] = [("left,0,escape", "count"), ("enter", "cursor")]
    count = 0

    def action_count(self) -> None:
        self.count += 1

    def action_cursor(self) -> None:
        self.query_one(LineChart).action_cursor()


async def test_cursor_zoom_and_pan() -> None:
    chart = LineChart()
    lines = [
        Series("train", palette.TRAIN, [(float(x), x / 1000) for x in range(1, 1001)]),
        Series("validation", palette.VALIDATION, [(500, 0.4), (1000.0, 0.9)]),
    ]
    app = Screened(chart, then=lambda: draw(chart, lines))
    async with app.run_test(size=(100, 20)) as pilot:
        await pilot.press("left", "0", "escape")
        assert (app.count, chart.has_cursor, chart.has_focus) == (3, False, False)

        def head() -> str:
            return " ".join(plain(chart)[0].split())

        await pilot.press("enter")
        assert head() == "meta-steps: 1,000 ━ train 1.00 ━ validation 0.900"
        assert all("│" in line[1:] for line in plain(chart)[4:-4])
        await pilot.press("left")
        first = chart.view.cursor
        assert first is not None
        assert 980 < first < 1000
        await pilot.press("home")
        assert head() == "meta-steps: 1 ━ train 0.00100 ━ validation 0.400 at 500"
        await pilot.press("end", "plus", "plus")
        assert chart.view.window is not None
        assert chart.view.window[1] - chart.view.window[0] == pytest.approx(999 / 4)
        ticks = [int(tick) for tick in plain(chart)[-2].split()]
        assert ticks[0] > 700
        await pilot.press("home")
        assert chart.view.window[0] == 1
        await pilot.press(*["plus"] * 8)
        assert chart.view.window[1] - chart.view.window[0] >= 2, "a few points stay visible"
        window = chart.view.window
        draw(chart, [Series("train", palette.TRAIN, [(float(x), x / 1000) for x in range(1, 1201)])])
        assert chart.view.window == window, "new points do not move the window"
        draw(chart, [Series("train", palette.TRAIN, [(2000.0, 1.0), (2500.0, 0.5)])])
        assert chart.view == ChartView(None, 2000.0), "another run has no values in the window"
        draw(chart, lines)
        await pilot.press("plus", "0")
        assert chart.view.window is None
        await pilot.press("escape")
        assert (app.count, chart.has_cursor, chart.has_focus) == (3, False, False)
        assert head() == "Meta-loss ━ train ━ validation"
        await pilot.click(chart, offset=(50, 8))
        middle = chart.view.cursor
        assert middle is not None
        assert 400 < middle < 800
        draw(chart, [*lines, Series("", palette.VALIDATION, [(1.0, 0.25), (1000.0, 0.95)])])
        await turn_wheel(pilot, chart, -1, x=50, y=8)
        assert chart.view.window is not None
        assert chart.view.window[1] - chart.view.window[0] == pytest.approx(999 / 2)
        assert chart.view.window[0] < middle < chart.view.window[1]
        await turn_wheel(pilot, chart, 1, x=50, y=8)
        assert chart.view.window is None
        await pilot.press("end")
        assert head().endswith("validation 0.900 to 0.950")
        chart.show(ChartData((lines[0],), x_label="seconds"))
        assert not chart.has_cursor, "another x axis has no cursor"


async def test_a_sparkline_row_is_one_segment() -> None:
    spark = MetricSparkline()
    async with Stage(spark, then=lambda: spark.show(falling(), "meta-loss")).run_test(size=(80, 5)) as pilot:
        await pilot.pause()
        head, row = (spark.render_line(y) for y in (0, 1))
        assert "meta-loss 0." in head.text
        assert "falling" in head.text
        assert len([segment for segment in row if segment.text.strip()]) == 1
        spark.styles.height = 1
        await pilot.pause()
        assert "meta-loss" in spark.render_line(0).text
        assert "▁" in spark.render_line(0).text


async def test_a_narrow_sparkline_has_a_shorter_name() -> None:
    spark = MetricSparkline()
    shown = Stage(spark, then=lambda: spark.show(falling(), "Meta-gradient norm", "Gradient norm", "Norm"))
    async with shown.run_test(size=(80, 5)) as pilot:
        for width, name in ((60, "Meta-gradient norm"), (22, "Gradient norm"), (13, "Norm")):
            spark.styles.width = width
            await pilot.pause()
            assert spark.render_line(0).text.startswith(f"{name} 0.")


async def test_sparkline_of_hostile_values() -> None:
    spark, history = MetricSparkline(), History()
    async with Stage(spark, then=lambda: None).run_test(size=(80, 5)) as pilot:
        for step, value in enumerate((math.nan, math.inf, 1e300, -1e300, 0.0, 1e-320), 1):
            history.add(step, step, value)
            spark.show(history, "meta-loss", percent=step % 2 == 0)
            await pilot.pause()
            assert "meta-loss" in spark.render_line(0).text


def test_imports_need_neither_plotext_nor_torch() -> None:
    code = (
        "import sys, metatui.tui.widgets.charts, metatui.tui.widgets.adaptation as a; "
        "print({'torch', 'plotext'} & set(sys.modules))"
    )
    root = PurePath(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=True)
    assert done.stdout.strip() == "set()"
