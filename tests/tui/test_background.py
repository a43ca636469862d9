"""Tests of background runs: continuing or stopping a run when the app quits, and attaching to it again."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from textual.widgets import Input
from textual.widgets.input import Selection

from metatui.config.settings import Settings
from metatui.events import Died, Failed, Finished, Pause, Stop
from metatui.runs.storage.journal import JournalWriter
from metatui.runs.storage.lock import RunLock
from metatui.runs.storage.run_folder import RunFolder
from metatui.tui.app import MetatuiApp
from metatui.tui.keyboard.actions import Phase
from metatui.tui.screens.dialogs.confirm import ConfirmScreen
from metatui.tui.screens.dialogs.quit import QuitScreen
from metatui.tui.screens.main.run_pane import RunNumbers
from metatui.tui.screens.main.tabs.run_preview import page, read_details
from metatui.tui.widgets.charts.chart_theme import theme_of
from metatui.utils.errors import BadInput
from tests.tui.fakes import (
    FakeSessions,
    FakeStartingRun,
    progress,
    saved_run,
    start_run,
    wait_for_workers,
)

SMALL, LARGE = (80, 24), (120, 40)
Make = Callable[..., MetatuiApp]


@pytest.fixture
def live(runs_dir: Path) -> Iterator[RunFolder]:
    """Yield a run that appears to be training, because the test process holds the lock of the run."""
    run = saved_run(runs_dir, Settings(), name="maml-sinusoid-20260101-000000", steps=30, test=False)
    journal = JournalWriter(run.journal_path)
    journal.record("started", 30, device="cpu", device_name="a fake CPU", engine="batched", parameters=1761)
    journal.close()
    lock = RunLock(run.lock_path)
    yield run
    lock.release()


def notes(app: MetatuiApp) -> str:
    return " ".join(note.message for note in app._notifications)


@pytest.mark.parametrize("keys", [["k"], ["tab", "shift+tab", "enter"]], ids=lambda keys: keys[-1])
async def test_quit_and_keep_the_run(make: Make, sessions: FakeSessions, keys: list[str]) -> None:
    app = make()
    async with app.run_test(size=SMALL) as pilot:
        session = await start_run(app, pilot, sessions)
        await pilot.press("ctrl+q")
        await pilot.pause()
        assert isinstance(app.screen, QuitScreen)
        await pilot.press(*keys)
        await app.workers.wait_for_complete()
    assert app.return_code == 0
    assert session.commands == []
    assert not session.followed
    assert app.background.left == session.run
    assert sessions.closed


async def test_quit_and_keep_a_run_that_is_starting(make: Make, sessions: FakeSessions) -> None:
    """Check that the app waits for the name of the run, which it prints after it has quit."""
    sessions.packing = [(3072, 5000)]
    app = make()
    async with app.run_test(size=SMALL) as pilot:
        await pilot.press("f5")
        await asyncio.to_thread(sessions.packed.wait)
        await pilot.press("ctrl+q")
        await pilot.pause()
        assert isinstance(app.screen, QuitScreen)
        await pilot.press("k")
        await pilot.pause()
        assert app.return_code is None
        sessions.may_train.set()
        await app.workers.wait_for_complete()
    assert app.return_code == 0
    assert sessions.session is not None
    assert app.background.left == sessions.session.run
    assert sessions.session.commands == []


@pytest.mark.parametrize("keys", [["s"], ["down", "enter"]], ids=lambda keys: keys[0])
async def test_quit_and_stop_the_run(make: Make, sessions: FakeSessions, keys: list[str]) -> None:
    app = make()
    async with app.run_test(size=SMALL) as pilot:
        session = await start_run(app, pilot, sessions)
        await pilot.press("f10")
        await pilot.pause()
        await pilot.press(*keys)
        await app.workers.wait_for_complete()
    assert app.return_code == 0
    assert session.commands == [Stop("stopped")]
    assert app.background.left is None


@pytest.mark.parametrize("keys", [["escape"], ["up", "enter"]], ids=lambda keys: keys[0])
async def test_quit_is_cancelled(make: Make, sessions: FakeSessions, keys: list[str]) -> None:
    app = make()
    async with app.run_test(size=SMALL) as pilot:
        session = await start_run(app, pilot, sessions)
        await pilot.press("f10")
        await pilot.pause()
        await pilot.press(*keys)
        await wait_for_workers(app, pilot)
        assert not isinstance(app.screen, QuitScreen)
        assert session.commands == []
        assert session.followed
        assert app.run_controller.client.phase is Phase.RUNNING


async def test_question_is_closed_when_the_run_ends(make: Make, sessions: FakeSessions) -> None:
    app = make()
    async with app.run_test(size=SMALL, notifications=True) as pilot:
        session = await start_run(app, pilot, sessions)
        await pilot.press("f10")
        await pilot.pause()
        assert isinstance(app.screen, QuitScreen)
        session.end(Failed(3, "the disk is full"))
        await session.wait_until_ended(app, pilot)
        assert not isinstance(app.screen, QuitScreen)
        assert "The disk is full" in notes(app)
    assert app.return_code is None


async def test_stop_by_others_is_told(make: Make, sessions: FakeSessions) -> None:
    app = make()
    async with app.run_test(size=SMALL, notifications=True) as pilot:
        session = await start_run(app, pilot, sessions)
        session.end(Finished(3, "stopped", 1.0, None))
        await session.wait_until_ended(app, pilot)
        assert "Stopped in another instance of the app or with 'metatui stop'." in notes(app)


async def test_quit_without_a_run_does_not_ask(make: Make) -> None:
    app = make()
    async with app.run_test(size=SMALL) as pilot:
        await pilot.press("f10")
    assert app.return_code == 0
    assert app.background.left is None


@pytest.mark.parametrize("opening", ["f1", "f2", "ctrl+p", "ctrl+g", "ctrl+s"])
async def test_quit_from_every_screen(make: Make, sessions: FakeSessions, opening: str) -> None:
    app = make()
    async with app.run_test(size=SMALL, notifications=True) as pilot:
        await start_run(app, pilot, sessions)
        await pilot.press(opening)
        await pilot.pause()
        opened = app.screen
        assert len(app.screen_stack) == 2
        if isinstance(app.focused, Input):
            app.focused.selection = Selection.cursor(0)  # ctrl+C copies selected text
        await pilot.press("ctrl+c")
        await pilot.pause()
        assert app.screen is opened
        assert "Press ^Q or F10 to quit." in notes(app)
        await pilot.press("ctrl+q", "f10")  # asks once
        await pilot.pause()
        assert isinstance(app.screen, QuitScreen)
        assert len(app.screen_stack) == 3
        await pilot.press("c")
        await pilot.pause()
        assert app.screen is opened
        await pilot.press("f10")
        await pilot.pause()
        await pilot.press("k")
        await app.workers.wait_for_complete()
    assert app.return_code == 0


async def test_lost_terminal_does_not_stop_the_run(make: Make, sessions: FakeSessions) -> None:
    app = make()
    async with app.run_test(size=SMALL) as pilot:
        session = await start_run(app, pilot, sessions)
        app.background.hang_up(128 + signal.SIGHUP)
        app.background.hang_up(128 + signal.SIGHUP)
    assert app.return_code == 128 + signal.SIGHUP
    assert session.commands == []
    assert not session.followed
    assert app.background.left == session.run


async def test_detach_and_start_another_run(make: Make, sessions: FakeSessions) -> None:
    app = make()
    async with app.run_test(size=LARGE, notifications=True) as pilot:
        first = await start_run(app, pilot, sessions)
        await pilot.press("d")
        await pilot.pause()
        assert f"{first.run.id} continues in the background" in notes(app)
        assert app.run_controller.client.phase is Phase.IDLE
        assert app.run_controller.shown is None
        assert not (await app.form.reveal("task.source")).control.disabled
        second = await start_run(app, pilot, sessions)
        assert second is not first
        assert (first.followed, second.followed) == (False, True)
        assert first.commands == []


async def test_live_runs_are_announced_and_attached(make: Make, sessions: FakeSessions, live: RunFolder) -> None:
    app = make()
    async with app.run_test(size=LARGE, notifications=True) as pilot:
        await app.finish_start()
        await wait_for_workers(app, pilot)
        assert f"{live.id} is training in the background: press j to follow it." in notes(app)
        await pilot.press("j")
        await wait_for_workers(app, pilot)
        assert sessions.attached == [live.id]
        assert app.run_controller.client.phase is Phase.RUNNING
        assert app.tab == "work"
        assert app.run_controller.shown is not None
        assert app.run_controller.shown.iteration == 30
        session = sessions.session
        assert session is not None
        session.emit(progress(31))
        await session.wait_until_shown(app, pilot)
        assert app.run_controller.shown.iteration == 31
        await pilot.press("f6")
        assert session.commands == [Pause()]
        await pilot.press("j")
        await wait_for_workers(app, pilot)
        assert notes(app).startswith("No other run is training.")
        assert sessions.attached == [live.id]


async def test_several_live_runs_are_counted(make: Make, runs_dir: Path, live: RunFolder) -> None:
    newest = saved_run(runs_dir, Settings(), name="maml-sinusoid-20260102-000000", test=False)
    lock = RunLock(newest.lock_path)
    app = make()
    async with app.run_test(size=LARGE, notifications=True) as pilot:
        await app.finish_start()
        await wait_for_workers(app, pilot)
        follow = f"press j to follow {newest.id}, or 2 to list all runs."
        assert notes(app) == f"2 runs are training in the background: {follow}"
    lock.release()


@pytest.mark.parametrize("ends", [True, False], ids=["end", "detach"])
async def test_unsaved_settings_return_to_the_form(
    make: Make, sessions: FakeSessions, live: RunFolder, monkeypatch: pytest.MonkeyPatch, ends: bool
) -> None:
    app, told = make(), list[str]()
    monkeypatch.setattr(app, "notify", lambda text, **_: told.append(text))
    async with app.run_test(size=LARGE) as pilot:
        app.form.enter("training.seed", "7")
        app.form.enter("algorithm.inner_lr", "0.5")
        await pilot.press("2")
        await wait_for_workers(app, pilot)
        await pilot.press("enter")
        await wait_for_workers(app, pilot)
        assert sessions.attached == [live.id]
        assert app.form.text("training.seed") == "0"
        assert "Your settings return to the form when the run ends." in told
        assert sessions.session is not None
        if ends:
            sessions.session.end(Finished(31, "iterations", 1.0, None))
            await sessions.session.wait_until_ended(app, pilot)
        else:
            await pilot.press("d")
            await wait_for_workers(app, pilot)
        assert (app.form.text("training.seed"), app.form.text("algorithm.inner_lr")) == ("7", "0.5")


async def test_attaching_detaches_from_the_followed_run(make: Make, sessions: FakeSessions, live: RunFolder) -> None:
    app = make()
    async with app.run_test(size=LARGE, notifications=True) as pilot:
        first = await start_run(app, pilot, sessions)
        await pilot.press("2")
        await wait_for_workers(app, pilot)
        assert app.runs_tab.listed[0].status == "running"
        await pilot.press("enter")
        await wait_for_workers(app, pilot)
        assert sessions.attached == [live.id]
        assert not first.followed
        assert first.commands == []
        assert f"{first.run.id} continues in the background" in notes(app)
        assert app.run_controller.shown is app.run_controller.client.model
        assert app.run_controller.shown is not None
        assert app.run_controller.shown.run_id == live.id


async def test_attaching_leaves_a_run_that_is_starting(make: Make, sessions: FakeSessions, live: RunFolder) -> None:
    sessions.starting = FakeStartingRun()
    app = make()
    async with app.run_test(size=LARGE, notifications=True) as pilot:
        await pilot.press("f5")
        await asyncio.to_thread(sessions.starting.measuring.wait)
        await pilot.press("2")
        await wait_for_workers(app, pilot)
        await pilot.press("enter")
        await wait_for_workers(app, pilot)
        assert sessions.attached == [live.id]
        assert "The run that was starting continues in the background" in notes(app)
        sessions.starting.stop()


async def test_unreachable_run_is_read_from_disk(make: Make, sessions: FakeSessions, live: RunFolder) -> None:
    sessions.error = BadInput("run X is being trained by process 1 on 'elsewhere', which cannot be reached from here")
    app = make()
    app.background.to_attach = live
    async with app.run_test(size=LARGE, notifications=True) as pilot:
        await app.finish_start()
        await wait_for_workers(app, pilot)
        assert "cannot be reached from here" in notes(app)
        assert app.run_controller.shown is not None
        assert (app.run_controller.shown.run_id, app.run_controller.shown.status) == (live.id, "Running")
        assert app.run_controller.client.phase is Phase.IDLE


async def test_run_of_another_user_is_read_only(
    make: Make, sessions: FakeSessions, live: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("metatui.tui.model.replay.other_user", lambda path: "alice")
    sessions.error = BadInput("run X is being trained by process 1, which cannot be reached from here")
    app = make()
    app.background.to_attach = live
    async with app.run_test(size=SMALL, notifications=True) as pilot:
        await app.finish_start()
        await wait_for_workers(app, pilot)
        app.clear_notifications()
        numbers = app.query_one(RunNumbers)
        shown = "\n".join(row.text for row in map(numbers.render_line, range(numbers.size.height)))
        assert "read-only user alice is training this run" in shown
        await pilot.press("f6")
        await pilot.pause()
        assert notes(app) == "This run is read-only: only user alice, who is training it, can control it."
        await pilot.press("2")
        await wait_for_workers(app, pilot)
        selected = app.runs_tab.selected
        assert selected
        rows = page(selected, read_details(selected), lambda: 20)(90, theme_of(app.runs_tab.preview))
        text = " ".join(" ".join(segment.text for row in rows for segment in row).split())
        assert "Press enter to watch the run; only user alice can stop it." in text


async def test_stopping_a_run_in_the_list_asks_first(make: Make, sessions: FakeSessions, live: RunFolder) -> None:
    app = make()
    async with app.run_test(size=LARGE, notifications=True) as pilot:
        await pilot.press("2")
        await wait_for_workers(app, pilot)
        for answer, stopped in (("n", []), ("y", [live.id])):
            await pilot.press("x")
            await pilot.pause()
            assert isinstance(app.screen, ConfirmScreen)
            await pilot.press(answer)
            await wait_for_workers(app, pilot)
            assert sessions.stopped == stopped


async def test_killed_run_is_interrupted_in_the_list(make: Make, runs_dir: Path) -> None:
    run = saved_run(runs_dir, Settings(), name="maml-sinusoid-20260101-000000", steps=30, test=False)
    journal = JournalWriter(run.journal_path)
    journal.record("started", 30, device="cpu", device_name="a fake CPU", engine="batched", parameters=1761)
    journal.close()
    lock = RunLock(run.lock_path)
    app = make()
    async with app.run_test(size=LARGE) as pilot:
        await pilot.press("2")
        await wait_for_workers(app, pilot)
        statuses = [app.runs_tab.listed[0].status]
        lock.release()
        await app.runs_tab.update()
        statuses.append(app.runs_tab.listed[0].status)
        assert statuses == ["running", "interrupted"]


async def test_killed_run_is_interrupted_if_followed(make: Make, sessions: FakeSessions, runs_dir: Path) -> None:
    app = make()
    async with app.run_test(size=LARGE, notifications=True) as pilot:
        session = await start_run(app, pilot, sessions)
        session.end(Died(5, "Process 1 ended unexpectedly during run x"))
        await session.wait_until_ended(app, pilot)
        assert app.run_controller.shown is not None
        assert app.run_controller.shown.status == "Interrupted"
        sentence = "Process 1 ended unexpectedly during run x: F6 in the work tab resumes the run"
        assert sentence in notes(app)
        assert isinstance(app.run_controller.shown.ended, Failed)
        assert app.run_controller.shown.ended.sentence == sentence
        assert app.context.resumable
