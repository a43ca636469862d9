"""Fixtures that run metatui with an empty home directory."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import pytest

from metatui.runs.storage.store import RunStore
from tests.terminal.checks import SMALL, trainer_pid
from tests.terminal.program import Program

PLAIN = ("--set", "compute.device=cpu", "--set", "compute.engine=batched")
"""Command-line options that select an engine which does not start compiler processes."""

ENDLESS = ("--set", "training.iterations=10000000", "--set", "evaluation.tasks=10", *PLAIN)
"""Command-line options for a run that does not finish during a test."""

Open = Callable[..., Program]


def home_variables(home: Path) -> dict[str, str]:
    """Return environment variables for a user whose home directory is `home`."""
    folders = {f"XDG_{name}_HOME": str(home / name.lower()) for name in ("CONFIG", "DATA", "STATE", "CACHE")}
    return folders | {"METATUI_RUNS": str(home / "runs"), "HOME": str(home)}


def opener(variables: Mapping[str, str]) -> Open:
    """Return a function that starts metatui with the given environment variables."""

    def open_program(*arguments: str, size: tuple[int, int] = SMALL, **more: str) -> Program:
        return Program(*arguments, size=size, env={**variables, **more})

    return open_program


def kill_runs(runs_dir: Path) -> None:
    """Kill the processes that are training runs in `runs_dir`."""
    for run in RunStore(runs_dir).runs():
        with suppress(AssertionError, ProcessLookupError):
            os.kill(trainer_pid(run), signal.SIGKILL)


@pytest.fixture
def runs_dir(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "runs"
    yield folder
    kill_runs(folder)


@pytest.fixture
def home_environment(tmp_path: Path, runs_dir: Path) -> dict[str, str]:
    return home_variables(tmp_path)


@pytest.fixture
def open_program(home_environment: dict[str, str]) -> Open:
    return opener(home_environment)
