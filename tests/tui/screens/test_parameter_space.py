"""The parameter-space screen, fed with made-up clouds."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from metatui.config.fields import change
from metatui.config.settings import Settings
from metatui.learning.evaluation.trajectories import AdaptationTrajectories, mean
from metatui.runs.analysis.parameter_space import ParameterSpace, ProjectionProgress, Start
from metatui.tui.app import MetatuiApp
from metatui.tui.screens.parameter_space import screen as screens
from metatui.tui.screens.parameter_space.pictures import pictures, sentences
from metatui.tui.screens.parameter_space.screen import ParameterScreen
from tests.runs.analysis.comparisons import train
from tests.tui.drawing import wobble
from tests.tui.fakes import saved_run
from tests.tui.helping import FakeHelper

SIZES = [(80, 24), (120, 40), (200, 60)]
Make = Callable[..., MetatuiApp]
Compare = Callable[..., bool]


def cloud(reach: float, turn: float, gain: float, tasks: int = 40, steps: int = 10) -> AdaptationTrajectories:
    paths = []
    for task in range(tasks):
        angle, far = turn + 2 * math.pi * task / tasks, reach * (1 + wobble(task)) / 2
        paths.append(tuple(
            (far * (at / steps) * math.cos(angle + at / 20), 0.5 * far * (at / steps) * math.sin(angle + at / 20))
            for at in range(steps + 1)
        ))  # fmt: skip
    ends = tuple(1.2 * math.hypot(*path[-1]) for path in paths)
    return AdaptationTrajectories(tuple(paths), (0.61, 0.22), ends, (3.0,) * tasks, (3.0 - gain,) * tasks, 1761)


def space() -> ParameterSpace:
    learned, ordinary = Start("MAML", cloud(0.5, 0.3, 2.7)), Start("ordinary initialisation", cloud(1.4, 1.0, 0.6))
    return ParameterSpace(Settings(), 5000, 40, 10, learned, ordinary)


@pytest.fixture
def _fake(monkeypatch: pytest.MonkeyPatch, runs_dir: Path) -> None:
    FakeHelper.made.clear()
    monkeypatch.setattr(screens, "Helper", FakeHelper)
    monkeypatch.setattr("metatui.tui.controllers.run.SAMPLE_EVERY", 3600.0)
    saved_run(runs_dir, Settings(), name="maml-sinusoid-20260101-000000", steps=3)


async def opened(pilot: Pilot[Any]) -> tuple[ParameterScreen, FakeHelper]:
    await pilot.press("2")
    await pilot.app.workers.wait_for_complete()
    await pilot.press("v")
    await pilot.pause()
    screen = pilot.app.screen
    assert isinstance(screen, ParameterScreen)
    return screen, FakeHelper.made[-1]


def said(screen: ParameterScreen) -> str:
    sheet = screen.query_one("ScrollView")
    return " ".join(" ".join(sheet.render_line(y).text for y in range(sheet.size.height)).split())


@pytest.mark.usefixtures("_fake")
async def test_it_says_how_far_it_is_and_what_is_seen(make: Make) -> None:
    app = make()
    async with app.run_test(size=(200, 60)) as pilot:
        screen, helper = await opened(pilot)
        await helper.say(pilot, ProjectionProgress(40, 160))
        assert said(screen) == "Adapting from both initialisations: 40 of 160 adaptations."
        await helper.say(pilot, done=space())
        assert "40 held-out test tasks, 10 inner steps each at α = 0.01, in a space of 1,761 dimensions." in said(
            screen
        )
        assert "from 3.00 to 0.300" in said(screen)
        await pilot.press("escape")
        await pilot.pause()
        assert helper.stopped


@pytest.mark.usefixtures("_fake")
async def test_one_picture_at_a_time_where_room_is_short(make: Make) -> None:
    app = make()
    async with app.run_test(size=(80, 24)) as pilot:
        screen, helper = await opened(pilot)
        await helper.say(pilot, done=space())
        charts = [screen.query_one(f"#parameters-{name}") for name in ("learned", "ordinary")]
        assert [chart.display for chart in charts] == [True, False]
        await pilot.press("n")
        assert [chart.display for chart in charts] == [False, True]
        await pilot.resize_terminal(120, 40)
        await pilot.pause()
        assert [chart.display for chart in charts] == [True, True]


@pytest.mark.usefixtures("_fake")
async def test_why_there_is_no_picture_is_said(make: Make) -> None:
    app = make()
    async with app.run_test(size=(80, 24)) as pilot:
        screen, helper = await opened(pilot)
        await helper.say(pilot, broken="run 'x' has no checkpoint yet")
        assert said(screen) == "Not computed: run 'x' has no checkpoint yet."


async def test_a_real_helper_answers(make: Make, runs_dir: Path) -> None:
    run = train(runs_dir)
    app = make()
    async with app.run_test(size=(80, 24)) as pilot:
        screen = ParameterScreen(run)
        await app.push_screen(screen)
        while screen._request:
            await pilot.pause(0.02)
        assert screen.space is not None
        assert len(screen.space.learned.cloud.paths) == 40
        await pilot.press("escape")
    await asyncio.to_thread(screen._helper._child.wait, 10)


def test_both_pictures_have_the_same_axes_and_every_path() -> None:
    learned, ordinary = pictures(space())
    assert (learned.x_limits, learned.y_limits) == (ordinary.x_limits, ordinary.y_limits)
    for picture, start in ((learned, space().learned), (ordinary, space().ordinary)):
        drawn = [series.points for series in picture.series if series.style == "line" and series.points]
        assert drawn == list(start.cloud.paths)


def test_a_start_that_loses_says_nothing_of_a_gain_that_is_not_finite() -> None:
    found = space()
    lost = replace(
        found, ordinary=Start("ordinary initialisation", replace(found.ordinary.cloud, after=(math.nan,) * 40))
    )
    assert math.isnan(mean(lost.ordinary.cloud.after))
    assert not any("unit of distance" in sentence for sentence in sentences(lost))
    scratch = replace(found, settings=change(Settings(), {"algorithm.name": "scratch"}))
    assert any("both are the same" in sentence for sentence in sentences(scratch))


def test_a_start_from_which_the_loss_rises_is_said_to_do_so() -> None:
    found = space()
    worse = replace(found.ordinary.cloud, before=(3.0,) * 40, after=(3.5,) * 40)
    (said,) = (s for s in sentences(replace(found, ordinary=Start("", worse))) if "unit of distance" in s)
    assert "loss falls by" in said
    assert ", and rises by " in said
    assert "-" not in said.replace("meta-learned", "")


def drawn(*keys: str) -> Callable[[Pilot[Any]], Awaitable[None]]:
    async def run(pilot: Pilot[Any]) -> None:
        _, helper = await opened(pilot)
        await helper.say(pilot, done=space())
        await pilot.press(*keys)
        await pilot.pause()

    return run


@pytest.mark.usefixtures("_fake")
@pytest.mark.parametrize("size", SIZES)
def test_clouds(make: Make, snap_compare: Compare, size: tuple[int, int]) -> None:
    assert snap_compare(make(), terminal_size=size, run_before=drawn())


@pytest.mark.usefixtures("_fake")
def test_ascii(make: Make, snap_compare: Compare) -> None:
    assert snap_compare(make(ascii=True), terminal_size=(80, 24), run_before=drawn("n"))
