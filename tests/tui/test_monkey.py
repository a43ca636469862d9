"""Tests of the app with random input from a fixed seed. `python -m tests.monkey` is a longer test with real runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from metatui.config.settings import Settings
from metatui.tui.app import MetatuiApp
from tests.monkey.actor import HEAVY_KEYS, KEYS, Monkey, still_answers
from tests.tui.fakes import FakeSessions, progress, saved_run

Make = Callable[..., MetatuiApp]

ACTIONS = 60


async def test_random_input_while_a_run_trains(
    make: Make, sessions: FakeSessions, runs_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.monkey.actor.HEAVY_KEYS", ["f5"])  # screens that compute have their own tests
    for number in range(3):
        saved_run(runs_dir, Settings(), name=f"maml-sinusoid-2026010{number + 1}-000000")
    monkey, left, step = Monkey(Random(0)), ACTIONS, 0
    while left > 0:
        app = make()
        async with app.run_test(size=(80, 24), notifications=True) as pilot:
            await pilot.press("f5")
            while left > 0 and app.is_running and not app._exit:
                left -= await monkey.act(app, pilot, min(10, left)) or 1
                if sessions.session:
                    sessions.session.emit(*(progress(step + i) for i in range(1, 20)))
                    step += 19
                app.run_controller.update()
            if app.is_running and not app._exit:
                assert await still_answers(app, pilot)
        if sessions.session:
            sessions.session.end()
    assert sum(monkey.done.values()) >= 0.8 * ACTIONS


def test_monkey_uses_all_kinds_of_keys() -> None:
    assert {"f5", "f12", "ctrl+q", "enter", "j"} <= {*KEYS, *HEAVY_KEYS}
