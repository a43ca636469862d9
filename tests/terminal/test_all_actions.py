"""Tests that, together with the first session, perform every action by its key in a pseudo-terminal."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from metatui.config.fields import change
from metatui.config.settings import Settings
from metatui.runs.storage.result_files import AdaptationRecord, write_record
from metatui.runs.storage.run_folder import RunFolder
from metatui.tui.colors.themes import LIGHT
from metatui.tui.keyboard.actions import BY_ID
from tests.readme import ROOT
from tests.terminal.checks import assert_nothing_lost, assert_usable, processes_of, wait_for
from tests.terminal.conftest import Open
from tests.terminal.dry_run import DryRunProgram
from tests.terminal.first_session import first_session
from tests.terminal.program import Program
from tests.terminal.screen import ALTERNATE_SCREEN
from tests.terminal.terminal import Terminal
from tests.tui.drawing import episode, several_shots
from tests.tui.fakes import saved_run

needs_proc = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc")

SEVERAL_PANES = (120, 40)
"""Size (columns, rows) of a terminal in which all panes of a run are visible."""

FIXTURES = ROOT / "tests" / "fixtures" / "runs_08307bf"
GLYPHS = change(Settings(), {"task.source": "glyphs", "task.shots": 12})

EPISODES = "maml-glyphs-20260101-000000"
"""Id of a finished run with three held-out image tasks. Each has more support images than fit on the screen."""
FINISHED, COPY = "maml-waves-20260102-000000", "maml-waves-20260103-000000"
"""Ids of a finished run that has a checkpoint, and of a copy of this run."""
INTERRUPTED = "maml-waves-20260104-000000"
"""Id of an interrupted run that has a checkpoint."""
PRESET = "my-characters"
"""Name of a preset that the user saved and whose data set is not on this machine."""


def look_at_run(at: Program) -> None:
    """Open a finished run, and change what the curves pane and the adaptation pane show."""
    at.see("F5 Start", "no run is shown")
    at.act("next_tab", EPISODES)
    at.act("open_run", "Meta-loss", f"{EPISODES} (finished)")
    at.act("log_scale", "Loss, log scale")
    at.act("smoothing", "log scale, smoothed 0.6")
    at.act("against", "seconds of training")
    at.act("metric", "Accuracy (%)", gone="log scale")
    at.act("cursor", "seconds of training: ")
    close(at, "seconds of training: ")
    at.act("step_back", "step 4 of 5", "→ 70.0 %")
    at.act("step_on", "step 5 of 5", "→ 80.0 %")
    at.act("next_shots", gone="(support 1-")
    at.see(" of 12: k shows more)")
    at.act("next_tasks", "Task 1 ", "task 1 of 0-2")
    at.act("previous_tasks", "Task 0 ", "task 0 of 0-2")


def arrange_panes(at: Program) -> None:
    """Resize, select, show, hide and maximise the panes of a run."""
    resize(at, "wider", "Curves", right=4)
    resize(at, "narrower", "Curves", right=-4)
    resize(at, "higher", "Journal", down=2)
    resize(at, "lower", "Journal", down=-2)
    resize(at, "lower", "Journal", down=-2)
    resize(at, "usual_sizes", "Journal", down=2)
    at.act("previous_pane", "╭─ Settings", "Task: ")
    at.act("next_pane", gone="Task: ")
    at.act("form", "Task: ")
    at.act("form", gone="╭─ Settings")
    at.act("maximize", gone="╭─ Journal")
    at.act("leave", "╭─ Journal")


def resize(at: Terminal, action: str, pane: str, *, right: int = 0, down: int = 0) -> None:
    """Perform an action, and wait until it has moved the upper left corner of `pane` by the given numbers of cells."""
    row, column = corner(at, pane)
    at.act(action)
    at.until(lambda: corner(at, pane) == (row + down, column + right), f"{pane} moved {right} right and {down} down")


def corner(at: Terminal, pane: str) -> tuple[int, int]:
    """Return the row and column of the upper left corner of a pane, or (0, 0) if the pane is not visible."""
    frame = f"╭─ {pane}"
    return next(((number, row.index(frame)) for number, row in enumerate(at.rows) if frame in row), (0, 0))


def fill_in_usual_values(at: Program) -> None:
    """Select another algorithm in the form, fill in its usual values, and restore the previous values."""
    at.act("form", "╭─ Settings")
    at.tab_to("Algorithm")
    at.press("enter")
    at.type("reptile")
    at.press("enter")
    at.see("Reptile usually uses")
    at.press("tab")
    at.see("Inner learning rate: ")
    at.act("leave", gone="Inner learning rate: ")
    at.act("hint", "The usual values of Reptile", gone="Reptile usually uses")
    at.act("undo", "Reptile usually uses", gone="The usual values of Reptile")


def open_screens(at: Program) -> None:
    """Open and close the screens that do not require a run, change the theme, and suspend and resume the app."""
    at.act("explain", "Pseudo-code, with these settings")
    close(at, "Pseudo-code")
    at.act("suites", "Suites: lists of runs")
    close(at, "Suites: lists of runs")
    at.act("command_palette", "An action, a preset")
    close(at, "An action, a preset")
    at.act("benchmark", "Measure the speed of every engine?")
    at.press("y")
    at.see("Measuring ", "escape stops it")
    close(at, "escape stops it")
    at.act("tour", "Tour, step 1 of 8")
    close(at, "Tour, step 1 of 8")
    at.until(lambda: not is_light(at), "a dark theme")
    at.act("theme")
    at.until(lambda: is_light(at), "a light theme")
    at.act("suspend")
    at.until(lambda: at.stopped and not at.emulator.modes[ALTERNATE_SCREEN], "stopped, and the terminal restored")
    at.resume()
    at.until(lambda: at.emulator.modes[ALTERNATE_SCREEN], "the app's screen")
    at.act("help", "Press / to search")
    close(at, "Press / to search")


def close(at: Terminal, text: str) -> None:
    """Press Escape, and wait until `text` has disappeared from the screen."""
    at.press("escape")
    at.see_gone(text)


def is_light(program: Program) -> bool:
    """Return whether the background of the second row of the screen is light."""
    return int(program.emulator.screen.buffer[1][0].bg, 16) > 0x808080


def study_runs(at: Program) -> None:
    """Filter, sort and mark the runs in the list, and open the screens that analyse runs."""
    at.see("F5 Start")
    at.act("tab_runs", FINISHED, COPY, INTERRUPTED, "Status")
    at.act("filter", "Words that a run must contain")
    at.type("interrupted")
    at.see("interrupted")
    at.see_gone(FINISHED)
    at.press("enter")
    at.act("leave", FINISHED, gone="interrupted")
    at.act("preview_run", gone="Status")
    at.act("preview_run", "Status")
    at.act("sort_runs", "Run ▲")
    at.until(lambda: FINISHED in at.rows[2], "the first name in the first row")
    at.act("reverse_runs", "Run ▼", gone="Run ▲")
    at.until(lambda: INTERRUPTED in at.rows[2], "the last name in the first row")
    at.act("mark_all_runs", "[1]", "[2]", "[3]", "3 of at most 3")
    at.act("compare_runs", "Comparing 3 runs", "1 Training  2 Adaptation")
    close(at, "Comparing 3 runs")
    at.act("mark_all_runs", gone="[1]")
    at.act("report_runs", "One page on run")
    at.press("enter")
    at.see("The report is in")
    at.act("explore", "Held-out test task 0", "Inner rate")
    close(at, "Inner rate")
    at.act("parameters", "Parameter space of", "Loading torch")
    close(at, "Parameter space of")


def tidy_up(at: Program) -> None:
    """Load the settings of a run, delete the run, start downloading the data set of a preset, and delete the preset."""
    at.act("load_run", f"{INTERRUPTED} without later changes is in the form")
    at.act("tab_runs", "Status")
    at.act("delete_run", f"Delete run {INTERRUPTED}")
    at.press("y")
    at.see_gone(f"[ ]  {INTERRUPTED}")
    at.act("tab_presets", "Protocol:")
    at.act("filter_presets", "Words that a preset must contain")
    at.type("omniglot")
    at.see_gone("Quick start")
    at.act("leave", "Glyphs, 5-way")
    at.act("preview_preset", gone="10, test 5")
    at.act("preview_preset", "10, test 5")
    at.press("ctrl+end")
    at.see(PRESET)
    at.act("fetch_data", "Download Omniglot and pack it?")
    at.press("y")
    at.see("Downloading Omniglot")
    at.act("delete_preset", f"Delete your preset {PRESET}?")
    at.press("y")
    at.see_gone(PRESET)
    at.act("tab_work", "form: run")


def train(at: Program) -> None:
    """Resume a run, save a checkpoint, undo a live change, detach from the run, attach again, and stop the run."""
    at.see("F5 Start")
    at.act("tab_runs", INTERRUPTED)
    at.act("resume_run", "Running", "F6 Pause")
    at.see_progress()
    at.act("checkpoint", "Checkpoint saved after")
    at.act("live", "Change settings")
    at.type("0.02")
    at.see("The current value is 0.05.")
    at.press("enter")
    at.see(", changed: inner learning rate")
    at.act("undo", "back from 0.02 to 0.05", gone=", changed: inner learning rate")
    at.act("detach", "continues in the background: press j", gone="Running")
    at.act("attach", "Running", "F6 Pause")
    at.see_progress()
    at.act("detach", gone="Running")
    at.act("tab_runs", "● Running")
    at.act("stop_run", f"Stop run {INTERRUPTED}?")
    at.press("y")
    at.see_gone("● Running")
    at.see("Stopped")


WORK_TAB = (look_at_run, arrange_panes, fill_in_usual_values, open_screens)
LISTS = (study_runs, tidy_up)


def test_every_action_is_performed() -> None:
    """Check that the steps in this module and the first session together perform every action."""
    dry_run = DryRunProgram()
    for _ in first_session(dry_run, iterations=1, watched=1, marked=range(2)):
        pass
    for steps in (*WORK_TAB, *LISTS, train):
        steps(dry_run)
    assert dry_run.performed == set(BY_ID)


@needs_proc
def test_work_tab(open_program: Open, runs_dir: Path, tmp_path: Path) -> None:
    run = saved_run(runs_dir, GLYPHS, name=EPISODES, steps=40)
    views = tuple(several_shots(episode(task), GLYPHS.task.shots) for task in range(3))
    write_record(run.adaptation_path, AdaptationRecord(iteration=40, split="test", views=views))
    with open_program(size=SEVERAL_PANES) as program:
        for steps in WORK_TAB:
            steps(program)
        quit_app(program)
    assert f'theme = "{LIGHT}"' in (tmp_path / "config" / "metatui" / "app.toml").read_text()


@needs_proc
def test_lists(open_program: Open, runs_dir: Path, tmp_path: Path) -> None:
    for source, name in (("finished", FINISHED), ("finished", COPY), ("interrupted", INTERRUPTED)):
        shutil.copytree(FIXTURES / source, runs_dir / name)
    presets = tmp_path / "config" / "metatui" / "presets"
    presets.mkdir(parents=True)
    shutil.copy(ROOT / "presets" / "omniglot-5way-1shot-cpu.toml", presets / f"{PRESET}.toml")
    with open_program(https_proxy="http://127.0.0.1:9") as program:  # the download must not reach the network
        for steps in LISTS:
            steps(program)
        quit_app(program)
    assert [path.name for path in runs_dir.glob("*.html")] == [f"{INTERRUPTED}.html"]
    assert sorted(path.name for path in runs_dir.iterdir() if path.is_dir()) == [FINISHED, COPY]
    assert not list(presets.iterdir())
    wait_for(lambda: not processes_of(runs_dir))


def test_training(open_program: Open, runs_dir: Path) -> None:
    run = RunFolder(shutil.copytree(FIXTURES / "interrupted", runs_dir / INTERRUPTED))
    settings = run.settings_path.read_text()
    for line, endless in (("iterations = 8", "iterations = 10000000"), ("every = 4", "every = 10000000")):
        assert line in settings
        settings = settings.replace(line, endless)
    run.settings_path.write_text(settings)
    with open_program(size=SEVERAL_PANES) as program:
        train(program)
        quit_app(program)
    assert run.status() == "stopped"
    changed = [entry for entry in run.journal() if entry.event == "tweaked"][-2:]
    assert [(entry.details["old"], entry.details["new"]) for entry in changed] == [(0.05, 0.02), (0.02, 0.05)]
    assert_nothing_lost(run)


def quit_app(program: Program) -> None:
    program.press("f10")
    assert program.wait() == 0
    assert_usable(program)
