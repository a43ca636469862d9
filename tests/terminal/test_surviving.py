"""Tests that runs continue however the app ends, and that the terminal is restored."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from metatui.events import Change
from metatui.runs.execution.control import client
from metatui.runs.storage.run_folder import RunFolder
from tests.metrics import read_all
from tests.readme import ROOT
from tests.terminal.checks import (
    LARGE,
    SMALL,
    assert_nothing_lost,
    assert_usable,
    bytes_written,
    cpu_seconds,
    iterations_of,
    processes_of,
    runs,
    trainer_pid,
    wait_for,
)
from tests.terminal.conftest import ENDLESS, PLAIN, Open, home_variables, kill_runs, opener
from tests.terminal.program import Program, environment
from tests.terminal.screen import ALTERNATE_SCREEN
from tests.terminal.terminal import PATIENCE

pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc")

TRAINING = ("--preset", "quick", *ENDLESS, "--start")

FROZEN_SECONDS = int(os.environ.get("METATUI_FROZEN_SECONDS", "3"))
"""Number of seconds for which the terminal does not read the app's output. Set it to 60 for a full check."""

FINISHED = ROOT / "tests" / "fixtures" / "runs_08307bf" / "finished"


@dataclass(frozen=True)
class SharedRun:
    """A live run that several tests share, because starting it takes longer than each of the tests."""

    run: RunFolder
    open_program: Open

    def attach(self, size: tuple[int, int] = SMALL) -> Program:
        return self.open_program("attach", self.run.id, size=size)

    def assert_alone(self) -> None:
        """Check that only the process that trains the run is left, and that the run makes progress."""
        wait_for(lambda: processes_of(self.run.path.parent) == {trainer_pid(self.run)})
        wait_for_progress(self.run)


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SharedRun]:
    """Start a run in the app, quit the app, and yield the run, which continues in the background."""
    home = tmp_path_factory.mktemp("home")
    open_program = opener(home_variables(home))
    try:
        with open_program(*TRAINING) as program:
            program.see("Running")
            program.see_progress()
            # The app trains in another process, and never loads torch itself.
            assert "libtorch" not in Path(f"/proc/{program.app}/maps").read_text()
            run = only_run(home / "runs")
            program.press("f10")
            program.see("Continue in the background", "Stop, save and quit", "Cancel")
            program.press("enter")
            assert program.wait() == 0
            assert_usable(program)
            assert f"Run {run.id} continues in the background: metatui attach {run.id}" in program.joined_text
        yield SharedRun(run, open_program)
    finally:
        kill_runs(home / "runs")


def only_run(runs_dir: Path) -> RunFolder:
    (run,) = runs(runs_dir)
    return run


def wait_for_progress(run: RunFolder) -> None:
    """Wait until the run has recorded another meta-step."""
    steps = run.metrics()
    while steps.read_new():
        pass
    wait_for(steps.read_new)


def test_quit_keeps_the_run(live: SharedRun) -> None:
    live.assert_alone()


def test_terminal_is_restored_after_sigkill(live: SharedRun) -> None:
    with live.attach() as program:
        program.see("Running")
        assert program.emulator.modes[ALTERNATE_SCREEN]
        killed = program.app
        os.kill(killed, signal.SIGKILL)
        assert program.wait() == 128 + signal.SIGKILL
        assert_usable(program)
        assert "metatui was terminated by SIGKILL" in program.joined_text
        assert f"Run {live.run.id} continues in the background: metatui attach {live.run.id}" in program.joined_text
        log = (live.run.path.parents[1] / "state" / "metatui" / "log" / "metatui.log").read_text()
        line = f"the app, process {killed}, was terminated by SIGKILL, for example because memory ran out\n"
        assert log.endswith(line)
    live.assert_alone()


@pytest.mark.parametrize(("number", "name"), [(signal.SIGABRT, "SIGABRT"), (40, "signal 40")])
def test_terminal_is_restored_without_a_run(open_program: Open, tmp_path: Path, number: int, name: str) -> None:
    with open_program() as program:
        program.see("Settings", "F5 Start")
        assert_small_parent(program)
        os.kill(program.app, number)
        assert program.wait() == 128 + number
        assert_usable(program)
        assert f"metatui was terminated by {name}" in program.joined_text
    if number == signal.SIGABRT:
        log = (tmp_path / "state" / "metatui" / "log" / "metatui.log").read_text()
        assert "Fatal Python error: Aborted" in log
        assert "textual" in log


def test_paused_run_waits_after_a_hang_up_and_finishes(open_program: Open, runs_dir: Path) -> None:
    with open_program(*TRAINING, "--set", "evaluation.test_tasks=10", *PLAIN) as program:
        program.see("Running")
        program.see_progress()
        run = only_run(runs_dir)
        program.press("f6")
        program.see("Paused", "Continue")
        program.hang_up()
        assert program.wait() == 128 + signal.SIGHUP
    assert processes_of(runs_dir) == {trainer_pid(run)}
    before = cpu_seconds(trainer_pid(run))
    time.sleep(2.0)
    assert cpu_seconds(trainer_pid(run)) - before < 1.0  # a busy loop would use two seconds
    last = iterations_of(run, "paused")[-1] + 50
    with closing(client.LiveRun.attach(run)) as viewer:
        viewer.submit(Change("training.iterations", last))
        wait_for(lambda: iterations_of(run, "tweaked"))
    with open_program("attach") as program:
        program.see("Paused", "Continue", run.id)
        program.press("f6")
        program.see("Finished")
    wait_for(lambda: not processes_of(runs_dir))
    assert run.status() == "finished"
    assert iterations_of(run, "finished") == [last]
    assert_nothing_lost(run)


