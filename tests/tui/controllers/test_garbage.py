"""Tests of the times at which the app collects garbage."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable, Iterator

import pytest

from metatui.tui.app import MetatuiApp
from metatui.tui.controllers import garbage

Make = Callable[..., MetatuiApp]


@pytest.fixture(autouse=True)
def saved_state() -> Iterator[None]:
    thresholds = gc.get_threshold()
    yield
    gc.set_threshold(*thresholds)
    gc.enable()


@pytest.fixture
def collected() -> Iterator[list[int]]:
    """Yield a list to which each garbage collection appends the number of its generation."""
    generations: list[int] = []

    def record(phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            generations.append(info["generation"])

    gc.callbacks.append(record)
    yield generations
    gc.callbacks.remove(record)


async def test_garbage_is_collected_after_the_start(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    app, checked = make(), asyncio.Event()
    monkeypatch.setattr(garbage, "CHECK_SECONDS", 0.001)
    monkeypatch.setattr(app.garbage, "collect_in_pause", checked.set)
    async with app.run_test():
        gc.disable()  # as the command line does
        frozen = gc.get_freeze_count()
        await app.finish_start()
        assert gc.isenabled()
        assert gc.get_threshold() == garbage.THRESHOLDS
        assert gc.get_freeze_count() > frozen, "existing objects are not collected"
        await checked.wait()


async def test_garbage_is_collected_in_pauses(make: Make, collected: list[int]) -> None:
    app = make()
    gc.collect()
    gc.disable()
    collected.clear()

    def check(pause: float) -> list[int]:
        app.last_input = time.monotonic() - pause
        app.garbage.collect_in_pause()
        return collected

    new: list[list[int]] = [[] for _ in range(garbage.NEW_OBJECTS // 2)]
    assert check(garbage.PAUSE_SECONDS) == []
    new += [[] for _ in range(garbage.NEW_OBJECTS)]
    assert check(garbage.PAUSE_SECONDS / 2) == []
    for number in range(garbage.NEW_COLLECTIONS):
        assert check(garbage.PAUSE_SECONDS) == [1] * (number + 1)
        new += [[] for _ in range(garbage.NEW_OBJECTS)]
    assert check(garbage.IDLE_SECONDS)[garbage.NEW_COLLECTIONS :] == [2]
    assert check(garbage.IDLE_SECONDS)[garbage.NEW_COLLECTIONS + 1 :] == []
