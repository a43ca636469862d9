"""The explorer's screen: keys ask for another task, and what comes back is stepped through."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from metatui.config.fields import change
from metatui.config.settings import Settings
from metatui.learning.evaluation.custom_tasks import ChosenClasses, Wave
from metatui.runs.analysis.explore import Explored, exploring
from metatui.tui.app import MetatuiApp
from metatui.tui.screens.dialogs.prompt import AskScreen
from metatui.tui.screens.explorer import screen as screens
from metatui.tui.screens.explorer.header import Head
from metatui.tui.screens.explorer.query import STEPS, ExplorerQuery, wave_of
from metatui.tui.screens.explorer.screen import ExplorerPanel, ExplorerScreen
from tests.runs.analysis.comparisons import GLYPHS, train
from tests.tui.drawing import episode, wave
from tests.tui.fakes import saved_run
from tests.tui.helping import FakeHelper

SIZES = [(80, 24), (120, 40), (200, 60)]
Make = Callable[..., MetatuiApp]
Compare = Callable[..., bool]


def explored(number: int, *, task: int = 0, images: bool = False, steps: int = STEPS) -> Explored:
    view = episode(task, steps=steps) if images else wave(task, 0.9 + 0.03 * number, steps=steps)
    return Explored(number, ("MAML", "Reptile")[number], 0.01, 0.01, 5 if images else None, view)


@pytest.fixture
def _fake(monkeypatch: pytest.MonkeyPatch, runs_dir: Path) -> None:
    FakeHelper.made.clear()
    monkeypatch.setattr(screens, "Helper", FakeHelper)
    monkeypatch.setattr("metatui.tui.controllers.run.SAMPLE_EVERY", 3600.0)
    for number in range(2):
        saved_run(runs_dir, Settings(), name=f"maml-sinusoid-2026010{number}-000000", steps=3)


async def opened(pilot: Pilot[Any]) -> tuple[ExplorerScreen, FakeHelper]:
    """Explore both runs."""
    await pilot.press("2")
    await pilot.app.workers.wait_for_complete()
    await pilot.press("space", "down", "space", "a")
    await pilot.pause()
    screen = pilot.app.screen
    assert isinstance(screen, ExplorerScreen)
    return screen, FakeHelper.made[-1]


def head(screen: ExplorerScreen) -> list[str]:
    widget = screen.query_one(Head)
    return [widget.render_line(y).text.strip() for y in range(2)]


@pytest.mark.usefixtures("_fake")
async def test_steps_go_forwards_and_backwards_without_computing(make: Make) -> None:
    app = make()
    async with app.run_test(size=(120, 40)) as pilot:
        screen, helper = await opened(pilot)
        assert [len(call.args[0]) for call in helper.asked] == [2]
        assert head(screen)[0].endswith("adapting…")
        await helper.say(pilot, explored(0), explored(1), done=True)
        panel = screen.query_one(ExplorerPanel)
        assert (panel.shown_step, panel.last_step) == (10, STEPS)
        await pilot.press("right_square_bracket", "right_square_bracket", "left_square_bracket")
        assert panel.shown_step == 11
        await pilot.press("end", "right_square_bracket")
        assert panel.shown_step == STEPS
        await pilot.press("home", "left_square_bracket")
        assert panel.shown_step == 0
        assert len(helper.asked) == 1
        assert head(screen)[0] == "Held-out test task 0"


@pytest.mark.usefixtures("_fake")
async def test_the_newest_request_wins(make: Make) -> None:
    app = make()
    async with app.run_test(size=(120, 40)) as pilot:
        screen, helper = await opened(pilot)
        await helper.say(pilot, explored(0), explored(1), done=True)
        await pilot.press("full_stop", "full_stop", "plus")
        assert [call.keywords["task"] for call in helper.asked] == [0, 1, 2, 2]
        assert helper.asked[-1].keywords["rate"] == 1.25
        await helper.say(pilot, explored(0, task=1), explored(1, task=1), done=True, request=2)
        assert [each.view.task for each in screen.seen] == [0, 0]
        await helper.say(pilot, explored(0, task=2))
        assert [each.view.task for each in screen.seen] == [0, 0], "both runs come at once"
        await helper.say(pilot, explored(1, task=2), done=True)
        assert [each.view.task for each in screen.seen] == [2, 2]


@pytest.mark.usefixtures("_fake")
async def test_a_task_by_its_number(make: Make) -> None:
    app = make()
    async with app.run_test(size=(80, 24)) as pilot:
        screen, helper = await opened(pilot)
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
        assert head(screen)[0].startswith("Held-out test task 417")


@pytest.mark.usefixtures("_fake")
async def test_a_wave_is_drawn_by_keys(make: Make) -> None:
    app = make()
    async with app.run_test(size=(120, 40)) as pilot:
        screen, helper = await opened(pilot)
        await helper.say(pilot, explored(0, task=1), explored(1, task=1), done=True)
        await pilot.press("d")
        assert helper.asked[-1].keywords["drawn"] == Wave(1.7, 0.8), "the one that is seen, to begin with"
        await pilot.press("up", "up", "down", "right")
        assert helper.asked[-1].keywords["drawn"] == Wave(1.8, 0.9)
        assert head(screen)[0].startswith("Drawn: A = 1.80, φ = 0.90")
        await pilot.press(*["left"] * 10)
        assert "beyond what was trained on" in head(screen)[0]
        await pilot.press("d")
        assert helper.asked[-1].keywords["drawn"] is None
        before = len(helper.asked)
        await pilot.press("right", "up")
        assert (screen.step, len(helper.asked)) == (11, before), "without a wave the arrows are steps"


@pytest.mark.usefixtures("_fake")
async def test_classes_are_chosen_and_what_is_wrong_with_them_is_said(make: Make) -> None:
    app = make()
    async with app.run_test(size=(120, 40)) as pilot:
        screen, helper = await opened(pilot)
        await helper.say(pilot, *(explored(n, images=True) for n in (0, 1)), done=True)
        await pilot.press("d")
        await pilot.pause()
        assert isinstance(app.screen, AskScreen)
        app.screen.query_one(Input).value = "Greek"
        await pilot.press("enter")
        await pilot.pause()
        assert helper.asked[-1].keywords["drawn"] == ChosenClasses("Greek")
        await helper.say(pilot, broken="classes are 'Greek', which makes 3, but the run tells 5 apart")
        problem = screen.query_one("#explorer-problem")
        assert "which makes 3" in str(problem.render())
        assert screen.asking.drawn is None
        assert not helper.stopped
        await pilot.press("full_stop")
        await helper.say(pilot, *(explored(n, images=True, task=1) for n in (0, 1)), done=True)
        assert not problem.display


@pytest.mark.usefixtures("_fake")
async def test_closing_ends_the_process(make: Make) -> None:
    app = make()
    async with app.run_test(size=(80, 24)) as pilot:
        _, helper = await opened(pilot)
        await pilot.press("escape")
        await pilot.pause()
        assert helper.stopped
        assert not isinstance(app.screen, ExplorerScreen)


@pytest.mark.usefixtures("_fake")
async def test_there_is_nothing_to_explore_without_a_run(make: Make) -> None:
    app = make()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("escape", "a")
        await pilot.pause()
        assert not isinstance(app.screen, ExplorerScreen)
        assert [n.message for n in app._notifications][-1].startswith("No run is open")


@pytest.mark.parametrize(("amplitude", "phase"), [(0.1, 0.0), (4.93, 3.1), (2.0, 1.57)])
def test_the_wave_of_a_view_is_found(amplitude: float, phase: float) -> None:
    view = wave(0, 0.5)
    truth = tuple(amplitude * math.sin(x - phase) for x in view.grid)
    found = wave_of(view.__class__(**{**vars(view), "truth": truth}))
    assert (found.amplitude, found.phase) == pytest.approx((amplitude, phase), abs=0.006)


def test_a_wave_cannot_be_bent_out_of_its_limits() -> None:
    asking = ExplorerQuery(drawn=Wave(9.9, 6.2))
    for _ in range(5):
        asking = asking.bent(1, 1)
    assert asking.drawn == Wave(10.0, 6.28)
    for _ in range(300):
        asking = asking.bent(-1, -1)
    assert asking.drawn == Wave(0.1, -3.14)


def test_real_runs_are_explored_and_stay_as_they_were(runs_dir: Path) -> None:
    runs = [train(runs_dir, change(GLYPHS, {"algorithm.name": name})) for name in ("fomaml", "scratch")]
    before = {file: file.read_bytes() for run in runs for file in run.path.rglob("*") if file.is_file()}
    found = list(exploring(runs, task=5, steps=12, rate=2.0))
    assert [(each.number, len(each.view.loss)) for each in found] == [(0, 11), (1, 11), (0, 13), (1, 13)]
    assert found[0].view.loss == found[2].view.loss[:11]
    assert {each.label for each in found} == {"FOMAML", "scratch"}
    assert all(each.inner_lr == 2 * each.own_lr for each in found)
    assert len({each.view.title for each in found}) == 1, "the same task for all"
    assert {file: file.read_bytes() for run in runs for file in run.path.rglob("*") if file.is_file()} == before


async def test_a_real_helper_answers(make: Make, runs_dir: Path) -> None:
    runs = [train(runs_dir)]
    app = make()
    async with app.run_test(size=(80, 24)) as pilot:
        screen = ExplorerScreen(runs)
        await app.push_screen(screen)
        while screen._request:
            await pilot.pause(0.02)
        assert len(screen.seen[0].view.loss) == STEPS + 1
        helper = screen._helper
        assert helper is not None
        await pilot.press("escape")
    await asyncio.to_thread(helper._child.wait, 10)


def seen(images: bool, *keys: str) -> Callable[[Pilot[Any]], Awaitable[None]]:
    async def run(pilot: Pilot[Any]) -> None:
        _, helper = await opened(pilot)
        await helper.say(pilot, explored(0, images=images), explored(1, images=images), done=True)
        pilot.app.clear_notifications()
        await pilot.press(*keys)
        await pilot.pause()

    return run


@pytest.mark.usefixtures("_fake")
@pytest.mark.parametrize("images", [False, True], ids=["sinusoid", "images"])
@pytest.mark.parametrize("size", SIZES)
def test_two_runs(make: Make, snap_compare: Compare, size: tuple[int, int], images: bool) -> None:
    assert snap_compare(make(), terminal_size=size, run_before=seen(images))


@pytest.mark.usefixtures("_fake")
def test_ascii(make: Make, snap_compare: Compare) -> None:
    assert snap_compare(make(ascii=True), terminal_size=(120, 40), run_before=seen(False, "d", "up"))
