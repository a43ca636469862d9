"""Tests of the app at extreme terminal sizes, with huge pastes, and in terminals with few features."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from textual import events
from textual.widgets import Input

from metatui.events import Failed
from metatui.tui.app import MetatuiApp
from metatui.tui.keyboard.actions import Phase
from metatui.tui.screens.dialogs.confirm import ConfirmScreen
from metatui.tui.screens.dialogs.failure import LINES, FailureScreen
from metatui.tui.widgets.static_text import StaticText
from tests.monkey.actor import still_answers
from tests.terminal.program import Program
from tests.tui.fakes import FakeSessions, progress

Make = Callable[..., MetatuiApp]

SIZES = ((1, 1), (2, 1), (1, 60), (10, 3), (300, 1), (39, 11), (80, 24), (500, 200), (0, 0), (120, 40))


async def test_run_is_followed_through_many_resizes(make: Make, sessions: FakeSessions) -> None:
    app = make()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("f5")
        await pilot.pause()
        session = sessions.session
        assert session is not None
        for number in range(2 * len(SIZES)):
            width, height = SIZES[number % len(SIZES)]
            app.post_message(events.Resize.from_dimensions((width, height), None))
            session.emit(progress(number + 1))
            if number % 7 == 0:
                await session.wait_until_shown(app, pilot)
        await session.wait_until_shown(app, pilot)
        assert app.run_controller.shown is not None
        assert app.run_controller.shown.iteration == 2 * len(SIZES)
        assert await still_answers(app, pilot)


async def test_screens_open_in_a_tiny_terminal(make: Make, sessions: FakeSessions) -> None:
    app = make()
    async with app.run_test(size=(10, 3)) as pilot:
        await pilot.press("f5")
        await pilot.pause()
        assert sessions.session is not None
        await sessions.session.wait_until_shown(app, pilot)
        for key in ("2", "3", "f1", "ctrl+p", "f4", "f2", "ctrl+g", "f12"):
            await pilot.resize_terminal(10, 3)
            await pilot.press(key)
            await pilot.resize_terminal(1, 1)
            await pilot.press("escape")
        assert await still_answers(app, pilot)


async def test_dialogs_are_stacked(make: Make) -> None:
    """Check that a second dialog covers the first.

    Two dialogs are open if the user presses a key again before the dialog of the first key press has opened.
    """
    app = make()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("u")
        for question in ("the first", "the second"):
            app.push_screen(ConfirmScreen("Suite", question, yes="Train"))
            await pilot.pause()
        await pilot.resize_terminal(70, 20)
        drawn = app.export_screenshot(simplify=True)
        assert "Suites:" in drawn
        assert "the&#160;second" in drawn
        assert await still_answers(app, pilot)


async def test_huge_paste_into_a_field_is_invalid(make: Make, sessions: FakeSessions) -> None:
    app = make()
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        field = (await app.form.reveal("algorithm.inner_lr")).control
        assert isinstance(field, Input)
        field.focus()
        await pilot.pause()
        app.post_message(events.Paste("[bold]9\x1b[2J\n" * 500_000))
        await pilot.press("f5")
        assert app.run_controller.client.phase is Phase.IDLE
        assert not sessions.started
        assert await still_answers(app, pilot)


async def test_only_the_first_pasted_line_is_used(make: Make) -> None:
    app = make()
    async with app.run_test(size=(80, 24)) as pilot:
        field = (await app.form.reveal("algorithm.inner_lr")).control
        assert isinstance(field, Input)
        field.focus()
        await pilot.pause()
        field.select_all()
        app.copy_to_clipboard("0.5\x07 \n" + "Curves\n" * 500_000)
        await pilot.press("ctrl+v")
        assert field.value == "0.5  "


async def test_huge_paste_outside_fields_is_ignored(make: Make, sessions: FakeSessions) -> None:
    app = make()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("f5")
        await pilot.pause()
        assert sessions.session is not None
        app.post_message(events.Paste("x" * 5_000_000))
        await sessions.session.wait_until_shown(app, pilot)
        assert app.run_controller.client.phase is Phase.RUNNING
        assert not sessions.session.commands
        assert await still_answers(app, pilot)


async def test_crash_of_the_trainer_shows_its_log(make: Make, sessions: FakeSessions) -> None:
    app = make()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("f5")
        await pilot.pause()
        session = sessions.session
        assert session is not None
        session.run.path.mkdir(parents=True)
        early = "".join(f"line {number}\n" for number in range(LINES))
        session.run.crash_path.write_text(f"{early}Traceback\n  \x1b[2J[bold]\nZeroDivisionError: division by zero\n")
        session.end(Failed(3, "ZeroDivisionError: see crash.log"))
        await session.wait_until_ended(app, pilot)
        assert isinstance(app.screen, FailureScreen)
        text = "\n".join(str(words.render()) for words in app.screen.query(StaticText))
        assert "crash.log" in text
        assert str(session.run.crash_path.parent.name) in text
        assert "ZeroDivisionError: division by zero" in text
        assert ("line 2\n" in text, "line 3\n" in text) == (False, True), "the last lines are shown"
        assert "\x1b" not in text
        assert "F6 in the work tab resumes the run from its last checkpoint." in text
        assert "metatui run" not in text
        await pilot.press("escape")
        assert await still_answers(app, pilot)


@pytest.mark.parametrize("env", [{"TERM": "unknown"}, {"TERM": ""}], ids=str)
def test_limited_terminals(env: dict[str, str]) -> None:
    with Program(env=env) as program:
        program.see("Settings")
        program.press("f1")
        program.see("Press / to search")
        program.press("escape")
        program.press("f10")
        assert program.wait() == 0


def test_huge_paste_into_a_real_terminal() -> None:
    with Program() as program:
        program.see("Settings")
        for _ in range(20):
            program.press("\x1b[200~" + "9[/]\x07" * 5_000 + "\x1b[201~")
            program.look()
        program.press("escape")
        program.press("f1")
        program.see("Press / to search")
