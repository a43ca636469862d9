"""Tests of the adaptation panel and its parts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

from metatui.events import CurveView, ImageView, RegressionView, ScatterView
from metatui.tui.terminal.symbols import Symbols
from metatui.tui.widgets.adaptation import AdaptationPanel, RunViews
from metatui.tui.widgets.adaptation.bitmap import draw_bitmap
from metatui.tui.widgets.adaptation.images import class_heading, layout
from metatui.tui.widgets.adaptation.images import episode as draw_episode
from metatui.tui.widgets.adaptation.views import captions, scatter_chart
from metatui.tui.widgets.charts.chart_theme import ChartTheme, theme_of
from metatui.tui.widgets.charts.row_widget import difference, width_of
from tests.tui.drawing import (
    Stage,
    character,
    curve,
    curve_runs,
    episode,
    image_runs,
    photographs,
    scatter,
    scatter_runs,
    several_shots,
    wave,
    wave_runs,
)

STYLE = Style()

EMPTY = "Start a run, or mark up to three in the runs tab."
SIZES = {"80x24": (80, 12), "120x40": (120, 22), "200x60": (200, 36)}
"""Size (columns, rows) of the adaptation panel at each terminal size."""


def stage(runs: list[RunViews], symbols: Symbols = Symbols.BRAILLE, theme: str = "textual-dark") -> Stage:
    panel = AdaptationPanel()
    return Stage(panel, then=lambda: panel.show_views(runs, empty=EMPTY), symbols=symbols, theme=theme)


def chart_theme(symbols: Symbols = Symbols.BRAILLE, *, dark: bool = True, monochrome: bool = False) -> ChartTheme:
    return ChartTheme(
        symbols, dark=dark, ansi=False, monochrome=monochrome,
        text=STYLE, title=STYLE, muted=STYLE, key=STYLE, good=STYLE, warning=STYLE, error=STYLE,
    )  # fmt: skip


def lines(panel: AdaptationPanel) -> list[str]:
    return [panel.render_line(y).text for y in range(panel.content_size.height)]


@pytest.mark.parametrize(
    ("runs", "count", "symbols", "size"),
    [
        (wave_runs, 1, Symbols.BRAILLE, "80x24"),
        (wave_runs, 1, Symbols.ASCII, "120x40"),
        (wave_runs, 3, Symbols.BRAILLE, "200x60"),
        (wave_runs, 3, Symbols.ASCII, "80x24"),
        (curve_runs, 1, Symbols.BRAILLE, "80x24"),
        (curve_runs, 3, Symbols.ASCII, "120x40"),
        (scatter_runs, 1, Symbols.BRAILLE, "120x40"),
        (scatter_runs, 3, Symbols.ASCII, "80x24"),
        (image_runs, 1, Symbols.ASCII, "80x24"),
        (image_runs, 1, Symbols.BRAILLE, "200x60"),
        (image_runs, 3, Symbols.BRAILLE, "80x24"),
        (image_runs, 3, Symbols.ASCII, "120x40"),
    ],
)
def test_panel(snap_compare: Any, runs: Any, count: int, symbols: Symbols, size: str) -> None:
    assert snap_compare(stage(runs(count), symbols), terminal_size=SIZES[size])


def test_panel_light_blocks(snap_compare: Any) -> None:
    assert snap_compare(stage(image_runs(1), Symbols.BLOCK, "textual-light"), terminal_size=SIZES["120x40"])


def test_twenty_ways(snap_compare: Any) -> None:
    assert snap_compare(stage(image_runs(1, ways=20)), terminal_size=SIZES["80x24"])


def test_empty_panel(snap_compare: Any) -> None:
    assert snap_compare(stage([]), terminal_size=(60, 8))


def test_five_photographs_of_each_class(snap_compare: Any) -> None:
    run = RunViews("maml", "MAML", "hue-blue", (photographs(shots=5),))
    assert snap_compare(stage([run]), terminal_size=SIZES["120x40"])


async def test_support_images_that_do_not_fit_have_pages() -> None:
    app = stage([RunViews("maml", "MAML", "hue-blue", (photographs(shots=5, side=8),))])
    async with app.run_test(size=SIZES["120x40"]) as pilot:
        panel = app.query_one(AdaptationPanel)
        panel.focus()
        await pilot.pause()
        assert "shows more" not in lines(panel)[1]
        await pilot.resize_terminal(*SIZES["80x24"])
        await pilot.pause()
        first = list(map(panel.render_line, range(3, 9)))
        assert "(support 1-2 of 5: k shows more)" in lines(panel)[1]
        await pilot.press("k")
        assert "(support 3-4 of 5: k shows more)" in lines(panel)[1]
        assert first != list(map(panel.render_line, range(3, 9)))
        await pilot.press("k")
        assert "(support 4-5 of 5: k shows more)" in lines(panel)[1]
        await pilot.press("k")
        assert first == list(map(panel.render_line, range(3, 9)))


async def test_keys_of_the_keymap_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    keymap = {
        "step_back": "ctrl+e,g",
        "step_on": "ü",
        "previous_tasks": "f6",
        "next_tasks": "f7",
        "next_shots": "space",
    }
    monkeypatch.setattr("metatui.tui.keyboard.actions._keymap", keymap)
    for runs, symbols in ((wave_runs(1), Symbols.BRAILLE), (wave_runs(1), Symbols.ASCII)):
        app = stage(runs, symbols)
        async with app.run_test(size=SIZES["80x24"]) as pilot:
            await pilot.pause()
            following = "u" if symbols is Symbols.ASCII else "ü"
            assert f" ^E step 10/10 {following}  F6 tasks 0-1 of 0-7 F7" in lines(app.query_one(AdaptationPanel))[0]
    app = stage([RunViews("maml", "MAML", "hue-blue", (photographs(shots=5, side=8),))])
    async with app.run_test(size=SIZES["80x24"]) as pilot:
        await pilot.pause()
        assert "(support 1-2 of 5: Space shows more)" in lines(app.query_one(AdaptationPanel))[1]


async def test_steps_and_tasks_by_keyboard() -> None:
    app = stage(wave_runs(1))
    async with app.run_test(size=SIZES["80x24"]) as pilot:
        panel = app.query_one(AdaptationPanel)
        panel.focus()
        await pilot.pause()
        assert "after 10 steps" in lines(panel)[2]
        await pilot.press("[", "[")
        assert panel.step == 8
        assert "step 8/10" in lines(panel)[0]
        assert "after 8 steps" in lines(panel)[2]
        await pilot.press(*"[" * 20)
        assert panel.step == 0
        assert "before adaptation" in lines(panel)[2]
        await pilot.press(*"]" * 20)
        assert panel.step is None
        assert "tasks 0-1 of 0-7" in lines(panel)[0]
        await pilot.press(".", ".", ".", ".", ".")
        assert "tasks 6-7 of 0-7" in lines(panel)[0]
        assert "Task 6 " in lines(panel)[1]
        await pilot.press(*"," * 9)
        assert "tasks 0-1 of 0-7" in lines(panel)[0]


async def test_steps_and_tasks_by_mouse() -> None:
    app = stage(wave_runs(1))
    async with app.run_test(size=SIZES["80x24"]) as pilot:
        panel = app.query_one(AdaptationPanel)
        await pilot.pause()
        head = lines(panel)[0]
        await pilot.click(panel, offset=(1 + head.index("["), 0))
        assert panel.step == 9
        await pilot.click(panel, offset=(1 + head.rindex("."), 0))
        assert panel.first_task == 2


async def test_the_last_step_stays_last() -> None:
    app = stage([replace(run, views=(wave(0, 0.5, steps=5),)) for run in wave_runs(1)])
    async with app.run_test(size=SIZES["80x24"]) as pilot:
        panel = app.query_one(AdaptationPanel)
        await pilot.pause()
        assert "step 5 of 5" in lines(panel)[0]
        panel.show_views(wave_runs(1), empty=EMPTY)
        await pilot.pause()
        assert "step 10/10" in lines(panel)[0]


async def test_runs_are_shown_on_the_same_tasks() -> None:
    one, two, three = wave_runs(3)
    two = replace(two, views=tuple(reversed(two.views)))
    three = replace(three, views=three.views[1:])
    app = stage([one, two, three])
    async with app.run_test(size=SIZES["120x40"]) as pilot:
        panel = app.query_one(AdaptationPanel)
        await pilot.pause()
        rows = lines(panel)
        assert [name for name in ("MAML", "FOMAML", "Reptile") if name in rows[1]] == ["MAML", "FOMAML", "Reptile"]
        assert rows[2].count("Task 0") == 2
        assert "Reptile was not evaluated on task 0." in " ".join(" ".join(line[82:].split()) for line in rows)


async def test_runs_on_other_data_do_not_change_the_range() -> None:
    one_target, two_targets = (RunViews("a", "A", "hue-blue", (scatter(0, 0.5, n),)) for n in (1, 2))
    other_target = RunViews("b", "B", "hue-blue", (replace(scatter(0, 0.5), targets=("mass (kg)", "age")),))
    sine, table = (RunViews("c", "C", "hue-blue", (view(0, 0.5),)) for view in (wave, curve))
    for run, other in ((one_target, two_targets), (two_targets, other_target), (sine, table), (table, sine)):
        charts = []
        for runs in ([run, run], [run, other]):
            app = stage(runs)
            async with app.run_test(size=(140, 30)) as pilot:
                await pilot.pause()
                charts.append([line[:70] for line in lines(app.query_one(AdaptationPanel))[3:]])
        assert charts[0] == charts[1]


async def test_hidden_runs_are_counted() -> None:
    app = stage(wave_runs(3))
    async with app.run_test(size=SIZES["80x24"]) as pilot:
        panel = app.query_one(AdaptationPanel)
        await pilot.pause()
        assert lines(panel)[1].rstrip().endswith("1 run not shown")
        assert "Reptile" not in lines(panel)[1]


@pytest.mark.parametrize("count", [1, 2, 3])
async def test_legend_in_a_small_terminal(count: int) -> None:
    app = stage(wave_runs(count))
    async with app.run_test(size=SIZES["80x24"]) as pilot:
        await pilot.pause()
        head = lines(app.query_one(AdaptationPanel))[0]
        assert all(name in head for name in ("truth", "before", "support", "step 10", "of 0-7"))
        assert f"  {'━ ' * count}after  " in head


async def test_legend_has_the_colour_of_each_run() -> None:
    app = stage(wave_runs(3))
    async with app.run_test(size=SIZES["120x40"]) as pilot:
        panel = app.query_one(AdaptationPanel)
        await pilot.pause()
        head, headings = panel.render_line(0), panel.render_line(1)
        start = head.text.index("━ ━ ━ after")
        samples = [head.crop(start + 2 * run, start + 2 * run + 1) for run in range(3)]
        names = [headings.crop(at, at + 1) for at, mark in enumerate(headings.text) if mark == "━"]
        assert len(names) == 3
        assert [_colour(sample) for sample in samples] == [_colour(name) for name in names]
        assert len({_colour(sample) for sample in samples}) == 3


def _colour(strip: Strip) -> object:
    """Return the colour of the text of a strip."""
    (segment,) = strip
    assert segment.style is not None
    return segment.style.color


async def test_unchanged_rows_are_not_sent_again() -> None:
    app = stage(wave_runs(3))
    async with app.run_test(size=SIZES["120x40"]) as pilot:
        panel = app.query_one(AdaptationPanel)
        await pilot.pause()
        before = [panel.render_line(y) for y in range(panel.content_size.height)]
        panel.show_views(wave_runs(3), empty=EMPTY)
        panel.step = 9
        after = [panel.render_line(y) for y in range(panel.content_size.height)]
        kept = [old is new for old, new in zip(before, after, strict=True)]
        assert kept == [old == new for old, new in zip(before, after, strict=True)]
        assert True in kept
        assert False in kept


def test_only_the_part_of_a_row_that_differs_is_sent() -> None:
    photo, other = Segment("▀▀", Style(color="red", bgcolor="blue")), Segment("▀▀", Style(color="red"))
    before = Strip([photo, Segment("  0.1"), photo])
    assert difference(before, Strip([photo, Segment("  0.2"), photo])) == (2, 7)
    assert difference(before, Strip([photo, Segment("  0.1"), other])) == (7, 9)
    assert difference(before, Strip([other, Segment("  0.1"), photo])) == (0, 2)


async def test_diverged_tasks_have_a_warning_as_caption() -> None:
    diverged = replace(wave(0, 0.5), loss=(3.0, *[float("nan")] * 10))
    app = stage([replace(run, views=(diverged, wave(1, 0.5))) for run in wave_runs(1)])
    async with app.run_test(size=SIZES["120x40"]) as pilot:
        panel = app.query_one(AdaptationPanel)
        await pilot.pause()
        warning = theme_of(panel).warning.color
        outcomes = [segment for segment in panel.render_line(2) if "loss" in segment.text]
        assert [segment.style.color == warning for segment in outcomes if segment.style] == [True, False]


async def test_captions_next_to_each_other_have_two_rows() -> None:
    """Check that the captions of two tasks both use two rows if one has losses with more digits than the other."""
    views = (wave(0, 0.5), replace(wave(1, 0.5), loss=(0.2101, *[1.0] * 9, 0.1461)))
    app = stage([replace(run, views=views) for run in wave_runs(1)])
    async with app.run_test(size=(70, 30)) as pilot:
        panel = app.query_one(AdaptationPanel)
        await pilot.pause()
        titles, results = panel.render_line(1).text, panel.render_line(2).text
        assert (titles.count(" · A = "), results.count("loss ")) == (2, 2)
        assert "loss 0.210 → 0.146  " in results


def test_captions() -> None:
    view = replace(wave(3, 0.5), title="A = 2.31, φ = 1.07", loss=(3.21, *[1.0] * 9, 0.1804))
    assert captions(view, 10)[0] == "Task 3 · A = 2.31, φ = 1.07 · loss 3.21 → 0.180 after 10 steps"
    assert captions(view, 1)[1] == "Task 3 · loss 3.21 → 1.00 after 1 step"
    assert captions(view, 0)[1] == "Task 3 · loss 3.21 before adaptation"
    assert captions(view, 10)[-1] == "loss 3.21 → 0.180"
    assert captions(view, 9)[-1] == "loss 3.21 → 1.00 at step 9"
    assert captions(view, 99)[-1] == "loss 3.21 → 0.180 at step 10"
    assert captions(episode(0), 5)[1] == "Task 0 · accuracy 20.0 % → 80.0 % after 5 steps"


def test_predictions_beyond_a_scatter_are_at_its_edge() -> None:
    view = scatter(0, 0.5)
    wild = replace(view, predictions=(view.predictions[0], ((1e9,) * 20, (-1e9,) * 20)))
    for target in (0, 1):
        data = scatter_chart(wild, target, 1, "hue-blue", [wild])
        assert data.y_limits is not None
        assert {y for _, y in data.series[2].points} == {data.y_limits[1 - target]}
        assert data.x_label == f"true {view.targets[target]}"


def test_captions_of_tables_name_the_loss() -> None:
    assert captions(scatter(0, 0.5), 1)[1] == "Task 0 · standardised loss 1.00 → 0.500 after 1 step"


@pytest.mark.parametrize("symbols", Symbols)
def test_bitmap(symbols: Symbols) -> None:
    image = bytes(255 if x < 14 and y < 14 else 0 for y in range(28) for x in range(28))
    rows = draw_bitmap(image, 28, 28, 4, 8, symbols)
    assert [len(row) for row in rows] == [8] * 4
    full = {Symbols.BRAILLE: "⣿", Symbols.BLOCK: "█", Symbols.ASCII: "@"}[symbols]
    assert rows == (full * 4 + " " * 4,) * 2 + (" " * 8,) * 2


def test_thin_strokes_survive_shrinking() -> None:
    for row in range(28):
        image = bytes(255 if y == row else 0 for y in range(28) for _ in range(28))
        assert any(char != " " for line in draw_bitmap(image, 28, 28, 3, 6, Symbols.BRAILLE) for char in line)


def test_images_of_wrong_size_are_blank() -> None:
    assert draw_bitmap(b"\xff" * 10, 28, 28, 2, 4, Symbols.BRAILLE) == ("    ", "    ")


@pytest.mark.parametrize("photos", [True, False])
def test_all_support_images_are_visible(photos: bool) -> None:
    view = photographs(shots=5, side=8) if photos else several_shots(episode(0), 5)
    for width, height in ((118, 21), (158, 28), (198, 34)):
        plan = layout(view, width, height, chart_theme())
        assert plan is not None
        assert (plan.classes, plan.shots, plan.queries) == (5, 5, 2)
        assert plan.width <= width
        assert plan.height <= height


def test_more_space_shows_more() -> None:
    view = episode(0)
    small, large = layout(view, 45, 9, chart_theme()), layout(view, 120, 30, chart_theme())
    assert small is not None
    assert large is not None
    assert (small.classes, large.classes, large.queries) == (5, 5, 2)
    assert small.rows < large.rows
    assert layout(view, 10, 30, chart_theme()) is not None
    assert layout(view, 120, 4, chart_theme()) is None


@given(
    st.integers(1, 150), st.integers(1, 40), st.integers(1, 20), st.integers(1, 6), st.integers(0, 9),
    st.sampled_from(Symbols), st.booleans(), st.booleans(),
)  # fmt: skip
@settings(max_examples=25, deadline=None)
def test_episodes_fit_any_size(
    width: int, height: int, ways: int, shots: int, step: int, symbols: Symbols, monochrome: bool, photos: bool
) -> None:
    theme = chart_theme(symbols, monochrome=monochrome)
    view = photographs(ways, shots, side=8) if photos else several_shots(episode(1, ways), shots)
    rows = draw_episode(view, step, "hue-blue", (width, height), theme, first_shot=step)
    assert [width_of(row) for row in rows] == [width] * height


async def test_hostile_views() -> None:
    nothing = RegressionView(0, "", (), (), (), (), (), ())
    wild = replace(wave(1, 0.5), predictions=((float("nan"),) * 101, (1e300,) * 101), loss=(float("inf"), float("nan")))
    blank = ImageView(2, "", 28, 28, (), (), (), (), (), (), ())
    ragged = replace(episode(3), support=(character(0, 0)[:5],) * 5, accuracy=(float("nan"),) * 6)
    no_curve = CurveView(4, "", "", "", (), (), (), (), (), (), (), "")
    no_points = ScatterView(5, "", ("\x1b[31m",), ((),), (), (), "")
    far = replace(scatter(6, 0.5), predictions=(((1e300,) * 20, (float("nan"),) * 20),) * 2)
    for view in (nothing, wild, blank, ragged, no_curve, no_points, far):
        app = stage([RunViews("a", "A\x1b[31m", "hue-blue", (view,)), RunViews("b", "B", "no colour", (view,))])
        async with app.run_test(size=(100, 30)) as pilot:
            panel = app.query_one(AdaptationPanel)
            await pilot.pause()
            assert f"Task {view.task}" in "\n".join(lines(panel))
            assert all(line.isprintable() for line in lines(panel))
            for size in ((3, 3), (20, 6), (40, 60)):
                await pilot.resize_terminal(*size)
                await pilot.pause()
                assert len(lines(panel)) == panel.content_size.height


def test_classes_are_named() -> None:
    view = replace(episode(0), classes=("owl", "Greek/character07", "a long name of a bird"))
    style = chart_theme()
    assert [class_heading(view, label, 14, style) for label in range(4)] == [
        "1 owl", "2 character07", "3 a long name…", "class 4",
    ]  # fmt: skip
    assert [class_heading(view, label, 7, style) for label in range(4)] == ["1", "2", "3", "4"]
    assert class_heading(view, 1, 20, style) == "2 Greek/character07"
