"""Tests of marked runs in the work tab: when they are shown, and what the panes say about them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from textual.pilot import Pilot

from metatui.config.fields import change
from metatui.config.settings import Settings
from metatui.events import Finished, TaskView
from metatui.runs.storage.lock import RunLock
from metatui.tui.app import MetatuiApp
from metatui.tui.screens.main.run_pane import RunNumbers
from metatui.tui.widgets.charts.chart_theme import theme_of
from tests.tui.fakes import FakeSession, FakeSessions, saved_run, wait_for_workers

SIZE = (160, 48)
SAVED, LIVE = "reptile-sinusoid-20260101-000000", "maml-sinusoid-20260102-000000"
Make = Callable[..., MetatuiApp]


@pytest.fixture(autouse=True)
def _two_runs(runs_dir: Path) -> Iterator[None]:
    """Create a finished run, and a run that appears to be training, because the test process holds its lock."""
    saved_run(runs_dir, change(Settings(), {"algorithm.name": "reptile"}), name=SAVED)
    lock = RunLock(saved_run(runs_dir, Settings(), name=LIVE, test=False).lock_path)
    yield
    lock.release()


@pytest.fixture
def may_adapt(sessions: FakeSessions, monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Yield an event. Until it is set, the adaptation of marked runs is not computed."""
    may_adapt, views = threading.Event(), sessions.views

    def wait_and_view(run_id: str, tasks: int) -> tuple[TaskView, ...]:
        may_adapt.wait()
        return views(run_id, tasks)

    monkeypatch.setattr(sessions, "views", wait_and_view)
    may_adapt.set()
    yield may_adapt
    may_adapt.set()


async def mark_both(app: MetatuiApp, pilot: Pilot[None]) -> None:
    """Mark the finished run, then the run that is training, which is first in the list."""
    await pilot.press("2")
    await wait_for_workers(app, pilot)
    await pilot.press("down", "space", "up", "space")
    assert app.runs_tab.marked == [SAVED, LIVE]


async def attached(app: MetatuiApp, pilot: Pilot[None], sessions: FakeSessions) -> FakeSession:
    await pilot.press("1", "j")
    while sessions.session is None or app.run_controller.followed is None:
        await pilot.pause()
    await sessions.session.wait_until_shown(app, pilot)
    return sessions.session


def side_by_side(app: MetatuiApp) -> list[str]:
    return [views.run for views in app.run_controller.side_by_side]


def notes(app: MetatuiApp) -> str:
    return " ".join(note.message for note in app._notifications)


def run_pane(app: MetatuiApp) -> str:
    """Return the text of the run pane on one line."""
    numbers = app.query_one(RunNumbers)
    return " ".join(" ".join(segment.text for segment in row) for row in numbers.rows(200, 9, theme_of(numbers)))


async def test_marked_runs_are_shown_again_when_one_of_them_ends(make: Make, sessions: FakeSessions) -> None:
    app = make()
    async with app.run_test(size=SIZE, notifications=True) as pilot:
        await mark_both(app, pilot)
        await wait_for_workers(app, pilot)
        assert side_by_side(app) == [SAVED, LIVE]
        session = await attached(app, pilot, sessions)
        await wait_for_workers(app, pilot)
        assert side_by_side(app) == []
        session.end(Finished(60, "iterations", 1.0, None))
        await session.wait_until_ended(app, pilot)
        assert side_by_side(app) == [SAVED, LIVE]
        assert app.work_tab.pane == "run"
        assert "Finished" in notes(app)


async def test_another_run_that_ends_stays_shown(make: Make, sessions: FakeSessions) -> None:
    app = make()
    async with app.run_test(size=SIZE) as pilot:
        await mark_both(app, pilot)
        await wait_for_workers(app, pilot)
        await pilot.press("f5")
        await pilot.pause()
        assert sessions.session is not None
        await sessions.session.wait_until_shown(app, pilot)
        sessions.session.end(Finished(60, "iterations", 1.0, None))
        await sessions.session.wait_until_ended(app, pilot)
        assert side_by_side(app) == []


async def test_followed_run_is_shown_even_if_runs_were_just_marked(
    make: Make, sessions: FakeSessions, may_adapt: threading.Event
) -> None:
    app = make()
    async with app.run_test(size=SIZE) as pilot:
        may_adapt.clear()
        await mark_both(app, pilot)
        session = await attached(app, pilot, sessions)
        may_adapt.set()
        await wait_for_workers(app, pilot)
        assert side_by_side(app) == []
        session.end(Finished(60, "iterations", 1.0, None))
        await session.wait_until_ended(app, pilot)
        assert side_by_side(app) == [SAVED, LIVE]


