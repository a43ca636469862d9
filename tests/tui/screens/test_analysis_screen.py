"""Tests of the base class of the analysis screens, which ends its helper process when it is idle."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

from metatui.tui.screens.analysis_screen import AnalysisScreen
from tests.tui.screens.conftest import ScreenApp
from tests.tui.screens.fake_helper import FakeHelper
from tests.tui.test_helper import counting


class Counter(AnalysisScreen[None]):
    IDLE_SECONDS = 0.01

    results = 0

    def ask(self) -> None:
        self.start_analysis(partial(counting, 0))

    def show_result(self, result: Any) -> None:
        self.results += 1
        if self.results == 1:
            self.ask()


async def test_helper_ends_when_it_is_idle(fake_helper: type[FakeHelper]) -> None:
    screen = Counter()
    async with ScreenApp(screen).run_test() as pilot:
        await pilot.pause()
        screen.ask()
        (helper,) = fake_helper.made
        await helper.reply(pilot, done=True)  # the screen asks again
        longer = asyncio.Event()
        screen.set_timer(3 * screen.IDLE_SECONDS, longer.set)
        await longer.wait()
        assert screen.is_busy
        assert not helper.stopped, "a helper that computes is not idle"
        await helper.reply(pilot, done=True)
        await pilot.app.workers.wait_for_complete()  # the thread that reads replies ends with the helper
        assert helper.stopped
        screen.ask()
        assert len(fake_helper.made) == 2
        assert screen.is_busy
