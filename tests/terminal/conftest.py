"""The program on an empty disk."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from metatui.runs.storage.store import RunStore
from tests.terminal.checks import SMALL, trainer
from tests.terminal.program import Program

ENDLESS = ["--set", "training.iterations=1000000", "--set", "evaluation.tasks=10", "--set", "compute.device=cpu"]
"""A run that is still on whenever a test is done with it."""

Open = Callable[..., Program]


@pytest.fixture
def runs_dir(tmp_path: Path) -> Iterator[Path]:
    """Runs that are still on when the test is over are ended."""
    folder = tmp_path / "runs"
    yield folder
    for run in RunStore(folder).runs():
        with suppress(AssertionError, ProcessLookupError):
            os.kill(trainer(run), signal.SIGKILL)


@pytest.fixture
def disk(tmp_path: Path, runs_dir: Path) -> dict[str, str]:
    """The environment of a person who has nothing yet."""
    folders = {f"XDG_{name}_HOME": str(tmp_path / name.lower()) for name in ("CONFIG", "DATA", "STATE", "CACHE")}
    return folders | {"METATUI_RUNS": str(runs_dir), "HOME": str(tmp_path)}


@pytest.fixture
def open_program(disk: dict[str, str]) -> Open:
    """Opens the program."""

    def opened(*arguments: str, size: tuple[int, int] = SMALL, **variables: str) -> Program:
        return Program(*arguments, size=size, env=disk | variables)

    return opened