async def test_marked_runs_are_shown_after_detaching(make: Make, sessions: FakeSessions) -> None:
    app = make()
    async with app.run_test(size=SIZE, notifications=True) as pilot:
        await mark_both(app, pilot)
        await attached(app, pilot, sessions)
        await pilot.press("d")
        await wait_for_workers(app, pilot)
        assert side_by_side(app) == [SAVED, LIVE]
        assert "continues in the background" in notes(app)
        assert not app.form.display


async def test_form_in_use_stays_when_marked_runs_appear(
    make: Make, sessions: FakeSessions, may_adapt: threading.Event
) -> None:
    app = make()
    async with app.run_test(size=SIZE) as pilot:
        may_adapt.clear()
        await mark_both(app, pilot)
        await attached(app, pilot, sessions)
        await pilot.press("d", "f")
        focused = app.focused
        may_adapt.set()
        await wait_for_workers(app, pilot)
        assert side_by_side(app) == [SAVED, LIVE]
        assert app.form.display
        assert app.focused is focused


async def test_escape_closes_the_opened_run(make: Make) -> None:
    app = make()
    async with app.run_test(size=SIZE, notifications=True) as pilot:
        await mark_both(app, pilot)
        await wait_for_workers(app, pilot)
        await pilot.press("down", "enter")
        await wait_for_workers(app, pilot)
        assert app.tab == "work"
        assert side_by_side(app) == []
        assert [run.run for run in app.run_controller.shown_runs] == [SAVED]
        assert notes(app) == "To show the marked runs again, press escape."
        await pilot.press("escape")
        await wait_for_workers(app, pilot)
        assert side_by_side(app) == [SAVED, LIVE]
        assert app.run_controller.shown is None
        assert [run.status for run in app.run_controller.shown_runs] == ["adaptation"] * 2


async def test_run_pane_names_the_marked_runs(make: Make) -> None:
    app = make()
    async with app.run_test(size=SIZE) as pilot:
        await mark_both(app, pilot)
        await wait_for_workers(app, pilot)
        await pilot.press("1")
        await pilot.pause()
        assert "The marked runs are shown: reptile, maml. To open one of them, press enter in the runs tab (2)." in (
            run_pane(app)
        )
        await pilot.press("2", "space")
        await wait_for_workers(app, pilot)
        await pilot.press("1")
        await pilot.pause()
        assert "The marked run is shown: reptile. To open it, press enter in the runs tab (2)." in run_pane(app)
        await pilot.press("2", "down", "space")
        await wait_for_workers(app, pilot)
        assert "No run is shown." in run_pane(app)


async def test_status_line_names_marked_runs_in_the_order_of_their_marks(make: Make, sessions: FakeSessions) -> None:
    app = make()
    async with app.run_test(size=SIZE) as pilot:
        await attached(app, pilot, sessions)
        await mark_both(app, pilot)
        await wait_for_workers(app, pilot)
        assert [(run.run, run.status) for run in app.run_controller.shown_runs] == [
            ("reptile", "adaptation"),
            (LIVE, "running"),
        ]


async def test_marking_is_answered_while_the_adaptation_is_computed(make: Make, may_adapt: threading.Event) -> None:
    app = make()
    async with app.run_test(size=SIZE, notifications=True) as pilot:
        may_adapt.clear()
        await mark_both(app, pilot)
        await pilot.pause()
        assert notes(app) == "Adapting 2 marked runs to held-out tasks…"
        await pilot.press("space", "space")
        await pilot.pause()
        assert notes(app) == "Adapting 2 marked runs to held-out tasks…"
        may_adapt.set()
        await wait_for_workers(app, pilot)
        assert side_by_side(app) == [SAVED, LIVE]
        assert "2 of at most 3" in notes(app)


async def test_escape_keeps_a_run_that_is_followed_or_the_only_one(make: Make, sessions: FakeSessions) -> None:
    app = make()
    async with app.run_test(size=SIZE, notifications=True) as pilot:
        await pilot.press("2")
        await wait_for_workers(app, pilot)
        await pilot.press("down", "space", "enter")
        await wait_for_workers(app, pilot)
        assert "again" not in notes(app)
        await pilot.press("escape")
        await wait_for_workers(app, pilot)
        assert app.run_controller.shown is not None
        await pilot.press("2", "up", "space")
        await attached(app, pilot, sessions)
        await pilot.press("escape")
        await wait_for_workers(app, pilot)
        assert app.run_controller.shown is app.run_controller.client.model
        assert side_by_side(app) == []