def test_closed_terminal_without_a_signal(live: SharedRun) -> None:
    """Check that the app ends if its input is closed without a signal, as under sudo or in a container."""
    with live.attach() as program:
        program.see("Running")
        app = program.app
        os.kill(program.process.pid, signal.SIGKILL)  # the leader of the terminal's session
        program.process.wait(PATIENCE)
        program.hang_up()
        wait_for(lambda: app not in processes_of(live.run.path.parent))
    live.assert_alone()


def test_frozen_terminal_does_not_slow_the_run(live: SharedRun) -> None:
    """Check that a terminal that stops reading, such as that of a suspended SSH client, does not slow the run."""
    with live.attach(size=(120, 40)) as program:
        program.see("Running")
        steps = live.run.metrics()
        written = -1
        while written != (written := bytes_written(program.app)):
            for _ in range(20):  # each tab takes a few kilobytes
                program.press("ctrl+n")
            time.sleep(2.0)  # in this time, an app that can draw would draw several times
        read_all(steps)
        for _ in range(FROZEN_SECONDS):
            time.sleep(1.0)
            new = read_all(steps)
            assert new
        assert bytes_written(program.app) == written
        program.until(lambda: program.meta_step >= new[-1].iteration, "the current meta-step")
    live.assert_alone()


def test_suspend_resume_and_resize(live: SharedRun) -> None:
    """Check that the app can be suspended, resumed and resized, and that the run keeps training."""
    with live.attach() as program:
        program.see("Running")
        program.see_progress()
        program.press("ctrl+z")
        program.until(lambda: program.stopped, "stopped as a job")
        assert_usable(program)
        wait_for_progress(live.run)
        program.resume()
        program.until(lambda: program.emulator.modes[ALTERNATE_SCREEN], "the app's screen")
        program.see("Running", "F6 Pause", "Settings  Run  Adaptation")
        program.see_progress()
        program.resize(100, 30)
        program.until(lambda: "╭─ Curves" in program.text, "the curves beside the run")
        redraw_at_every_size(program)
        program.hang_up()
        assert program.wait() == 128 + signal.SIGHUP
    live.assert_alone()


def redraw_at_every_size(program: Program) -> None:
    """Resize the terminal to several sizes, and check that the app redraws the whole screen each time."""
    for columns, rows in (LARGE, (60, 20), SMALL):
        program.resize(columns, rows)
        program.until(lambda: program.rows[0].startswith(" metatui   1 Work"), "the top row")
        program.until(lambda: "F6 Pause" in program.keys and "Quit" in program.keys, "the keys")
        if (columns, rows) == LARGE:
            program.until(lambda: any(row.endswith("╯") for row in program.rows[-5:]), "the frames")
            program.see("Run", "Curves", "Journal", "Adaptation", "Meta-loss")
        else:
            program.until(lambda: any("Settings  Run  Adaptation" in row for row in program.rows[2:6]), "the panes")
            program.see_gone("╯")
        program.see_progress()


def test_two_apps_follow_one_run(live: SharedRun) -> None:
    with live.attach() as first, live.open_program("attach", live.run.id[:8], size=(120, 40)) as second:
        first.see("Running")
        second.see("Running")
        second.press("f6")
        first.see("Paused", "Continue")
        second.see("Paused", "Continue")
        first.press("f6")
        second.see("F6 Pause")
        second.see_progress()
        first.see_progress()


def test_killed_run_is_interrupted_everywhere(live: SharedRun) -> None:
    with live.attach() as program:
        program.see("Running")
        with live.open_program(size=(120, 40)) as other:
            other.see(f"{live.run.id} is training in the background", "follow it.")
            other.press("2")
            other.see("● Running")
            os.kill(trainer_pid(live.run), signal.SIGKILL)
            program.until(lambda: "Interrupted" in program.rows[0], "the end of the run")
            other.see_gone("● Running")
            other.see("Interrupted")


def test_attach_needs_a_live_run(home_environment: dict[str, str], open_program: Open, runs_dir: Path) -> None:
    def attach(*arguments: str) -> str:
        command = [sys.executable, "-m", "metatui", "attach", *arguments]
        done = subprocess.run(
            command, env=environment() | home_environment, capture_output=True, text=True, timeout=PATIENCE
        )
        assert done.returncode == 2
        assert done.stdout == ""
        return done.stderr

    assert "is training: 'metatui runs' lists all runs" in attach()
    shutil.copytree(FINISHED, runs_dir / "finished")
    run = only_run(runs_dir)
    file = run.settings_path
    assert attach("--runs-dir", str(file)) == f"metatui: '{file}' is a file, but must be a folder\n"
    assert attach(run.id) == f"metatui: run '{run.id}' is not training: it is finished\n"
    with open_program("attach", run.id) as program:  # in a terminal, where the app is a child process
        assert program.wait() == 2
        assert "is not training: it is finished" in program.joined_text
        assert program.line_settings() == program.line_before


def assert_small_parent(program: Program) -> None:
    """Check that the parent process of the app is small: it has one thread, and PyTorch and Pydantic are not loaded."""
    maps = Path(f"/proc/{program.process.pid}/maps").read_text()
    assert "libtorch" not in maps
    assert "pydantic_core" not in maps
    assert len(list(Path(f"/proc/{program.process.pid}/task").iterdir())) == 1
    assert "libtorch" not in Path(f"/proc/{program.app}/maps").read_text()
