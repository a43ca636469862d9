"""Tests of the app with random input from a fixed seed. `python -m tests.monkey` is a longer test with real runs."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from metatui.config.fields import change
from metatui.config.settings import Settings
from metatui.runs.execution.session import Session
from metatui.runs.storage.run_folder import RunFolder
from metatui.tui.app import MetatuiApp
from tests.monkey.actor import HEAVY_KEYS, KEYS, Monkey, still_answers
from tests.monkey.runs import small, wrong_with
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


def test_damaged_runs_are_noticed(tmp_path: Path) -> None:
    def run(name: str) -> RunFolder:
        return RunFolder(shutil.copytree(whole.path, tmp_path / "copies" / name))

    session = Session.start(change(small(), {"training.iterations": 3}), runs_dir=tmp_path / "runs")
    whole = session.run
    for _ in session:
        pass
    assert wrong_with(tmp_path / "runs") == []
    ended = [entry for entry in whole.journal_path.read_bytes().splitlines(keepends=True) if b"finished" not in entry]
    run("died").journal_path.write_bytes(b"".join(ended))
    run("crashed").crash_path.write_text("Traceback")
    lines = whole.metrics_path.read_bytes().splitlines(keepends=True)
    run("gap").metrics_path.write_bytes(b"".join([lines[0], *lines[2:]]))
    run("short").metrics_path.write_bytes(b"".join(lines[:-1]))
    run("damaged").checkpoints_path.joinpath("last.safetensors").write_bytes(b"half")
    found = dict(line.split(": ", 1) for line in reversed(wrong_with(tmp_path / "copies")))
    assert found["died"] == "its process was killed or crashed"
    assert found["crashed"] == "it crashed"
    assert found["gap"] == "its meta-steps are not consecutive"
    assert found["short"] == "its checkpoint is of meta-step 3, but its metrics go to 2"
    assert "last.safetensors' is not an intact checkpoint" in found["damaged"]


def test_monkey_uses_all_kinds_of_keys() -> None:
    assert {"f5", "f12", "ctrl+q", "enter", "j"} <= {*KEYS, *HEAVY_KEYS}
