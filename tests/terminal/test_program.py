"""Tests of the whole program in a pseudo-terminal, including the runs and the terminal state that it leaves behind."""

from __future__ import annotations

import os
import signal
import termios
from collections import Counter
from pathlib import Path

import pytest

from metatui.config import presets
from metatui.config.fields import change
from metatui.runs.storage.run_folder import RunFolder
from metatui.tui.terminal.cursor_query import QUESTION
from tests.terminal.checks import LARGE, SMALL, assert_nothing_lost, assert_usable, iterations_of, runs
from tests.terminal.conftest import ENDLESS, Open
from tests.terminal.first_session import INNER_LR, PRESET, first_session
from tests.terminal.program import Program
from tests.terminal.screen import ALTERNATE_SCREEN


def test_typical_session(open_program: Open, runs_dir: Path, tmp_path: Path) -> None:
    """Check a session that starts, changes, pauses, validates and stops a run, and repeats it from a saved preset."""
    with open_program(size=SMALL) as program:
        for step in first_session(program, iterations=100_000, watched=110, marked=range(2)):
            assert program.line_settings()[3] & termios.ECHO == 0, step
            if step == "02-form":
                assert not runs_dir.exists()
            if step == "07-evaluated":
                program.until(lambda: requested_validations(runs(runs_dir)[0]), "the evaluation in the journal")
        assert program.wait() == 0
        assert_usable(program)

    first, second = runs(runs_dir)
    quick = presets.load("quick").settings
    started_with = first.settings()
    assert started_with == change(quick, {"training.iterations": 100_000})
    (tweak,) = [entry for entry in first.journal() if entry.event == "tweaked"]
    assert tweak.iteration >= 110
    assert (tweak.details["path"], tweak.details["old"], tweak.details["new"]) == (
        "algorithm.inner_lr", 0.01, float(INNER_LR),
    )  # fmt: skip
    (paused,), (resumed,), (stopped,) = (iterations_of(first, event) for event in ("paused", "resumed", "stopped"))
    assert tweak.iteration <= paused == resumed <= requested_validations(first)[0] <= stopped
    assert first.status() == second.status() == "stopped"

    saved = presets.read(tmp_path / "config" / "metatui" / "presets" / f"{PRESET}.toml")
    assert saved.settings == change(started_with, {"algorithm.inner_lr": float(INNER_LR)})
    assert second.settings() == saved.settings
    assert second.journal()[0].details["preset"] == PRESET
    for run in (first, second):
        assert_nothing_lost(run)


def test_ascii_until_sigterm(open_program: Open, runs_dir: Path) -> None:
    """Check that `--ascii` prints only ASCII, and that the quit key asks for confirmation but SIGTERM does not."""
    with open_program("--preset", "quick", "--ascii", *ENDLESS, "--start", size=LARGE) as program:
        program.see("Running", "Validation: loss")
        look_around(program)
        program.press("f10")
        program.see("Continue in the background")
        program.press("c")
        program.see_gone("Continue in the background")
        program.see_progress()
        os.kill(program.process.pid, signal.SIGTERM)
        assert program.wait() == 128 + signal.SIGTERM
        assert_usable(program)
        (run,) = runs(runs_dir)
        assert f"Run {run.id} continues in the background: metatui attach {run.id}" in program.joined_text
        assert program.emulator.plain_bytes.isascii()
        assert run.status() == "running"


@pytest.mark.parametrize(
    "variables",
    [{"TERM": "vt100"}, {"LC_ALL": "C"}],
    ids=["vt100", "C"],
)
def test_terminals_without_unicode(open_program: Open, variables: dict[str, str]) -> None:
    with open_program(**variables) as program:
        look_around(program)
        program.press("f10")
        assert program.wait() == 0
        assert_usable(program)
        assert program.emulator.plain_bytes.isascii()


def test_a_terminal_that_cannot_move_the_cursor_is_refused(open_program: Open) -> None:
    with open_program(TERM="dumb") as program:
        assert program.wait() == 2
        assert "this terminal (TERM=dumb) cannot move the cursor" in program.joined_text
        assert b"\x1b[?1049h" not in program.emulator.sent, "the alternate screen"


def test_keys_typed_before_the_app_starts(open_program: Open) -> None:
    with open_program() as program:
        program.press("enter")
        program.see("omniglot")  # enter opens the list of tasks
        program.press("escape")
        program.press("f10")
        assert program.wait() == 0


def test_keys_typed_before_the_terminal_replies(open_program: Open) -> None:
    with open_program(TERM="dumb") as program:
        program.press("2")
        program.until(lambda: QUESTION in program.emulator.sent, "the query")
        program.press("1")
        program.press("2")
        program.send(b"\x1b[1;1R")
        program.see("No runs yet")
        program.press("f10")
        assert program.wait() == 0


def test_the_screen_is_drawn_again_after_a_suspension(open_program: Open) -> None:
    with open_program() as program:
        program.see("form: ", "Algorithm details", "F5 Start", "T starts a tour")
        rows = program.rows
        program.press("ctrl+z")
        program.until(lambda: program.stopped, "stopped as a job")
        os.kill(program.process.pid, signal.SIGCONT)
        program.until(lambda: program.emulator.modes[ALTERNATE_SCREEN], "the app's screen, which is blank at first")
        program.until(lambda: program.rows == rows, "the same screen")
        program.press("f10")
        assert program.wait() == 0


def test_no_color(open_program: Open) -> None:
    with open_program(NO_COLOR="1") as program:
        look_around(program)
        program.press("f10")
        assert program.wait() == 0
        colours = program.emulator.colours
        assert colours
        assert all(red == green == blue for red, green, blue in colours)


def look_around(program: Program) -> None:
    """Open the help from the command palette, then the dialog that saves a preset, then each tab."""
    program.see("form: ")
    program.press("ctrl+p")
    program.see("An action, a preset")
    program.type("help")
    program.see("Window: Help")
    program.press("enter")
    program.see("Press / to search")
    program.press("escape")
    program.see_gone("Press / to search")
    program.press("f2")
    program.see("Test protocol")
    program.press("escape")
    program.see_gone("Test protocol")
    program.press("ctrl+n")
    program.until(lambda: "Filter" in program.keys or "No runs yet" in program.text, "the runs")
    program.press("ctrl+n")
    program.see("Protocol:")
    program.press("ctrl+n")
    program.see("form: ")


def requested_validations(run: RunFolder) -> list[int]:
    """Return the meta-steps of the validations that the user requested."""
    every = run.settings().evaluation.every
    steps = Counter(iterations_of(run, "evaluated"))
    return sorted((steps - Counter({step: 1 for step in steps if step % every == 0})).elements())
