"""Tests of the explorer screen: keys select the task, the inner learning rate and the displayed inner step."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from metatui.config.fields import change
from metatui.config.settings import Settings
from metatui.learning.evaluation.custom_tasks import ChosenClasses, Wave
from metatui.runs.analysis.explore import Explored, explore_stepwise
from metatui.runs.storage.run_folder import RunFolder
from metatui.tui.app import MetatuiApp
from metatui.tui.screens.dialogs.prompt import AskScreen
from metatui.tui.screens.explorer.query import STEPS, ExplorerQuery, wave_of
from metatui.tui.screens.explorer.screen import (
    ExplorerHeader,
    ExplorerPanel,
    ExplorerScreen,
    describe_rates,
    loss_curves,
)
from metatui.tui.widgets.charts import LineChart
from tests.runs.analysis.comparisons import GLYPHS, train
from tests.tui.drawing import episode, scatter, wave
from tests.tui.fakes import saved_run
from tests.tui.screens.conftest import ScreenApp, press_after_reply, text_of
from tests.tui.screens.fake_helper import FakeHelper
from tests.tui.sizes import SIZES

RUNS = [RunFolder(Path("/runs/first")), RunFolder(Path("/runs/second"))]


def explored(number: int, *, task: int = 0, images: bool = False, steps: int = STEPS) -> Explored:
    view = episode(task, steps=steps) if images else wave(task, 0.9 + 0.03 * number, steps=steps)
    return Explored(number, ("MAML", "Reptile")[number], 0.01, 0.01, 5 if images else None, "best", 1000, view)


def both(**kind: Any) -> tuple[Explored, Explored]:
    return explored(0, **kind), explored(1, **kind)


async def screen_and_helper(pilot: Pilot[Any], *results: Explored) -> tuple[ExplorerScreen, FakeHelper]:
    """Send `results` from the fake helper, if there are any, and return the screen and the helper."""
    await pilot.pause()
    screen, helper = pilot.app.screen, FakeHelper.made[-1]
    assert isinstance(screen, ExplorerScreen)
    if results:
        await helper.reply(pilot, *results, done=True)
    return screen, helper


def header(screen: ExplorerScreen) -> str:
    return screen.query_one(ExplorerHeader).render_line(0).text.strip()


@pytest.mark.usefixtures("fake_helper")
async def test_steps_need_no_computation(make: Callable[[], MetatuiApp], runs_dir: Path) -> None:
    for number in range(2):
        saved_run(runs_dir, Settings(), name=f"maml-sinusoid-2026010{number}-000000", steps=3)
    async with make().run_test(size=(120, 40)) as pilot:
        await pilot.press("2")
        await pilot.app.workers.wait_for_complete()
        await pilot.press("space", "down", "space", "a")
        screen, helper = await screen_and_helper(pilot)
        assert [len(call.args[0]) for call in helper.asked] == [2]
        assert header(screen).endswith("adapting…")
        await helper.reply(pilot, *both(), done=True)
        panel = screen.query_one(ExplorerPanel)
        assert (panel.shown_step, panel.last_step) == (10, STEPS)
        await pilot.press("right_square_bracket", "right_square_bracket", "left_square_bracket")
        assert panel.shown_step == 11
        await pilot.press("end", "right_square_bracket")
        assert panel.shown_step == STEPS
        await pilot.press("home", "left_square_bracket")
        assert panel.shown_step == 0
        assert len(helper.asked) == 1
        assert header(screen) == "Held-out test task 0"


@pytest.mark.usefixtures("fake_helper")
async def test_the_task_of_the_adaptation_pane_is_explored(make: Callable[[], MetatuiApp], runs_dir: Path) -> None:
    run = saved_run(runs_dir, Settings(), name="maml-sinusoid-20260101-000000", steps=3, test=False)
    app = make()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("2")
        await app.workers.wait_for_complete()
        await pilot.press("enter")
        await app.workers.wait_for_complete()
        await pilot.press("ctrl+o", "full_stop", "a")
        _, helper = await screen_and_helper(pilot)
        (asked,) = helper.asked
        assert [each.id for each in asked.args[0]] == [run.id]
        assert (asked.keywords["task"], asked.keywords["split"]) == (2, "val")


@pytest.mark.usefixtures("fake_helper")
@pytest.mark.parametrize("images", [False, True])
async def test_loss_chart_is_for_regression_only(images: bool) -> None:
    async with ScreenApp(ExplorerScreen(RUNS)).run_test(size=(120, 40)) as pilot:
        screen, helper = await screen_and_helper(pilot)
        assert not screen.query_one(LineChart).display, "the kind of task is not known yet"
        await helper.reply(pilot, *both(images=images), done=True)
        assert screen.query_one(LineChart).display is not images
        assert ("enter" in screen.active_bindings) is not images, "the help lists the keys that work"
        assert ("up" in screen.active_bindings) is not images
        assert "left" in screen.active_bindings


@pytest.mark.usefixtures("fake_helper")
async def test_the_newest_request_wins() -> None:
    async with ScreenApp(ExplorerScreen(RUNS)).run_test(size=(120, 40)) as pilot:
        screen, helper = await screen_and_helper(pilot, *both())
        await pilot.press("full_stop", "full_stop", "plus")
        assert [call.keywords["task"] for call in helper.asked] == [0, 1, 2, 2]
        assert helper.asked[-1].keywords["rate"] == 1.25
        await helper.reply(pilot, *both(task=1), done=True, request=2)
        assert [each.view.task for each in screen.results] == [0, 0]
        await helper.reply(pilot, explored(0, task=2))
        assert [each.view.task for each in screen.results] == [0, 0], "both runs appear together"
        await helper.reply(pilot, explored(1, task=2), done=True)
        assert [each.view.task for each in screen.results] == [2, 2]


@pytest.mark.usefixtures("fake_helper")
async def test_task_by_number() -> None:
    app = ScreenApp(ExplorerScreen(RUNS))
    async with app.run_test(size=(80, 24)) as pilot:
        screen, helper = await screen_and_helper(pilot)
        await pilot.press("g")
        await pilot.pause()
        assert isinstance(app.screen, AskScreen)
        app.screen.query_one(Input).value = "-3"
        await pilot.press("enter")
        assert isinstance(app.screen, AskScreen)
        app.screen.query_one(Input).value = "417"
        await pilot.press("enter")
        await pilot.pause()
        assert helper.asked[-1].keywords["task"] == 417
        assert header(screen).startswith("Held-out test task 417")


@pytest.mark.usefixtures("fake_helper")
async def test_drawing_a_wave() -> None:
    async with ScreenApp(ExplorerScreen(RUNS)).run_test(size=(120, 40)) as pilot:
        screen, helper = await screen_and_helper(pilot, *both(task=1))
        await pilot.press("d")
        assert helper.asked[-1].keywords["drawn"] == Wave(1.7, 0.8), "starts as the visible wave"
        await pilot.press("up", "up", "down", "right")
        assert helper.asked[-1].keywords["drawn"] == Wave(1.8, 0.9)
        assert header(screen).startswith("Your wave: A = 1.80, φ = 0.90")
        await pilot.press(*["left"] * 10)
        assert "outside the training range" in header(screen)
        await pilot.press("d")
        assert helper.asked[-1].keywords["drawn"] is None
        before = len(helper.asked)
        await pilot.press("right", "up")
        assert (screen.step, len(helper.asked)) == (11, before), "without a wave the arrows change the step"


@pytest.mark.usefixtures("fake_helper")
async def test_choosing_classes() -> None:
    app = ScreenApp(ExplorerScreen(RUNS))
    async with app.run_test(size=(120, 40)) as pilot:
        screen, helper = await screen_and_helper(pilot, *both(images=True))
        await pilot.press("d")
        await pilot.pause()
        assert isinstance(app.screen, AskScreen)
        app.screen.query_one(Input).value = "Greek"
        await pilot.press("enter")
        await pilot.pause()
        assert helper.asked[-1].keywords["drawn"] == ChosenClasses("Greek")
        await helper.reply(pilot, error="classes are 'Greek', 3 in total, but the run has 5 ways")
        problem = screen.query_one("#explorer-problem")
        assert "3 in total" in str(problem.render())
        assert screen.query_state.drawn is None
        assert not helper.stopped
        await pilot.press("full_stop")
        await helper.reply(pilot, *both(images=True, task=1), done=True)
        assert not problem.display


@pytest.mark.usefixtures("fake_helper")
async def test_closing_kills_the_helper() -> None:
    app = ScreenApp(ExplorerScreen(RUNS))
    async with app.run_test(size=(80, 24)) as pilot:
        screen, helper = await screen_and_helper(pilot)
        await pilot.press("escape")
        await pilot.pause()
        assert helper.stopped
        assert app.screen is not screen


async def test_no_run_to_explore(make: Callable[[], MetatuiApp]) -> None:
    app = make()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("escape", "a")
        await pilot.pause()
        assert not isinstance(app.screen, ExplorerScreen)
        assert [n.message for n in app._notifications][-1].startswith("No run is open")


@pytest.mark.parametrize(("amplitude", "phase"), [(0.1, 0.0), (4.93, 3.1), (2.0, 1.57)])
def test_wave_of_view(amplitude: float, phase: float) -> None:
    view = wave(0, 0.5)
    truth = tuple(amplitude * math.sin(x - phase) for x in view.grid)
    recovered = wave_of(view.__class__(**{**vars(view), "truth": truth}))
    assert (recovered.amplitude, recovered.phase) == pytest.approx((amplitude, phase), abs=0.006)


def test_task_numbers_and_rates_stay_within_their_limits() -> None:
    assert ExplorerQuery(1).change_task(-1).change_task(-1) == ExplorerQuery(0)
    query = ExplorerQuery()
    for _ in range(30):
        query = query.change_rate(1)
    assert query.rate == 1.25**20
    for _ in range(60):
        query = query.change_rate(-1)
    assert query.rate == 1.25**-20
    assert query.change_rate(0) == ExplorerQuery()


def test_changed_rates_are_shown_with_those_of_the_runs() -> None:
    one, two = both()
    assert describe_rates([]) == ""
    assert describe_rates([one, two]) == "Inner rate 0.01"
    one, two = replace(one, inner_lr=0.0125), replace(two, inner_lr=0.125, own_lr=0.1)
    assert describe_rates([one]) == "Inner rate 0.0125 (validated with 0.01)"
    assert describe_rates([one, two]) == (
        "Inner rates: MAML 0.0125 (validated with 0.01), Reptile 0.125 (validated with 0.1)"
    )


def test_waves_stay_within_their_limits() -> None:
    query = ExplorerQuery(drawn=Wave(9.9, 6.2))
    for _ in range(5):
        query = query.change_wave(1, 1)
    assert query.drawn == Wave(10.0, 6.28)
    for _ in range(300):
        query = query.change_wave(-1, -1)
    assert query.drawn == Wave(0.1, -3.14)


def test_real_runs(runs_dir: Path) -> None:
    runs = [train(runs_dir, change(GLYPHS, {"algorithm.name": name})) for name in ("fomaml", "scratch")]
    before = {file: file.read_bytes() for run in runs for file in run.path.rglob("*") if file.is_file()}
    results = list(explore_stepwise(runs, task=5, steps=12, rate=2.0))
    assert [(each.number, len(each.view.loss)) for each in results] == [(0, 11), (1, 11), (0, 13), (1, 13)]
    assert results[0].view.loss == results[2].view.loss[:11]
    assert {each.label for each in results} == {"FOMAML", "scratch"}
    assert all(each.inner_lr == 2 * each.own_lr for each in results)
    assert len({each.view.title for each in results}) == 1, "the same task for all"
    assert {each.checkpoint for each in results} == {"best"}
    assert [each.iteration for each in results[:2]] == [1, 0]
    (validation,) = explore_stepwise(runs[:1], task=5, split="val", steps=1)
    assert validation.view.title != results[0].view.title
    assert {file: file.read_bytes() for run in runs for file in run.path.rglob("*") if file.is_file()} == before


@pytest.mark.usefixtures("fake_helper")
@pytest.mark.parametrize("images", [False, True], ids=["sinusoid", "images"])
@pytest.mark.parametrize("size", SIZES)
def test_two_runs(snap_compare: Callable[..., bool], size: tuple[int, int], images: bool) -> None:
    filled = press_after_reply(progress=both(images=images))
    assert snap_compare(ScreenApp(ExplorerScreen(RUNS)), terminal_size=size, run_before=filled)


@pytest.mark.usefixtures("fake_helper")
def test_ascii(snap_compare: Callable[..., bool]) -> None:
    app = ScreenApp(ExplorerScreen(RUNS), ascii=True)
    filled = press_after_reply("d", "up", progress=both(images=False))
    assert snap_compare(app, terminal_size=(120, 40), run_before=filled)


@pytest.mark.usefixtures("fake_helper")
async def test_tasks_of_a_table_cannot_be_drawn() -> None:
    view = scatter(0, 0.8, steps=STEPS)
    screen_of_run = ExplorerScreen(RUNS[:1], query=ExplorerQuery(4, "val"))
    async with ScreenApp(screen_of_run).run_test(size=(120, 40)) as pilot:
        screen, helper = await screen_and_helper(pilot, Explored(0, "MAML", 0.01, 0.01, None, "best", 1000, view))
        assert (helper.asked[0].keywords["task"], helper.asked[0].keywords["split"]) == (4, "val")
        assert header(screen) == "Held-out validation task 4 · first"
        line = screen.query_one(ExplorerHeader).render_line(1).text.strip()
        assert line == "Inner rate 0.01 · Best checkpoint, meta-step 1,000"
        assert "standardised loss" in text_of(screen, "#explorer-curve")
        await pilot.press("d")
        await pilot.pause()
        assert len(helper.asked) == 1
        assert "support user-defined tasks" in text_of(screen, "#explorer-problem")
        await pilot.press("full_stop")
        assert helper.asked[-1].keywords["task"] == 5


def test_losses_that_explode_are_not_drawn() -> None:
    result = explored(0)
    wild = replace(result, view=replace(result.view, loss=(2.0, 8.0, 1e30, math.inf, math.nan)))
    (line, _) = loss_curves((wild,), 0, ("red",)).series
    assert [y for _, y in line.points][:2] == [2.0, 8.0]
    assert all(math.isnan(y) for _, y in line.points[2:])
