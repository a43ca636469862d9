"""Snapshot tests of the app. After `pytest --snapshot-update`, review the changed pictures before you commit them."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from metatui.config.fields import change
from metatui.config.settings import Settings
from metatui.events import Curve, Evaluated, Failed, Finished, Tweaked, Warned
from metatui.runs.storage.journal import JournalWriter
from metatui.tui.app import MetatuiApp
from tests.tui.fakes import FakeSessions, evaluation, progress, views

SMALL, MEDIUM = (80, 24), (120, 40)
GLYPHS = change(Settings(), {"task.source": "glyphs", "task.shots": 1, "algorithm.name": "reptile"})
FAILURE = (
    "the run ended after meta-step 300 with an unexpected error (RuntimeError): the traceback is in "
    "/runs/maml-sinusoid-20260102-030405/crash.log"
)
Make = Callable[..., MetatuiApp]
Compare = Callable[..., bool]
CompareSizes = Callable[[Pilot[None]], Awaitable[None]]


@pytest.fixture(autouse=True)
def _no_load(monkeypatch: pytest.MonkeyPatch) -> None:
    """Turn off measurements of memory use and CPU load, which differ between machines."""
    monkeypatch.setattr("metatui.tui.controllers.run.SAMPLE_EVERY", 3600.0)


def training(sessions: FakeSessions, steps: int, *, end: bool = False) -> Callable[[Pilot[None]], Awaitable[None]]:
    """Return a function that starts a fake run and sends `steps` meta-steps, two validations and a warning.

    If `end` is true, the run then finishes.
    """

    async def run(pilot: Pilot[None]) -> None:
        app = pilot.app
        assert isinstance(app, MetatuiApp)
        await pilot.press("f5")
        await pilot.pause()
        session = sessions.session
        assert session is not None
        settings = session.settings
        for half in (1, 2):
            until = half * steps // 2
            session.emit(*(progress(i, settings) for i in range((half - 1) * steps // 2 + 1, until + 1)))
            session.emit(Evaluated(evaluation(settings, until), views(settings), best=half == 1))
        session.emit(Warned(steps, "only 100 validation tasks: the interval is wide"))
        if end:
            session.end(Finished(steps, "iterations", steps / 10, evaluation(settings, steps, "test"), views(settings)))
            await session.wait_until_ended(app, pilot)
        else:
            await session.wait_until_shown(app, pilot)

    return run


async def test_opening(make: Make, compare_sizes: CompareSizes) -> None:
    app = make()
    async with app.run_test(size=SMALL) as pilot:
        await app.finish_start()
        await compare_sizes(pilot)


async def test_training(make: Make, sessions: FakeSessions, compare_sizes: CompareSizes) -> None:
    async with make().run_test(size=SMALL) as pilot:
        await training(sessions, 500)(pilot)
        await compare_sizes(pilot)


async def test_images_finished(make: Make, sessions: FakeSessions, compare_sizes: CompareSizes) -> None:
    async with make(GLYPHS).run_test(size=SMALL) as pilot:
        await training(sessions, 300, end=True)(pilot)
        await compare_sizes(pilot)


async def test_failed(make: Make, sessions: FakeSessions, compare_sizes: CompareSizes) -> None:
    """Check the main screen after a run has failed and the failure dialog has been closed."""
    async with make().run_test(size=SMALL) as pilot:
        app = pilot.app
        assert isinstance(app, MetatuiApp)
        await training(sessions, 300)(pilot)
        session = sessions.session
        assert session is not None
        session.run.path.mkdir(parents=True)
        JournalWriter(session.run.journal_path).record("failed", 300, sentence=FAILURE)
        session.end(Failed(300, FAILURE))
        await session.wait_until_ended(app, pilot)
        await pilot.press("escape")
        await pilot.pause()
        await compare_sizes(pilot)


def test_form_during_a_run(make: Make, sessions: FakeSessions, snap_compare: Compare) -> None:
    async def unfold(pilot: Pilot[None]) -> None:
        await training(sessions, 500)(pilot)
        await pilot.press("ctrl+l")
        for field in pilot.app.screen.query(Input):
            field.cursor_blink = False
        await pilot.pause()

    assert snap_compare(make(), terminal_size=MEDIUM, run_before=unfold)


def test_diverging(make: Make, sessions: FakeSessions, snap_compare: Compare) -> None:
    """Check the main screen after validation has diverged because of a live change that was then undone."""

    async def run(pilot: Pilot[None]) -> None:
        app = pilot.app
        assert isinstance(app, MetatuiApp)
        await training(sessions, 300)(pilot)
        session = sessions.session
        assert session is not None
        nan = (math.nan,) * 3
        lost = replace(evaluation(session.settings, 400), loss=Curve(nan, nan), diverged=100)
        session.emit(Tweaked(300, "algorithm.inner_lr", 0.01, 0.1), *map(progress, range(301, 401)))
        session.emit(Evaluated(lost, (), best=False), Tweaked(400, "algorithm.inner_lr", 0.1, 0.01))
        session.emit(*map(progress, range(401, 501)))
        await session.wait_until_shown(app, pilot)

    assert snap_compare(make(), terminal_size=MEDIUM, run_before=run)


def test_light_theme(make: Make, sessions: FakeSessions, snap_compare: Compare) -> None:
    app = make(theme="textual-light")
    assert snap_compare(app, terminal_size=MEDIUM, run_before=training(sessions, 500))


def test_ansi_theme(make: Make, sessions: FakeSessions, snap_compare: Compare) -> None:
    app = make(theme="ansi-dark")
    assert snap_compare(app, terminal_size=SMALL, run_before=training(sessions, 500))


def test_ascii(make: Make, sessions: FakeSessions, snap_compare: Compare) -> None:
    assert snap_compare(make(ascii=True), terminal_size=MEDIUM, run_before=training(sessions, 500))


def test_invalid_fields(make: Make, snap_compare: Compare) -> None:
    async def start_refused(pilot: Pilot[None]) -> None:
        app = pilot.app
        assert isinstance(app, MetatuiApp)
        await app.finish_start()
        for path, text in (("task.queries", "30"), ("evaluation.tasks", "one")):
            field = (await app.form.reveal(path)).control
            assert isinstance(field, Input)
            field.cursor_blink = False
            field.value = text
        await pilot.pause()
        await pilot.press("f5")
        await pilot.pause()

    settings = change(Settings(), {"task.source": "omniglot"})
    assert snap_compare(make(settings), terminal_size=MEDIUM, run_before=start_refused)


DIALOGS = {
    "help": "f1", "live-settings": "f4", "save-preset": "f2", "quit": "ctrl+q", "palette": "ctrl+p",
}  # fmt: skip


@pytest.mark.parametrize("key", DIALOGS.values(), ids=DIALOGS)
async def test_dialog(make: Make, sessions: FakeSessions, compare_sizes: CompareSizes, key: str) -> None:
    """Check a dialog that is opened while a run is training."""
    async with make().run_test(size=SMALL) as pilot:
        await training(sessions, 100)(pilot)
        await pilot.press(key)
        await pilot.pause()
        for field in pilot.app.screen.query(Input):
            field.cursor_blink = False
        if key == DIALOGS["palette"]:  # other dialogs are awaited by a worker until they are closed
            await pilot.app.workers.wait_for_complete()
        await pilot.pause()
        await compare_sizes(pilot)


async def test_tour(make: Make, compare_sizes: CompareSizes) -> None:
    app = make()
    async with app.run_test(size=SMALL) as pilot:
        await app.finish_start()
        await app.action_tour()
        await pilot.pause()
        await compare_sizes(pilot)
