"""Tests of the parameter-space screen with artificial adaptation trajectories."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from metatui.config.fields import change
from metatui.config.settings import Settings
from metatui.learning.evaluation.trajectories import AdaptationTrajectories, mean
from metatui.runs.analysis.parameter_space import ParameterSpace, ProjectionProgress, Start
from metatui.runs.storage.run_folder import RunFolder
from metatui.tui.app import MetatuiApp
from metatui.tui.screens.parameter_space import ParameterScreen, charts, sentences
from tests.tui.drawing import wobble
from tests.tui.fakes import saved_run
from tests.tui.screens.conftest import ScreenApp, press_after_reply, text_of
from tests.tui.screens.fake_helper import FakeHelper
from tests.tui.sizes import SIZES

RUN = RunFolder(Path("/runs/maml-sinusoid-20260101-000000"))


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


async def screen_and_helper(
    pilot: Pilot[Any], result: ParameterSpace | None = None
) -> tuple[ParameterScreen, FakeHelper]:
    """Send `result` from the fake helper, if it is given, and return the screen and the helper."""
    await pilot.pause()
    screen, helper = pilot.app.screen, FakeHelper.made[-1]
    assert isinstance(screen, ParameterScreen)
    if result is not None:
        await helper.reply(pilot, done=result)
    return screen, helper


@pytest.mark.usefixtures("fake_helper")
async def test_progress_and_result(make: Callable[[], MetatuiApp], runs_dir: Path) -> None:
    saved_run(runs_dir, Settings(), name=RUN.id, steps=3)
    async with make().run_test(size=(200, 60)) as pilot:
        await pilot.press("2")
        await pilot.app.workers.wait_for_complete()
        await pilot.press("v")
        screen, helper = await screen_and_helper(pilot)
        await helper.reply(pilot, ProjectionProgress(40, 160))
        assert text_of(screen, "ScrollView") == "Adapting from both initialisations: 40 of 160 adaptations."
        await helper.reply(pilot, done=space())
        text = text_of(screen, "ScrollView")
        assert "40 held-out test tasks, 10 inner steps each at α = 0.01, in a space of 1,761 dimensions." in text
        assert "from 3.00 to 0.300" in text
        await pilot.press("escape")
        await pilot.pause()
        assert helper.stopped


@pytest.mark.usefixtures("fake_helper")
async def test_one_chart_at_a_time_in_a_small_terminal() -> None:
    async with ScreenApp(ParameterScreen(RUN)).run_test(size=(80, 24)) as pilot:
        screen, _ = await screen_and_helper(pilot, space())
        both = [screen.query_one(f"#parameters-{name}") for name in ("learned", "ordinary")]
        assert [chart.display for chart in both] == [True, False]
        await pilot.press("n")
        assert [chart.display for chart in both] == [False, True]
        await pilot.resize_terminal(120, 40)
        await pilot.pause()
        assert [chart.display for chart in both] == [True, True]


@pytest.mark.usefixtures("fake_helper")
async def test_failure() -> None:
    async with ScreenApp(ParameterScreen(RUN)).run_test(size=(80, 24)) as pilot:
        screen, helper = await screen_and_helper(pilot)
        await helper.reply(pilot, error="run 'x' has no checkpoint yet")
        assert text_of(screen, "ScrollView") == "Not computed: run 'x' has no checkpoint yet."


def test_charts_share_axes_and_show_every_path() -> None:
    learned, ordinary = charts(space())
    assert (learned.x_limits, learned.y_limits) == (ordinary.x_limits, ordinary.y_limits)
    for chart, start in ((learned, space().learned), (ordinary, space().ordinary)):
        drawn = [series.points for series in chart.series if series.style == "line" and series.points]
        assert drawn == list(start.cloud.paths)


def test_no_loss_per_distance_after_divergence() -> None:
    finite = space()
    lost = replace(
        finite, ordinary=Start("ordinary initialisation", replace(finite.ordinary.cloud, after=(math.nan,) * 40))
    )
    assert math.isnan(mean(lost.ordinary.cloud.after))
    assert not any("unit of distance" in sentence for sentence in sentences(lost))
    scratch = replace(finite, settings=change(Settings(), {"algorithm.name": "scratch"}))
    assert any("both initialisations are the same" in sentence for sentence in sentences(scratch))


def test_rising_loss() -> None:
    base = space()
    worse = replace(base.ordinary.cloud, before=(3.0,) * 40, after=(3.5,) * 40)
    (sentence,) = (s for s in sentences(replace(base, ordinary=Start("", worse))) if "unit of distance" in s)
    assert "loss falls by" in sentence
    assert ", and rises by " in sentence
    assert "-" not in sentence.replace("meta-learned", "")


@pytest.mark.usefixtures("fake_helper")
@pytest.mark.parametrize("size", SIZES)
def test_charts(snap_compare: Callable[..., bool], size: tuple[int, int]) -> None:
    filled = press_after_reply(result=space())
    assert snap_compare(ScreenApp(ParameterScreen(RUN)), terminal_size=size, run_before=filled)


@pytest.mark.usefixtures("fake_helper")
def test_ascii(snap_compare: Callable[..., bool]) -> None:
    assert snap_compare(
        ScreenApp(ParameterScreen(RUN), ascii=True),
        terminal_size=(80, 24),
        run_before=press_after_reply("n", result=space()),
    )
