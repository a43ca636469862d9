"""Runs survive whatever becomes of the app, and the terminal survives the app. Each is told by what a person sees."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from metatui.runs.storage.run_folder import RunFolder
from tests.terminal.checks import (
    SMALL,
    assert_nothing_lost,
    assert_usable,
    bytes_written,
    cpu_seconds,
    happened,
    processes_of,
    runs,
    trainer,
    wait_for,
)
from tests.terminal.conftest import ENDLESS, Open
from tests.terminal.program import environment
from tests.terminal.screen import ALTERNATE_SCREEN
from tests.terminal.watching import PATIENCE

pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="looks at processes through /proc")

PLAIN = ("--set", "compute.engine=batched")
"""Without a compiler that works beside the run."""

TRAINING = ("--preset", "quick", *ENDLESS, *PLAIN, "--start")
FROZEN_SECONDS = int(os.environ.get("METATUI_FROZEN_SECONDS", "5"))
"""How long a terminal takes nothing; a minute is what is promised."""

SHORT = ("--preset", "quick", "--set", "training.iterations=4000", "--set", "compute.device=cpu", *PLAIN, "--start")
"""A run of some ten seconds."""


def only_run(runs_dir: Path) -> RunFolder:
    (run,) = runs(runs_dir)
    return run


def trains_on(run: RunFolder) -> None:
    """Wait until the run has come further than it is."""
    steps = run.metrics()
    steps.read_all()
    wait_for(steps.read_new)


def test_quitting_gives_the_shell_back_and_keeps_the_run_going(open_program: Open, runs_dir: Path) -> None:
    with open_program(*TRAINING) as program:
        program.see("Running")
        program.see_progress()
        run = only_run(runs_dir)
        program.press("f10")
        program.see("Continue in the background", "Stop, save and quit", "Cancel")
        program.press("enter")
        assert program.ended() == 0
        assert_usable(program)
        assert f"Run {run.id} continues in the background: metatui attach {run.id}, metatui stop {run.id}" in program.said
    assert processes_of(runs_dir) == {trainer(run)}
    trains_on(run)


@pytest.mark.parametrize(
    ("number", "name"), [(signal.SIGKILL, "SIGKILL"), (signal.SIGABRT, "SIGABRT"), (40, "signal 40")]
)
def test_the_terminal_is_right_after_any_death(open_program: Open, runs_dir: Path, number: int, name: str) -> None:
    with open_program(*TRAINING) as program:
        program.see("Running")
        program.see_progress()
        run = only_run(runs_dir)
        assert program.emulator.modes[ALTERNATE_SCREEN]
        os.kill(program.app, number)
        assert program.ended() == 128 + number
        assert_usable(program)
        assert f"metatui was ended by {name}" in program.said
        assert f"Run {run.id} continues in the background: metatui attach {run.id}, metatui stop {run.id}" in program.said
    assert processes_of(runs_dir) == {trainer(run)}
    trains_on(run)


def test_a_crash_in_native_code_is_in_the_log(open_program: Open, tmp_path: Path) -> None:
    with open_program() as program:
        program.see("Settings", "F5 Start")
        os.kill(program.app, signal.SIGABRT)
        assert program.ended() == 128 + signal.SIGABRT
        assert_usable(program)
    log = (tmp_path / "state" / "metatui" / "log" / "metatui.log").read_text()
    assert "Fatal Python error: Aborted" in log
    assert "textual" in log


def test_a_run_reaches_its_end_after_a_hang_up(open_program: Open, runs_dir: Path) -> None:
    with open_program(*SHORT) as program:
        program.see("Running")
        program.see_progress()
        run = only_run(runs_dir)
        program.hang_up()
        assert program.ended() == 128 + signal.SIGHUP
    assert processes_of(runs_dir) <= {trainer(run)}
    with open_program("attach") as program:
        program.see("Running", run.id)
        program.see_progress()
        program.see("Finished")
    wait_for(lambda: not processes_of(runs_dir))
    assert run.status() == "finished"
    assert happened(run, "finished") == [4000]
    assert_nothing_lost(run)


def test_nothing_spins_after_a_hang_up_and_a_paused_run_waits(open_program: Open, runs_dir: Path) -> None:
    with open_program(*TRAINING) as program:
        program.see("Running")
        program.see_progress()
        run = only_run(runs_dir)
        program.press("f6")
        program.see("Paused", "Go on")
        program.hang_up()
        assert program.ended() == 128 + signal.SIGHUP
    assert processes_of(runs_dir) == {trainer(run)}
    before = cpu_seconds(trainer(run))
    time.sleep(2.0)
    assert cpu_seconds(trainer(run)) - before < 1.0  # one that spins has two
    with open_program("attach", run.id) as program:
        program.see("Paused", "Go on", run.id)
        program.press("f6")
        program.see("F6 Pause")
        program.see_progress()
        program.press("f7")
        program.see("F5 Start", "Stopped")
        program.press("f10")
        assert program.ended() == 0
    assert_nothing_lost(run)
    wait_for(lambda: not processes_of(runs_dir))


def test_a_terminal_that_goes_away_without_a_signal(open_program: Open, runs_dir: Path) -> None:
    """As under sudo or in a container: nobody sends the app a signal, but there are no more keys."""
    with open_program(*TRAINING) as program:
        program.see("Running")
        program.see_progress()
        run = only_run(runs_dir)
        app = program.app
        os.kill(program.process.pid, signal.SIGKILL)  # so that the terminal's session has no leader any more
        program.process.wait(PATIENCE)
        program.hang_up()
        wait_for(lambda: app not in processes_of(runs_dir))
    assert processes_of(runs_dir) == {trainer(run)}


def test_a_terminal_that_takes_nothing_costs_the_run_no_step(open_program: Open, runs_dir: Path) -> None:
    """As where an SSH client is suspended: the app can draw no more, and waits with all that it has to show."""
    with open_program(*TRAINING, size=(120, 40)) as program:
        program.see("Running")
        program.see_progress()
        run = only_run(runs_dir)
        steps = run.metrics()
        written = -1
        while written != (written := bytes_written(program.app)):
            for _ in range(20):  # each tab is some kilobytes
                program.press("ctrl+n")
            time.sleep(3.0)  # an app that is not held up draws several times within that
        steps.read_all()
        for _ in range(FROZEN_SECONDS):
            time.sleep(1.0)
            made = steps.read_all()
            assert made
        assert bytes_written(program.app) == written
        program.until(lambda: program.meta_step >= made[-1].iteration, "where the run has come to")
        program.press("f7")
        program.see("F5 Start", "Stopped")
    assert_nothing_lost(run)


def test_to_the_shell_and_back(open_program: Open, runs_dir: Path) -> None:
    """Ctrl+Z, then fg: the shell waits for the process that it started, and continues that."""
    with open_program(*TRAINING) as program:
        program.see("Running")
        program.see_progress()
        program.press("ctrl+z")
        program.until(lambda: program.stopped, "stopped as a job")
        assert_usable(program)
        trains_on(only_run(runs_dir))
        os.kill(program.process.pid, signal.SIGCONT)
        program.until(lambda: program.emulator.modes[ALTERNATE_SCREEN], "the app's screen")
        program.see("Running", "F6 Pause")
        program.see_progress()
        program.resize(100, 30)
        program.until(lambda: "Settings" in program.text and "Iterations" in program.text, "the form beside the run")


def test_two_watch_one_run(open_program: Open, runs_dir: Path) -> None:
    with open_program(*TRAINING) as first:
        first.see("Running")
        first.see_progress()
        with open_program("attach", only_run(runs_dir).id[:8], size=(120, 40)) as second:
            second.see("Running")
            second.press("f6")
            first.see("Paused", "Go on")
            second.see("Paused", "Go on")
            first.press("f6")
            second.see("F6 Pause")
            second.see_progress()
            first.see_progress()


def test_a_run_that_is_killed_is_interrupted_wherever_it_is_seen(open_program: Open, runs_dir: Path) -> None:
    with open_program(*TRAINING) as program:
        program.see("Running")
        program.see_progress()
        run = only_run(runs_dir)
        with open_program(size=(120, 40)) as other:
            other.see(f"{run.id} is training in the background: press j to follow it.")
            other.press("2")
            other.see("● Running")
            os.kill(trainer(run), signal.SIGKILL)
            program.until(lambda: "Interrupted" in program.rows[0], "what became of it")
            other.see_gone("● Running")
            other.see("Interrupted")


def test_what_is_not_live_cannot_be_attached_to(disk: dict[str, str], open_program: Open, runs_dir: Path) -> None:
    def attach(*arguments: str) -> str:
        command = [sys.executable, "-m", "metatui", "attach", *arguments]
        done = subprocess.run(command, env=environment() | disk, capture_output=True, text=True, timeout=PATIENCE)
        assert done.returncode == 2
        assert done.stdout == ""
        return done.stderr

    assert "is live: metatui runs lists those that are over" in attach()
    with open_program("--preset", "quick", "--set", "training.iterations=20", "--start", size=SMALL) as program:
        program.see("Finished")
    run = only_run(runs_dir)
    assert attach(run.id) == f"metatui: run '{run.id}' is not live: it is finished\n"
    with open_program("attach", run.id) as program:  # from a terminal, where a process is forked off first
        assert program.ended() == 2
        assert "is not live: it is finished" in program.said
        assert program.line_settings() == program.line_before


def test_the_parent_is_small(open_program: Open) -> None:
    with open_program() as program:
        program.see("Settings", "F5 Start")
        maps = Path(f"/proc/{program.process.pid}/maps").read_text()
        assert "libtorch" not in maps
        assert "pydantic_core" not in maps
        assert len(list(Path(f"/proc/{program.process.pid}/task").iterdir())) == 1
        assert "libtorch" not in Path(f"/proc/{program.app}/maps").read_text()


def test_the_app_needs_no_torch_to_train(open_program: Open) -> None:
    with open_program(*TRAINING) as program:
        program.see("Running")
        program.see_progress()
        assert "libtorch" not in Path(f"/proc/{program.app}/maps").read_text()
