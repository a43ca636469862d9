"""Tests of the runs tab: list, order, marks, filter, preview and deletion."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import pytest
from textual.pilot import Pilot

from metatui.config import presets
from metatui.config.fields import change
from metatui.config.schedule import PlannedChange
from metatui.config.settings import Settings
from metatui.events import Evaluating
from metatui.runs.execution.control import client
from metatui.runs.execution.control.server import ControlServer
from metatui.runs.storage.journal import JournalWriter
from metatui.runs.storage.lock import RunLock
from metatui.runs.storage.run_folder import RunFolder
from metatui.runs.storage.summary import RunSummary, summarise
from metatui.tui.app import MetatuiApp
from metatui.tui.colors.themes import CYCLE
from metatui.tui.keyboard.actions import BY_ID, AppContext
from metatui.tui.screens.dialogs.confirm import ConfirmScreen
from metatui.tui.screens.main.curves import CurveOptions, chart_of
from metatui.tui.screens.main.header_footer import KeyBar
from metatui.tui.screens.main.tabs import runs_tab
from metatui.tui.screens.main.tabs.run_list import COLUMNS, ListedRun
from metatui.tui.screens.main.tabs.run_preview import RunDetails, read_details
from metatui.tui.widgets.static_text import StaticText
from tests.runs.execution.test_control_server import FakeSession
from tests.tui.fakes import saved_run, wait_for_workers
from tests.tui.screens.conftest import press_together, text_of

SIZE = (120, 40)
Make = Callable[..., MetatuiApp]
GLYPHS = change(Settings(), {"task.source": "glyphs", "task.shots": 1})
NAMES = ("maml-glyphs-20260104-000000", "maml-sinusoid-20260103-000000", "anil-sinusoid-20260102-000000")
"""Ids of the saved runs, newest first."""


@pytest.fixture
def saved(runs_dir: Path) -> None:
    """Save two finished runs and a stopped one, whose seed differs from the seed in its preset."""
    quick = change(presets.load("quick").settings, {"training.seed": 7})
    saved_run(runs_dir, quick, name=NAMES[2], steps=20, test=False, preset="quick (changed)")
    saved_run(runs_dir, Settings(), name=NAMES[1], steps=30)
    saved_run(runs_dir, GLYPHS, name=NAMES[0], steps=40)


async def wait_for_sizes(app: MetatuiApp, pilot: Pilot[None]) -> None:
    """Wait until the dialog shows how much disk space the runs use."""
    for worker in [worker for worker in app.workers if worker.group == "size"]:
        await worker.wait()
    await pilot.pause()


def order(app: MetatuiApp) -> list[str]:
    return [run.id for run in app.runs_tab.listed]


def question(app: MetatuiApp) -> str:
    """Return the question that the open dialog asks."""
    return str(app.screen.query_one(StaticText).render())


def selected(app: MetatuiApp) -> str:
    assert app.runs_tab.selected is not None
    return app.runs_tab.selected.id


def test_at_most_eight_runs_are_compared() -> None:
    for action in ("compare_runs", "report_runs"):
        assert not BY_ID[action].refusal_reason(AppContext(row=True, marked=8))
        assert "at most 8" in BY_ID[action].refusal_reason(AppContext(row=True, marked=9))


def test_filter_finds_the_shown_date(runs_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = saved_run(runs_dir, Settings(), name=NAMES[1])
    summary = replace(summarise(run), started=datetime(2026, 1, 3, 22, tzinfo=UTC))
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        listed = ListedRun(summary)
        assert "2026-01-04 07:00" in [cell.text for cell in listed.item().cells]
        assert listed.contains(["2026-01-04"])
        assert not listed.contains(["2026-01-03 22"])
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.usefixtures("saved")
@pytest.mark.parametrize("theme", CYCLE)
async def test_words_of_the_filter_are_visible(make: Make, theme: str) -> None:
    """Check that the words of the filter are visible while they are typed and while the list has the focus."""
    app = make(theme=theme)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("2", "slash", *"glyphs")
        await wait_for_workers(app, pilot)
        for key in ("end", "enter"):
            await pilot.press(key)
            await wait_for_workers(app, pilot)
            assert app.screen._compositor.render_strips()[1].text.strip() == "glyphs"
        assert app.focused is app.runs_tab.table


@pytest.mark.parametrize("size", [(80, 24), (120, 40)], ids=str)
async def test_seeds_and_results_fit(make: Make, runs_dir: Path, size: tuple[int, int]) -> None:
    for seed in (0, 1, 12):
        settings = change(GLYPHS, {"training.seed": seed})
        saved_run(runs_dir, settings, name=f"maml_plus_plus-glyphs-20260104-00000{seed % 10}")
    app = make()
    async with app.run_test(size=size) as pilot:
        await pilot.press("2")
        await wait_for_workers(app, pilot)
        table = app.runs_tab.table
        lines = [table.render_line(y).text for y in range(1, 4)]
        assert sorted(line.split()[3] for line in lines) == ["0", "1", "12"]
        assert all("test 90.0 ± 1.0 %" in line for line in lines)
        assert {line.split()[2][-6:] for line in lines} == {f"00000{n}" for n in range(3)}
        await pilot.press("slash", *"000002", "enter")
        await wait_for_workers(app, pilot)
        assert "Seed" not in table.render_line(0).text, "a single run needs no seed"


@pytest.mark.parametrize(
    ("width", "cells"),
    [
        (139, ["maml-sinusoid-20260104-000000", "test loss 0.50 ± 0.10", "quick (changed), changed live"]),
        (110, ["maml-sinusoid…000000", "test loss 0.50 ± 0.10", "changed live"]),
        (58, ["maml-sinusoid…000000", "loss 0.50 ± 0.10"]),
    ],
)
async def test_rows_of_a_narrow_list_keep_what_distinguishes_runs(
    make: Make, runs_dir: Path, width: int, cells: list[str]
) -> None:
    run = summarise(saved_run(runs_dir, Settings(), name="maml-sinusoid-20260104-000000", preset="quick (changed)"))
    app = make()
    async with app.run_test(size=(140, 24)) as pilot:
        await pilot.press("2")
        await wait_for_workers(app, pilot)
        table = app.runs_tab.table
        table.styles.width = width
        table.show([ListedRun(replace(run, changed_live=True)).item()], order=(len(COLUMNS) - 1, True))
        await pilot.pause()
        row = table.render_line(1).text
        assert [text for text in cells if f"  {text}" not in row] == []


async def test_preview_tells_settings_changed_during_the_run(make: Make, runs_dir: Path) -> None:
    run = saved_run(runs_dir, Settings(), name=NAMES[0], steps=3)
    with closing(JournalWriter(run.journal_path)) as journal:
        journal.record("tweaked", 2, path="algorithm.inner_lr", old=0.01, new=0.05)
    app = make()
    async with app.run_test(size=(100, 40)) as pilot:
        await pilot.press("2")
        await wait_for_workers(app, pilot)
        preview = text_of(app.screen, "#run-preview")
    assert "The settings at the start are the defaults." in preview
    assert "Settings changed during the run Inner learning rate: 0.05 (at the start 0.01)" in preview


async def test_training_is_complete_if_a_run_was_stopped_during_its_test(make: Make, runs_dir: Path) -> None:
    settings = change(Settings(), {"training.early_stop": 1})
    run = saved_run(runs_dir, settings, name=NAMES[0], test=False)
    with closing(JournalWriter(run.journal_path)) as journal:
        journal.record("started", 30)
        for iteration, best in ((40, True), (50, False)):
            journal.record("evaluated", iteration, best=best, loss=0.5, loss_ci95=0.1, tasks=9, shots=9, inner_step=1)
        journal.record("stopped", 50, reason="stopped")
    app = make()
    async with app.run_test(size=(99, 40)) as pilot:
        await pilot.press("2")
        await wait_for_workers(app, pilot)
        assert "Stopped, trained" in text_of(app.screen, "#runs-table")
        preview = text_of(app.screen, "#run-preview")
        assert "Stopped, 50 meta-steps in 0:05, training complete, not tested, started" in preview
        await pilot.press("enter")
        await wait_for_workers(app, pilot)
        assert f"{NAMES[0]} (stopped, trained)" in text_of(app.screen, "#shown-line")
        assert "50 of 5,000, early stop" in text_of(app.screen, "RunNumbers")


async def test_preview_counts_the_tasks_of_the_final_test(
    make: Make, runs_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "QUERY_SECONDS", 20)
    settings = change(Settings(), {"training.iterations": 50})
    run = saved_run(runs_dir, settings, name=NAMES[0], test=False)
    with closing(JournalWriter(run.journal_path)) as journal:
        journal.record("resumed", 50)
    lock = RunLock(run.lock_path)
    app = make()
    with closing(ControlServer(cast(Any, FakeSession(run)))) as server:
        server.open()
        async with app.run_test(size=(99, 40)) as pilot:
            await pilot.press("2")
            await wait_for_workers(app, pilot)
            assert "50 meta-steps in 0:05, testing, started" in text_of(app.screen, "#run-preview")
            for done in (120, 240):
                server.send(Evaluating(50, "test", done, 600))
                text = f"50 meta-steps in 0:05, testing {done} of 600 tasks, started"
                while text not in text_of(app.screen, "#run-preview"):
                    await app.runs_tab.update()
                    await wait_for_workers(app, pilot)
    lock.release()


async def test_undone_live_changes_are_told(make: Make, runs_dir: Path) -> None:
    run = saved_run(runs_dir, Settings(), name=NAMES[0], steps=3)
    saved_run(runs_dir, Settings(), name=NAMES[1], steps=3)
    with closing(JournalWriter(run.journal_path)) as journal:
        journal.record("tweaked", 2, path="compute.tasks_at_once", old=0, new=2)
    assert not summarise(run).changed_live
    with closing(JournalWriter(run.journal_path)) as journal:
        journal.record("tweaked", 2, path="algorithm.inner_lr", old=0.01, new=0.05)
        journal.record("tweaked", 3, path="algorithm.inner_lr", old=0.05, new=0.01)
    app = make()
    async with app.run_test(size=(100, 40)) as pilot:
        await pilot.press("2")
        await wait_for_workers(app, pilot)
        app.runs_tab.go_to(NAMES[0])
        await wait_for_workers(app, pilot)
        assert [run.changed_live for run in app.runs_tab.listed] == [run.id == NAMES[0] for run in app.runs_tab.listed]
        preview = text_of(app.screen, "#run-preview")
    assert "no preset, changed live" in preview
    assert "The settings at the start are the defaults." in preview
    assert "Live changes were undone: see the journal." in preview


@pytest.mark.parametrize(
    ("values", "changes"),
    [((0.01, 0.05), "inner learning rate 0.05"), ((0.01, 0.05, 0.01), "inner learning rate (2 changes)")],
    ids=["kept", "undone"],
)
async def test_loading_a_run_tells_settings_changed_during_the_run(
    make: Make, runs_dir: Path, monkeypatch: pytest.MonkeyPatch, values: Sequence[float], changes: str
) -> None:
    run = saved_run(runs_dir, Settings(), name=NAMES[0], steps=3)
    with closing(JournalWriter(run.journal_path)) as journal:
        for iteration, (old, new) in enumerate(pairwise(values), 1):
            journal.record("tweaked", iteration, path="algorithm.inner_lr", old=old, new=new)
    app, told = make(), list[str]()
    monkeypatch.setattr(app, "notify", lambda text, **_: told.append(text))
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("2")
        await wait_for_workers(app, pilot)
        await pilot.press("l")
        await wait_for_workers(app, pilot)
        assert app.form.assessment.settings == Settings()
        line = app.work_tab.status.render_line(0).text.strip()
        assert line.startswith(f"form: run {NAMES[0]} without later changes  ")
    (note,) = told
    assert note.startswith(f"{NAMES[0]} without later changes is in the form. F5 starts it.")
    assert f"without these later changes: {changes}." in note
    assert f"use 'metatui rerun {NAMES[0]}'." in note


async def test_a_loaded_run_without_its_schedule_counts_as_a_changed_preset(make: Make, runs_dir: Path) -> None:
    mine = presets.save("mine", Settings(), changes=(PlannedChange(20, "algorithm.inner_lr", 0.1),))
    run = saved_run(runs_dir, mine.settings, name=NAMES[0], preset="mine")
    shutil.copy(mine.path, run.settings_path)
    app = make()
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("2")
        await wait_for_workers(app, pilot)
        await pilot.press("l")
        await wait_for_workers(app, pilot)
        assert app.presets.changes == ()
        assert app.presets.origin_of(mine.settings) == "mine (changed)"


@pytest.mark.usefixtures("saved")
async def test_titles_in_the_preview_are_wrapped(make: Make) -> None:
    app = make()
    async with app.run_test(size=(100, 40)) as pilot:
        await pilot.press("2")
        await wait_for_workers(app, pilot)
        await pilot.press("end")
        await wait_for_workers(app, pilot)
        assert "Settings that differ from preset quick" in text_of(app.screen, "#run-preview")


@pytest.mark.usefixtures("saved")
async def test_list_and_preview(make: Make, runs_dir: Path) -> None:
    app = make()
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("2")
        await wait_for_workers(app, pilot)
        assert order(app) == list(NAMES)
        preview = text_of(app.screen, "#run-preview")
        assert "MAML on Glyphs, 5-way 1-shot" in preview
        assert "Test: accuracy 90.0 ± 1.0 % (5-way 1-shot" in preview
        assert "Settings that differ from the defaults" in preview
        assert "r Resume" not in app.query_one(KeyBar).render().plain
        await pilot.press("end")
        await wait_for_workers(app, pilot)
        assert selected(app) == NAMES[2]
        assert "r Resume" in app.query_one(KeyBar).render().plain, "the run was stopped"
        preview = text_of(app.screen, "#run-preview")
        assert "Settings that differ from preset quick Seed: 7 (preset 0) Journal" in preview
        assert "Stopped, 20 meta-steps in 0:02" in preview
        await pilot.press("home")
        assert selected(app) == NAMES[0]

        await pilot.press("o")
        assert order(app) == [NAMES[2], *NAMES[:2]]
        assert selected(app) == NAMES[0]
        await pilot.press("o", "o", "o", "t")
        assert order(app) == [NAMES[2], NAMES[1], NAMES[0]]
        await pilot.click("#runs-table", offset=(10, 1))
        assert order(app) == [NAMES[2], NAMES[0], NAMES[1]]
        await pilot.click("#runs-table", offset=(10, 1))
        assert order(app) == [NAMES[1], NAMES[0], NAMES[2]]

        await pilot.click("#runs-table", offset=(3, 3))
        await wait_for_workers(app, pilot)
        assert app.runs_tab.marked == [NAMES[0]]
        assert selected(app) == NAMES[0]
        await pilot.press("m")
        assert app.runs_tab.marked == [NAMES[0], NAMES[1], NAMES[2]]
        await pilot.click("#runs-table", offset=(3, 1))
        await wait_for_workers(app, pilot)
        assert app.runs_tab.marked == []

        await press_together(pilot, "slash", *"glyphs")
        await pilot.pause()
        assert order(app) == [NAMES[0]]
        assert app.runs_tab.table.border_title == "1 of 3 runs"
        await pilot.press("enter", "enter")
        await wait_for_workers(app, pilot)
        assert app.tab == "work"
        assert app.run_controller.shown is not None
        assert (app.run_controller.shown.run_id, app.run_controller.shown.iteration) == (NAMES[0], 40)
        assert len(app.run_controller.shown.views) == 3
        await pilot.press("2", "escape", "l")
        await wait_for_workers(app, pilot)
        assert app.form.assessment.settings == GLYPHS

        await pilot.press("2")
        await wait_for_workers(app, pilot)
        await pilot.press("d")
        await pilot.pause()
        assert isinstance(app.screen, ConfirmScreen)
        assert f"Delete run {NAMES[0]} with its metrics and checkpoints?" in question(app)
        assert text_of(app.screen, "#confirm-details") == "Finished, 40 meta-steps, test 90.0 ± 1.0 %"
        await wait_for_sizes(app, pilot)
        assert text_of(app.screen, "#confirm-note").startswith("Size: ")
        assert text_of(app.screen, "#confirm-note") != "Size: …"
        await pilot.press("escape")
        await wait_for_workers(app, pilot)
        assert (runs_dir / NAMES[0]).exists()
        await pilot.press("d")
        await pilot.pause()
        await pilot.press("y")
        while NAMES[0] in order(app):
            await pilot.pause()
        assert not (runs_dir / NAMES[0]).exists()
        assert selected(app) == NAMES[2]
        await pilot.press("m", "d")
        await pilot.pause()
        assert "Delete these 2 runs" in question(app)
        assert text_of(app.screen, "#confirm-details") == (
            f"{NAMES[1]} Finished, 30 meta-steps, test loss 0.50 ± 0.10 "
            f"{NAMES[2]} Stopped, 20 meta-steps, best validation 0.50 ± 0.10"
        )
        await pilot.press("y")
        while order(app):
            await pilot.pause()
        await pilot.pause()
        assert not list(runs_dir.iterdir())
        assert "No runs yet" in text_of(app.screen, "#runs-table")


@pytest.mark.usefixtures("saved")
async def test_dialog_of_deletion_does_not_wait_for_sizes(
    make: Make, runs_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Event()

    def size(run: RunFolder) -> int:
        go_on.wait(timeout=30)
        return 1_000_000

    monkeypatch.setattr(RunFolder, "size", size)
    for day in range(1, 21):
        saved_run(runs_dir, Settings(), name=f"maml-sinusoid-202512{day:02}-000000", steps=1)
    app = make()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("2")
        await wait_for_workers(app, pilot)
        await pilot.press("m", "d")
        while not isinstance(app.screen, ConfirmScreen):
            await pilot.pause()
        assert text_of(app.screen, "#confirm-note") == "Size: …"
        details, buttons = app.screen.query_one("#confirm-details"), app.screen.query_one("#yes")
        assert details.size.height == 12
        assert buttons.region.bottom < 24
        assert text_of(app.screen, "#confirm-details").startswith(order(app)[0])
        await pilot.press("pagedown", "pagedown", "pagedown", "pagedown", "pagedown", "down")
        await pilot.pause()
        assert order(app)[-1] in text_of(app.screen, "#confirm-details")
        assert order(app)[0] not in text_of(app.screen, "#confirm-details")
        assert app.focused is buttons, "enter still answers"
        go_on.set()
        await wait_for_sizes(app, pilot)
        assert text_of(app.screen, "#confirm-note") == "Size: 22 MiB"


@pytest.mark.usefixtures("saved")
async def test_list_follows_other_processes(make: Make, runs_dir: Path) -> None:
    """Check that changes by other processes appear in the list without moving its cursor, marks or scroll position."""
    for day in range(1, 29):
        saved_run(runs_dir, Settings(), name=f"maml-sinusoid-202512{day:02}-000000", steps=1)
    started = runs_dir / "maml-sinusoid-20260201-000000"
    app = make()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("2")
        await wait_for_workers(app, pilot)
        tab = app.runs_tab
        await pilot.press("slash", *"sinusoid", "enter", *["down"] * 20, "space")
        await wait_for_workers(app, pilot)
        cursor, marked, top = selected(app), list(tab.marked), tab.table._top
        assert top > 0

        filled: list[str] = []
        fill = tab.fill
        tab.fill = lambda **how: (filled.append("filled"), fill(**how))  # type: ignore[assignment,func-returns-value]
        await tab.update()
        assert not filled, "nothing is drawn while nothing changes"

        run = saved_run(runs_dir, Settings(), name=started.name, steps=3, test=False)
        lock = RunLock(run.lock_path)
        JournalWriter(run.journal_path).record("resumed", 3)
        await tab.update()
        await pilot.pause()
        assert (order(app)[0], tab.listed[0].status) == (started.name, "running")
        assert (selected(app), tab.marked, tab.table._top) == (cursor, marked, top + 1)
        lock.release()
        await tab.update()
        assert tab.listed[0].status == "interrupted"
        started.rename(runs_dir.parent / "elsewhere")
        await tab.update()
        assert started.name not in order(app)
        assert (selected(app), tab.marked, tab.table._top) == (cursor, marked, top)
        assert tab.filter.value == "sinusoid"

        tab.table._scroll(-1000)
        saved_run(runs_dir, Settings(), name="maml-sinusoid-20251129-000000", steps=1)
        await tab.update()
        assert tab.table._top == 0, "a list that was scrolled with the mouse does not jump back to the cursor"


@pytest.mark.usefixtures("saved")
async def test_live_runs_are_not_deleted(make: Make, runs_dir: Path) -> None:
    lock = RunLock(runs_dir / NAMES[0] / "lock")
    app = make()
    async with app.run_test(size=SIZE, notifications=True) as pilot:
        await pilot.press("2")
        await wait_for_workers(app, pilot)
        await pilot.press("d")
        await wait_for_workers(app, pilot)
        assert not isinstance(app.screen, ConfirmScreen)
        notes = [note.message for note in app._notifications]
        assert f"{NAMES[0]} is training, so nothing is deleted. x stops the selected run." in notes
        await pilot.press("m", "d")
        while not isinstance(app.screen, ConfirmScreen):
            await pilot.pause()
        asked = text_of(app.screen, ".dialog StaticText")
        assert "these 2 runs" in asked
        assert "1 more is training and will be kept" in asked
        await pilot.press("y")
        while len(order(app)) > 1:
            await pilot.pause()
        assert [path.name for path in runs_dir.iterdir()] == [NAMES[0]]
    lock.release()


@pytest.mark.usefixtures("saved")
async def test_only_the_link_to_a_run_is_deleted(make: Make, runs_dir: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    (runs_dir / NAMES[0]).rename(elsewhere)
    (runs_dir / NAMES[0]).symlink_to(elsewhere)
    app = make()
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("2")
        await wait_for_workers(app, pilot)
        await pilot.press("d")
        while not isinstance(app.screen, ConfirmScreen):
            await pilot.pause()
        await wait_for_sizes(app, pilot)
        assert question(app) == f"Delete the link {NAMES[0]}? The run itself is kept."
        assert str(app.screen.query_one("#confirm-note").render()) == "Size: 0 KiB"
        await pilot.press("y")
        while len(order(app)) > 2:
            await pilot.pause()
    assert not (runs_dir / NAMES[0]).is_symlink()
    assert RunFolder(elsewhere).is_run()


@pytest.mark.usefixtures("saved")
async def test_deletion_of_the_shown_run_is_told(make: Make, runs_dir: Path) -> None:
    app = make()
    async with app.run_test(size=SIZE, notifications=True) as pilot:
        await pilot.press("2")
        await wait_for_workers(app, pilot)
        await pilot.press("enter")
        await wait_for_workers(app, pilot)
        await app.runs.check_folder()
        (runs_dir / NAMES[0]).rename(runs_dir / "elsewhere")
        for _ in range(2):
            await app.runs.check_folder()
        text = f"The folder of the shown run, {NAMES[0]}, was deleted or moved."
        assert [note.message for note in app._notifications].count(text) == 1


@pytest.mark.usefixtures("saved")
async def test_details_of_passed_runs_are_not_read(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    reading, go_on, read = threading.Event(), threading.Event(), []

    def read_details(run: RunSummary) -> RunDetails:
        read.append(run.id)
        reading.set()
        go_on.wait()
        return RunDetails()

    monkeypatch.setattr(runs_tab, "read_details", read_details)
    app = make()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("2")
        while not reading.is_set():
            await pilot.pause()
        await pilot.press("down", "down")
        assert "anil-sinusoid" in text_of(app.screen, "#run-preview")
        go_on.set()
        await wait_for_workers(app, pilot)
        assert read == [NAMES[0], NAMES[2]]
        await pilot.press("n")
        await pilot.pause()
        assert app.runs_tab.preview.has_focus
        assert app.runs_tab.preview.size.height > 16
        assert not app.runs_tab.table.display
        await pilot.press("escape")
        await pilot.pause()
        assert app.runs_tab.table.has_focus


@pytest.mark.usefixtures("saved")
async def test_a_short_list_is_above_the_preview(make: Make, runs_dir: Path) -> None:
    app = make()
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("2")
        await wait_for_workers(app, pilot)
        tab = app.runs_tab
        assert tab.table.region.height == len(NAMES) + 3, "the titles and the border"
        assert tab.preview.region.y == tab.table.region.bottom
        assert tab.preview.region.width == SIZE[0]
        for number in range(20):
            saved_run(runs_dir, Settings(), name=f"maml-sinusoid-20260101-0000{number:02}", steps=1)
        await tab.update()
        await wait_for_workers(app, pilot)
        assert tab.preview.region.y == tab.table.region.y
        await pilot.press("slash", *"glyphs")
        await wait_for_workers(app, pilot)
        assert len(tab.listed) == 1
        assert tab.preview.region.y == tab.table.region.y, "the list does not move while a filter is typed"


@pytest.mark.usefixtures("saved")
async def test_a_wide_preview_has_the_chart_beside_the_texts(make: Make, runs_dir: Path) -> None:
    saved_run(runs_dir, Settings(), name="maml-sinusoid-20270101-000000", steps=0, test=False)
    app = make()
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("2")
        await wait_for_workers(app, pilot)
        assert "Loss" not in text_of(app.screen, "#run-preview"), "no chart of a run that ended before its first step"
        await pilot.press("down")
        await wait_for_workers(app, pilot)
        first = app.runs_tab.preview.render_line(0).text
        assert first.startswith(NAMES[0])
        assert "Accuracy (%)" in first


async def test_a_tab_without_runs_has_no_preview(make: Make) -> None:
    app = make()
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("2")
        await wait_for_workers(app, pilot)
        assert "No runs yet" in text_of(app.screen, "#runs-table")
        assert not app.runs_tab.preview.display
        assert app.runs_tab.table.has_focus


@pytest.mark.usefixtures("saved")
async def test_snapshots(
    make: Make, compare_sizes: Callable[[Pilot[None]], Awaitable[None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("run_list", "run_preview"):
        monkeypatch.setattr(f"metatui.tui.screens.main.tabs.{module}.start_time", lambda run: "2026-01-02 03:04")
    monkeypatch.setattr("metatui.tui.screens.main.tabs.run_preview.place", lambda run: "/runs")
    app = make()
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("2")
        await wait_for_workers(app, pilot)
        await pilot.press("space", "down")
        await wait_for_workers(app, pilot)
        await compare_sizes(pilot)


@pytest.mark.usefixtures("saved")
async def test_delete_dialog_snapshots(
    make: Make, compare_sizes: Callable[[Pilot[None]], Awaitable[None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RunFolder, "size", lambda run: 1_000_000)
    monkeypatch.setattr("metatui.tui.screens.main.tabs.run_list.start_time", lambda run: "2026-01-02 03:04")
    monkeypatch.setattr("metatui.tui.screens.main.tabs.run_preview.start_time", lambda run: "2026-01-02 03:04")
    monkeypatch.setattr("metatui.tui.screens.main.tabs.run_preview.place", lambda run: "/runs")
    app = make()
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("2")
        await wait_for_workers(app, pilot)
        await pilot.press("m", "d")
        while not isinstance(app.screen, ConfirmScreen):
            await pilot.pause()
        await wait_for_sizes(app, pilot)
        await compare_sizes(pilot)


@pytest.mark.parametrize(
    ("old", "saved_as"),
    [
        ('name = "auto"', "maml on glyphs, model mine, seed 7"),
        ('name = "maml"', "mine on glyphs, model auto, seed 7"),
        ('source = "glyphs"', "maml on mine, model auto, seed 7"),
    ],
)
def test_preview_of_a_run_whose_plugin_is_not_loaded(runs_dir: Path, old: str, saved_as: str) -> None:
    run = saved_run(runs_dir, change(GLYPHS, {"training.seed": 7}), name=NAMES[0], steps=40)
    text = run.settings_path.read_text()
    setting = old.partition(" ")[0]
    run.settings_path.write_text(text.replace(old, f'{setting} = "mine"', 1) + "\n[mine]\nsize = 2\n")
    summary = summarise(run)
    assert (summary.settings, summary.seed) == (None, 7)
    assert "mine" in (summary.problem or "")
    details = read_details(summary)
    assert details.saved == saved_as
    assert details.missing.endswith(" is 'mine', which needs its plugin: start with --plugin FILE.py.")
    assert details.model is not None
    assert (len(details.model.meta_loss), len(details.model.accuracy)) == (40, 40)
    chart = chart_of(details.model, CurveOptions(metric="accuracy"), 100)
    assert len(chart.series[0].points) == 40
    run.settings_path.write_text("no TOML")
    assert summarise(run).seed is None
    assert read_details(summary).saved == ""
