"""Tests of the base class of the analysis screens: the end of its helper process."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from metatui.tui.helper import Reply, Returned
from metatui.tui.screens.analysis_screen import AnalysisScreen
from tests.tui.screens.conftest import ScreenApp
from tests.tui.screens.fake_helper import FakeHelper
from tests.tui.test_helper import counting


class Counter(AnalysisScreen[None]):
    IDLE_SECONDS = 0.01

    results = 0
    reason = ""

    def ask(self) -> None:
        self.start_analysis(partial(counting, 0))

    def show_result(self, result: Any) -> None:
        self.results += 1
        if self.results == 1:
            self.ask()

    def show_failure(self, reason: str) -> None:
        self.reason = reason


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


async def test_a_reply_that_cannot_be_read_fails_any_request(
    fake_helper: type[FakeHelper], monkeypatch: pytest.MonkeyPatch
) -> None:
    read = fake_helper.replies

    def replies(self: FakeHelper) -> Iterator[Reply]:
        for reply in read(self):
            if len(self.asked) == 2:
                raise AttributeError("a class of a plugin")
            yield reply

    monkeypatch.setattr(fake_helper, "replies", replies)
    screen = Counter()
    async with ScreenApp(screen).run_test() as pilot:
        await pilot.pause()
        screen.ask()
        (helper,) = fake_helper.made
        helper._replies.put(Returned(1, True))  # the screen asks again
        while len(helper.asked) < 2:
            await pilot.pause()
        helper._replies.put(Returned(2, True))
        await pilot.app.workers.wait_for_complete()
        await pilot.pause()
        assert "AttributeError" in screen.reason
        assert not screen.is_busy


async def test_a_helper_that_cannot_be_started_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr("metatui.utils.child_process.subprocess.Popen", refuse)
    screen = Counter()
    async with ScreenApp(screen).run_test() as pilot:
        await pilot.pause()
        screen.ask()
        await pilot.pause()
        assert screen.reason == "a process of metatui cannot be started: resource temporarily unavailable"
        assert not screen.is_busy
