"""Tests of commands whose output cannot be written."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from metatui.config.settings import Settings
from metatui.runs.storage.run_folder import RunFolder
from metatui.runs.storage.store import RunStore
from tests.runs.execution.test_signals import options
from tests.terminal.checks import assert_nothing_lost
from tests.terminal.program import METATUI, Program

FULL = Path("/dev/full")

on_linux = pytest.mark.skipif(not FULL.exists(), reason="requires a device that is always full")


@pytest.fixture(autouse=True)
def own_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("METATUI_RUNS", str(tmp_path / "runs"))


def only_run() -> RunFolder:
    (run,) = RunStore().runs()
    return run


def metatui(*arguments: str, stdout: int, stderr: int) -> int:
    return subprocess.run([*METATUI, *arguments], stdout=stdout, stderr=stderr).returncode


@on_linux
def test_full_log_disk_does_not_end_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Check that a run finishes with exit code 0 although the disk for its log is full.

    At exit, Python tries again to write buffered output. This second failure must not change the exit code either.
    """
    monkeypatch.setenv("PYTHONUNBUFFERED", "")
    with_note = options(algorithm__name="reptile")
    with FULL.open("w") as full:
        assert metatui("run", *with_note, stdout=subprocess.DEVNULL, stderr=full.fileno()) == 0
    assert only_run().status() == "finished"


def test_closed_pipe_does_not_end_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONUNBUFFERED", "1")
    reader, writer = os.pipe()
    os.close(reader)
    assert metatui("run", *options(), stdout=subprocess.DEVNULL, stderr=writer) == 0
    os.close(writer)
    assert only_run().status() == "finished"


def test_lost_terminal_saves_the_run() -> None:
    """Close the terminal of a run, so that the process receives SIGHUP and cannot write to the terminal."""
    with Program(
        "run", *options(training__iterations="100000000"), env={"METATUI_RUNS": os.environ["METATUI_RUNS"]}
    ) as program:
        program.see("meta-loss")
        program.hang_up()
        assert program.wait() == 128 + signal.SIGHUP
    run = only_run()
    assert run.journal()[-1].event == "interrupted"
    assert_nothing_lost(run)


@on_linux
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    "arguments",
    ["--help", "--version", "runs --help", "settings", "settings --json", "presets path", "plugin model",
     "runs export latest"],
)  # fmt: skip
def test_full_output_disk_is_reported(unbuffered: str, arguments: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    RunStore().create(Settings())
    with FULL.open("w") as full:
        done = subprocess.run([*METATUI, *arguments.split()], stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1
    assert done.stderr == "metatui: standard output cannot be written: no space left on device\n"


def test_closed_output_is_ignored() -> None:
    RunStore().create(Settings())
    command = [*METATUI, "runs", "export", "latest"]
    done = subprocess.run(["sh", "-c", 'exec "$@" >&-', "sh", *command], stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (0, "")
