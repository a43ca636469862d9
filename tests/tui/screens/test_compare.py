"""Tests of the compare screen, most of them with artificial results."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input, Switch

from metatui.config.fields import change
from metatui.config.settings import Settings
from metatui.events import Curve
from metatui.runs.analysis.comparison import Comparing, Comparison, Costs, Protocol, Recorded, RunResult, TrainingCurve
from metatui.runs.analysis.comparison.pairwise_tests import pairs
from metatui.runs.analysis.comparison.seed_groups import seed_groups
from metatui.runs.storage.run_folder import RunFolder
from metatui.tui.app import MetatuiApp
from metatui.tui.helper import Helper
from metatui.tui.screens.compare.curves import CurveOptions, adaptation, training
from metatui.tui.screens.compare.pages import tables_page
from metatui.tui.screens.compare.save_dialog import ExportScreen
from metatui.tui.screens.compare.screen import CompareScreen
from metatui.tui.screens.compare.sections import SECTIONS
from metatui.tui.screens.dialogs.prompt import AskScreen
from metatui.tui.widgets.charts import LineChart
from metatui.tui.widgets.charts.chart_theme import theme_of
from metatui.tui.widgets.key_line import KeyLine
from metatui.tui.widgets.scroll_view import ScrollView
from metatui.utils.numbers import interval
from tests.runs.analysis.comparisons import GLYPHS, SINUSOID, result, train
from tests.tui.drawing import wobble
from tests.tui.fakes import saved_run
from tests.tui.screens.conftest import ScreenApp, press_after_reply, text_of, until_written
from tests.tui.screens.fake_helper import FakeHelper
from tests.tui.sizes import SIZES

NAMES = ("MAML", "FOMAML", "Reptile")
RUNS = [RunFolder(Path("/runs/first")), RunFolder(Path("/runs/second"))]


def compared(images: bool = False, *, shots: int = 10, target: float | None = None) -> Comparison:
    """Return a comparison of three runs of 500 meta-steps, each tested on twelve tasks with five inner steps."""
    runs = tuple(_run(number, name, images) for number, name in enumerate(NAMES))
    metric = "accuracy" if images else "loss"
    return Comparison(
        protocol=Protocol(
            source="glyphs" if images else "sinusoid", split="test", tasks=12, shots=shots, queries=10, steps=5,
            seed=0, batch_norm="transductive" if images else None, rotations=None,
        ),
        runs=runs,
        pairs=pairs(runs, metric="accuracy" if images else "loss", step=1),
        seeds=(),
        target=target,
        warnings=(f"{NAMES[2]} is not finished: stopped after 300 of 500 meta-steps",) if metric == "loss" else (),
        groups=seed_groups(runs),
    )  # fmt: skip


def _run(number: int, name: str, images: bool) -> RunResult:
    skill = 0.5 + 0.15 * number
    losses = [skill + 0.1 * wobble(task + 20 * number) for task in range(12)]
    costs = Costs(500, 6.0 - number, 0.012 / (1 + number), 330.0, (300 + number) * 2**20, "cpu", "a CPU", "here")
    made = result(name, losses, [1 - loss / 3 for loss in losses] if images else None, settings=SINUSOID, costs=costs)
    loss = Curve(tuple(skill + 3 * skill**step for step in range(6)), tuple(0.4 / (1 + step) for step in range(6)))
    accuracy = Curve(tuple(0.9 - 0.7 * skill ** (2 * step) for step in range(6)), (0.02,) * 6) if images else None
    iterations = tuple(range(5, 505, 5))
    falling = tuple(3.2 * math.exp(-i / (80 + 40 * number)) + skill for i in iterations)
    curve = TrainingCurve(
        50, iterations, tuple(4 * i for i in iterations), tuple(i / 90 for i in iterations), falling,
        tuple(1 - v / 5 for v in falling) if images else None,
    )  # fmt: skip
    evaluation = replace(
        made.evaluation, steps=tuple(range(6)), loss=loss, accuracy=accuracy, ways=5 if images else None
    )
    return replace(made, evaluation=evaluation, training=curve)


async def screen_and_helper(
    pilot: Pilot[Any], comparison: Comparison | None = None
) -> tuple[CompareScreen, FakeHelper]:
    """Send `comparison` from the fake helper, if it is given, and return the screen and the helper."""
    await pilot.pause()
    screen, helper = pilot.app.screen, FakeHelper.made[-1]
    assert isinstance(screen, CompareScreen)
    if comparison is not None:
        await helper.reply(pilot, done=comparison)
    return screen, helper


def state(screen: CompareScreen) -> str:
    return text_of(screen, "#compare-state")


@pytest.mark.usefixtures("fake_helper")
async def test_selected_run_is_tested_with_other_steps(make: Callable[[], MetatuiApp], runs_dir: Path) -> None:
    run = saved_run(runs_dir, Settings(), name="maml-sinusoid-20260101-000000", steps=3)
    app = make()
    async with app.run_test(size=(200, 60)) as pilot:
        await pilot.press("2")
        await app.workers.wait_for_complete()
        await pilot.press("c")
        screen, helper = await screen_and_helper(pilot)
        assert text_of(screen, "#compare-protocol") == f"Testing {run.id}"
        assert [run.id for run in helper.asked[0].args[0]] == [run.id]
        three = compared()
        alone = replace(three, runs=three.runs[:1], pairs=(), warnings=(), groups=seed_groups(three.runs[:1]))
        await helper.reply(pilot, done=alone)
        page = text_of(screen, "#compare-result")
        assert f"MAML: loss {interval(*alone.runs[0].evaluation.final)}" in page
        assert "No two of these runs" not in page
        await pilot.press("right_square_bracket")
        await pilot.pause()
        assert helper.asked[-1].keywords["steps"] == 10
        await helper.reply(pilot, done=replace(three, pairs=()))
        assert "No two of these runs were evaluated on the same tasks." in text_of(screen, "#compare-result")


@pytest.mark.usefixtures("fake_helper")
async def test_marked_runs_are_compared(make: Callable[[], MetatuiApp], runs_dir: Path) -> None:
    for number in range(2):
        saved_run(runs_dir, Settings(), name=f"maml-sinusoid-2026010{number}-000000", steps=3)
    app = make()
    async with app.run_test(size=(200, 60)) as pilot:
        await pilot.press("2")
        await app.workers.wait_for_complete()
        await pilot.press("space", "down", "space", "c")
        screen, helper = await screen_and_helper(pilot)
        assert [run.id for run in helper.asked[0].args[0]] == app.runs_tab.marked
        await helper.reply(pilot, Comparing("MAML", 1, 3, 0, 600, Recorded(compared().runs, "loss")))
        assert "Meta-loss in training after 1 step, smoothed over 50 meta-steps" in text_of(screen, "#compare-training")
        await helper.reply(pilot, Comparing("FOMAML", 2, 3, 100, 600))
        assert state(screen) == "Adapting FOMAML (2 of 3) to the held-out tasks: 100 of 600"
        await helper.reply(pilot, done=compared())
        assert screen.query_one("#compare-state").display is False
        assert text_of(screen, "#compare-protocol").startswith("sinusoid, test split, 12 tasks, 10-shot")
        assert "Meta-loss in training after 1 step, smoothed over 50 meta-steps" in text_of(screen, "#compare-training")
        assert "Loss on 12 test tasks, 10-shot" in text_of(screen, "#compare-adaptation")
        page = text_of(screen, "#compare-result")
        assert "Warning: Reptile is not finished" in page
        assert all(pair.verdict[:30] in page for pair in compared().pairs)
        assert text_of(screen, "#compare-tables").startswith("Cost of training")
        assert "MAML 12 ms 1.00x – 330" in text_of(screen, "#compare-tables")


def only_first(comparison: Comparison, count: int) -> Comparison:
    """Return a comparison, without significance tests, of the first `count` runs, as reported during the evaluation."""
    runs = comparison.runs[:count]
    return replace(comparison, runs=runs, pairs=(), warnings=(), groups=seed_groups(runs))


def page_of(screen: CompareScreen, section: str) -> str:
    """Return the whole page of a text section as one line."""
    view = screen.query_one(f"#compare-{section}", ScrollView)
    rows = view.page(view.content_size.width, theme_of(view))
    return " ".join(" ".join("".join(segment.text for segment in row) for row in rows).split())


@pytest.mark.usefixtures("fake_helper")
@pytest.mark.parametrize("size", SIZES)
async def test_each_run_is_shown_as_soon_as_it_is_measured(size: tuple[int, int]) -> None:
    whole = compared(images=True)
    three = [*RUNS, RunFolder(Path("/runs/third"))]
    async with ScreenApp(CompareScreen(three)).run_test(size=size) as pilot:
        screen, helper = await screen_and_helper(pilot)
        await helper.reply(pilot, Comparing("MAML", 1, 3, 0, 600, Recorded(whole.runs, "accuracy")))
        assert page_of(screen, "result") == ""
        for count in (1, 2):
            await helper.reply(pilot, Comparing("…", count + 1, 3, 0, 600, measured=only_first(whole, count)))
            page = page_of(screen, "result")
            assert f"Measured so far: {count} of 3 runs" in page
            assert "The tests and the conclusions follow when all runs are measured." in page
            assert [f"{name} " in page for name in NAMES] == [number < count for number in range(3)]
            assert "In words" not in page
            assert "Differences" not in page
            assert "No two of these runs" not in page
            assert "Pairs" not in page_of(screen, "tables")
            chart = screen.query_one("#compare-adaptation", LineChart)
            drawn = [series.name for series in chart._data.series if series.style == "line"]
            assert drawn == [*NAMES[:count]]
            training_chart = screen.query_one("#compare-training", LineChart)
            assert {series.name for series in training_chart._data.series} >= set(NAMES)
            assert text_of(screen, "#compare-protocol").startswith("glyphs, test split, 12 tasks")
        await pilot.press("m")
        assert screen.view.metric == "loss"
        await pilot.press("e", "plus")
        assert {each.message for each in pilot.app._notifications} == {
            "Not possible yet: the runs are still being measured."
        }
        await helper.reply(pilot, done=whole)
        page = page_of(screen, "result")
        assert "Measured so far" not in page
        assert "In words" in page


@pytest.mark.usefixtures("fake_helper")
async def test_results_before_a_failure_stay_visible() -> None:
    async with ScreenApp(CompareScreen(RUNS)).run_test(size=(120, 40)) as pilot:
        screen, helper = await screen_and_helper(pilot)
        await helper.reply(pilot, Comparing("FOMAML", 2, 3, 0, 600, measured=only_first(compared(), 1)))
        await helper.reply(pilot, error="run 'second' has no intact checkpoint")
        assert state(screen) == "Not measured: run 'second' has no intact checkpoint."
        assert "Measured so far: 1 of 2 runs" in page_of(screen, "result")


@pytest.mark.usefixtures("fake_helper")
async def test_earlier_results_are_marked_until_the_new_ones_arrive() -> None:
    async with ScreenApp(CompareScreen(RUNS)).run_test(size=(120, 40)) as pilot:
        screen, helper = await screen_and_helper(pilot, compared())
        earlier = "Earlier results: sinusoid, test split, 12 tasks, 10-shot"
        assert "Earlier" not in text_of(screen, "#compare-protocol") + page_of(screen, "result")
        before = page_of(screen, "result")
        await pilot.press("plus")
        assert text_of(screen, "#compare-protocol").startswith(earlier)
        assert page_of(screen, "result").startswith(earlier)
        assert page_of(screen, "result").endswith(before)
        new = compared(shots=15)
        await helper.reply(pilot, Comparing("FOMAML", 2, 3, 0, 600, measured=only_first(new, 1)))
        page = page_of(screen, "result")
        assert page.startswith("New measurement: sinusoid, test split, 12 tasks, 15-shot")
        assert page.index("Measured so far: 1 of 2 runs") < page.index(earlier)
        assert page.endswith(before)
        assert text_of(screen, "#compare-protocol").startswith(earlier)
        await helper.reply(pilot, done=new)
        assert text_of(screen, "#compare-protocol").startswith("sinusoid, test split, 12 tasks, 15-shot")
        assert page_of(screen, "result") == before
        await pilot.press("plus")
        await helper.reply(pilot, error="task.shots is 20, but there are 15")
        assert page_of(screen, "result") == before
        await pilot.press("plus")
        assert "Earlier results" in page_of(screen, "result")
        await pilot.press("escape")
        assert page_of(screen, "result") == before
        assert text_of(screen, "#compare-protocol").startswith("sinusoid")


@pytest.mark.usefixtures("fake_helper")
async def test_keys_change_the_curves() -> None:
    async with ScreenApp(CompareScreen(RUNS)).run_test(size=(200, 60)) as pilot:
        screen, _ = await screen_and_helper(pilot, compared(images=True))
        assert "meta-steps" in text_of(screen, "#compare-training")
        await pilot.press("t")
        assert "tasks seen" in text_of(screen, "#compare-training")
        await pilot.press("t")
        assert "seconds of training" in text_of(screen, "#compare-training")
        await pilot.press("m")
        assert screen.view.metric == "loss"
        assert "Meta-loss" in text_of(screen, "#compare-training")
        await pilot.press("m")
        assert "Query accuracy" in text_of(screen, "#compare-training")
        await pilot.press("y")
        assert screen.view.log is False
        await pilot.press("1", "enter")
        chart = screen.query_one("#compare-training", LineChart)
        assert chart.has_cursor
        assert screen.query_one(KeyLine).cursor
        await pilot.press("left", "plus", "0", "escape")
        assert not chart.has_cursor
        assert not screen.query_one(KeyLine).cursor
        assert screen.sections.section == "training"
        assert screen.query_one("#compare-training").has_focus


@pytest.mark.usefixtures("fake_helper")
async def test_shots_are_measured_again_and_escape_cancels() -> None:
    app = ScreenApp(CompareScreen(RUNS))
    async with app.run_test(size=(120, 40)) as pilot:
        screen, helper = await screen_and_helper(pilot, compared())
        await pilot.press("plus", "plus")
        assert [call.keywords["shots"] for call in helper.asked] == [None, 15, 20]
        await helper.reply(pilot, done=compared(shots=15), request=2)
        assert screen.comparison is not None
        assert screen.comparison.protocol.shots == 10, "an outdated reply"
        await pilot.press("escape")
        assert helper.stopped
        assert state(screen) == "Cancelled. The screen shows the previous measurement."
        assert app.screen is screen
        await pilot.press("minus")
        second = FakeHelper.made[-1]
        assert second is not helper
        assert second.asked[0].keywords["shots"] == 5
        await second.reply(pilot, error="task.shots is 5, but there are 3")
        assert state(screen) == "Not measured: task.shots is 5, but there are 3."
        await pilot.press("escape")
        assert app.screen is not screen


@pytest.mark.usefixtures("fake_helper")
async def test_inner_steps_are_measured_again() -> None:
    async with ScreenApp(CompareScreen(RUNS)).run_test(size=(120, 40)) as pilot:
        _, helper = await screen_and_helper(pilot, compared())
        await pilot.press("right_square_bracket", "left_square_bracket", "left_square_bracket", "s", "s")
        assert [call.keywords["steps"] for call in helper.asked] == [None, 10, 5, 3, "own", None]
        await pilot.press("escape", "right_square_bracket")
        assert FakeHelper.made[-1].asked[-1].keywords["steps"] == 10


@pytest.mark.usefixtures("fake_helper")
async def test_a_dead_helper_is_replaced() -> None:
    async with ScreenApp(CompareScreen(RUNS)).run_test(size=(80, 24)) as pilot:
        screen, helper = await screen_and_helper(pilot, compared())
        await helper.reply(pilot, error="the process died", dead=True)  # while nothing was being measured
        assert state(screen) == ""
        await pilot.press("plus")
        assert FakeHelper.made[-1] is not helper


@pytest.mark.usefixtures("fake_helper")
async def test_keys_that_need_a_result_say_so_while_measuring() -> None:
    async with ScreenApp(CompareScreen(RUNS)).run_test(size=(160, 48)) as pilot:
        screen, _ = await screen_and_helper(pilot)
        for key in ("left_square_bracket", "s", "m", "minus", "g", "e"):
            await pilot.press(key)
            await pilot.pause()
            (notification,) = pilot.app._notifications
            assert notification.message == "Not possible yet: the runs are still being measured.", key
            pilot.app.clear_notifications()
        assert pilot.app.screen is screen


@pytest.mark.usefixtures("fake_helper")
async def test_escape_while_measuring_closes_and_kills() -> None:
    app = ScreenApp(CompareScreen(RUNS))
    async with app.run_test(size=(80, 24)) as pilot:
        screen, helper = await screen_and_helper(pilot)
        await pilot.press("escape")
        await pilot.pause()
        assert helper.stopped
        assert app.screen is not screen


@pytest.mark.usefixtures("fake_helper")
async def test_target() -> None:
    app = ScreenApp(CompareScreen(RUNS))
    async with app.run_test(size=(120, 40)) as pilot:
        screen, helper = await screen_and_helper(pilot, compared())
        await pilot.press("g")
        await pilot.pause()
        assert isinstance(app.screen, AskScreen)
        app.screen.query_one(Input).value = "soon"
        await pilot.press("enter")
        assert isinstance(app.screen, AskScreen)
        app.screen.query_one(Input).value = "50%"
        await pilot.press("enter")
        await pilot.pause()
        assert helper.asked[-1].keywords["target"] == 0.5
        await helper.reply(pilot, done=compared(target=0.5))
        assert "First validation with a loss of 0.5 or better" in text_of(screen, "#compare-tables")


@pytest.mark.usefixtures("fake_helper")
async def test_export(tmp_path: Path) -> None:
    async def write(name: str) -> str:
        """Export to the file `name`, and return the error shown in the dialog, or an empty string on success."""
        if not isinstance(app.screen, ExportScreen):
            await pilot.press("e")
            await pilot.pause()
        app.screen.query_one("#save-path", Input).value = name if name.startswith("~") else str(tmp_path / name)
        await pilot.press("enter")
        await pilot.pause()
        await until_written(pilot)
        return str(app.screen.query_one("#dialog-error").render()) if isinstance(app.screen, ExportScreen) else ""

    app = ScreenApp(CompareScreen(RUNS))
    async with app.run_test(size=(120, 40)) as pilot:
        await screen_and_helper(pilot, compared())
        assert await write("made.svg") == ""
        assert (tmp_path / "made.svg").read_text().startswith("<svg")
        assert "exists: turn on 'Replace an existing file'" in await write("made.svg")
        assert "must end in one of" in await write("made.doc")
        assert "file name too long" in await write(f"{'x' * 4000}.svg")
        assert "home folder of an unknown user" in await write("~nobody-of-this-name/made.svg")
        assert [file.name for file in tmp_path.glob("made*")] == ["made.svg"]
        path = app.screen.query_one("#save-path", Input)
        before = path.value
        await pilot.press("end", "backspace")
        assert path.value == before[:-1], "the path is not selected"
        assert str(app.screen.query_one("#dialog-error").render()) == "", "the error was that of another path"
        (tmp_path / "made.svg").write_text("earlier")
        app.screen.query_one("#save-overwrite", Switch).value = True
        assert await write("made.svg") == ""
        assert (tmp_path / "made.svg").read_text().startswith("<svg")


@pytest.mark.usefixtures("fake_helper")
async def test_export_from_a_deleted_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = ScreenApp(CompareScreen(RUNS))
    async with app.run_test(size=(120, 40)) as pilot:
        await screen_and_helper(pilot, compared())
        (tmp_path / "gone").mkdir()
        monkeypatch.chdir(tmp_path / "gone")
        (tmp_path / "gone").rmdir()
        await pilot.press("e")
        await pilot.pause()
        path = app.screen.query_one("#save-path", Input)
        assert path.value == "~/comparison.md"
        path.value = "made.svg"
        await pilot.press("enter")
        assert "the current folder, which has been deleted" in str(app.screen.query_one("#dialog-error").render())


@pytest.mark.usefixtures("fake_helper")
async def test_typing_while_a_file_is_written_does_not_reach_the_screen_below(tmp_path: Path) -> None:
    written = threading.Event()
    dialog = ExportScreen(tmp_path / "made.md", lambda path: written.wait())
    app = ScreenApp(CompareScreen(RUNS))
    async with app.run_test(size=(120, 40)) as pilot:
        screen, _ = await screen_and_helper(pilot, compared())
        results: list[Path | None] = []
        await app.push_screen(dialog, results.append)
        await pilot.press("enter", "t", "o", "enter")
        assert app.screen is dialog
        written.set()
        await until_written(pilot)
        assert app.screen is dialog
        assert "Keys pressed in the meantime were ignored" in text_of(dialog, "#save-state")
        await pilot.press("t", "m")
        assert screen.view == CurveOptions(colours={})
        await pilot.press("enter")
        await pilot.pause()
        assert results == [tmp_path / "made.md"]
        assert isinstance(app.screen, CompareScreen)


@pytest.mark.usefixtures("fake_helper")
async def test_resize() -> None:
    async with ScreenApp(CompareScreen(RUNS)).run_test(size=(120, 40)) as pilot:
        screen, helper = await screen_and_helper(pilot)
        await pilot.resize_terminal(30, 8)
        await helper.reply(pilot, done=compared())
        for size in ((80, 24), (20, 5), (200, 60), (1, 1), (120, 40)):
            await pilot.resize_terminal(*size)
            await pilot.pause()
            await pilot.press("n")
        assert text_of(screen, "#compare-tables").startswith("Cost of training")
        await pilot.press("b")
        assert "In words" in text_of(screen, "#compare-result")
        await pilot.resize_terminal(160, 48)
        await pilot.pause()
        assert all(screen.query_one(f"#compare-{section}").size.area > 0 for section in SECTIONS)


def test_intervals_end_at_the_bottom_of_a_log_axis() -> None:
    comparison = compared()
    first, *others = comparison.runs
    wide = replace(first, evaluation=replace(first.evaluation, loss=Curve((1.0,) * 6, (2.0,) * 6)))
    runs = (wide, *others)
    chart = adaptation(replace(comparison, runs=runs, groups=seed_groups(runs)), CurveOptions())
    lowest = min(y for series in chart.series for _, y in series.points if not math.isnan(y))
    losses = [run.evaluation.loss for run in others]
    lows = [mean - half for loss in losses for mean, half in zip(loss.mean, loss.ci95, strict=True)]
    assert lowest == pytest.approx(min(lows))


def test_untrained_runs_leave_the_chart_empty() -> None:
    comparison = compared()
    untrained = tuple(replace(run, training=None) for run in comparison.runs)
    assert not any(series.points for series in training(replace(comparison, runs=untrained), CurveOptions()).series)


@pytest.mark.usefixtures("fake_helper")
async def test_tables_show_names_that_differ_from_labels() -> None:
    comparison = compared()
    unnamed = replace(comparison, runs=tuple(replace(run, label=run.id) for run in comparison.runs))
    async with ScreenApp(CompareScreen(RUNS)).run_test(size=(80, 24)) as pilot:
        theme = theme_of((await screen_and_helper(pilot))[0].query_one("#compare-tables"))
    headings = [
        "".join(segment.text for segment in row).split()
        for each in (comparison, unnamed)
        for row in tables_page(each, 100, theme)
        if "at meta-step" in "".join(segment.text for segment in row)
    ]
    assert [heading[:3] for heading in headings] == [["run", "name", "at"], ["run", "at", "meta-step"]]


async def test_real_runs(runs_dir: Path) -> None:
    """Compare real runs in a real helper process, and check that the run folders do not change."""
    runs = [train(runs_dir, change(GLYPHS, {"algorithm.name": name})) for name in ("fomaml", "scratch")]
    before = {file: file.read_bytes() for run in runs for file in run.path.rglob("*") if file.is_file()}
    screen = CompareScreen(runs)
    async with ScreenApp(screen).run_test(size=(120, 40)) as pilot:
        await pilot.pause()
        while screen.is_busy:
            await pilot.pause(0.02)
        assert screen.comparison is not None
        assert [run.label for run in screen.comparison.runs] == ["FOMAML", "scratch"]
        helper = screen._helper
        assert isinstance(helper, Helper)
        await pilot.press("escape")
    assert await asyncio.to_thread(helper._child.wait, 10) is not None
    assert {file: file.read_bytes() for run in runs for file in run.path.rglob("*") if file.is_file()} == before


@pytest.mark.usefixtures("fake_helper")
@pytest.mark.parametrize("images", [False, True], ids=["sinusoid", "images"])
@pytest.mark.parametrize("size", SIZES)
def test_result(snap_compare: Callable[..., bool], size: tuple[int, int], images: bool) -> None:
    filled = press_after_reply(result=compared(images))
    assert snap_compare(ScreenApp(CompareScreen(RUNS)), terminal_size=size, run_before=filled)


@pytest.mark.usefixtures("fake_helper")
@pytest.mark.parametrize("key", ["1", "2", "4"])
def test_single_sections(snap_compare: Callable[..., bool], key: str) -> None:
    assert snap_compare(
        ScreenApp(CompareScreen(RUNS)),
        terminal_size=(80, 24),
        run_before=press_after_reply(key, result=compared(False)),
    )


@pytest.mark.usefixtures("fake_helper")
@pytest.mark.parametrize(("size", "key"), [((80, 24), "2"), ((120, 40), "3")], ids=["80x24-2", "120x40-3"])
def test_ascii(snap_compare: Callable[..., bool], size: tuple[int, int], key: str) -> None:
    app = ScreenApp(CompareScreen(RUNS), ascii=True)
    filled = press_after_reply(key, result=compared(key == "2"))
    assert snap_compare(app, terminal_size=size, run_before=filled)
