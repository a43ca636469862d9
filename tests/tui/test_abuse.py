"""What no reasonable person does to an app, and terminals do."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from textual import events
from textual.widgets import Input

from metatui.events import Failed
from metatui.tui.actions import Phase
from metatui.tui.app import MetatuiApp
from metatui.tui.screens.dialogs.confirm import ConfirmScreen
from metatui.tui.screens.dialogs.failure import FailureScreen
from metatui.tui.widgets.static_text import StaticText
from tests.monkey.actor import still_answers
from tests.terminal.program import Program
from tests.tui.fakes import FakeSessions, progress

Make = Callable[..., MetatuiApp]

SIZES = ((1, 1), (2, 1), (1, 60), (10, 3), (300, 1), (39, 11), (80, 24), (500, 200), (0, 0), (120, 40))


async def test_any_size_is_survived_and_the_run_followed_through_a_storm_of_them(
    make: Make, sessions: FakeSessions
) -> None:
    app = make()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("f5")
        await pilot.pause()
        session = sessions.session
        assert session is not None
        for number in range(60):
            width, height = SIZES[number % len(SIZES)]
            app.post_message(events.Resize.from_dimensions((width, height), None))
            session.emit(progress(number + 1))
            if number % 7 == 0:
                await session.heard(app, pilot)
        await session.heard(app, pilot)
        assert app.run_controller.shown is not None
        assert app.run_controller.shown.iteration == 60
        assert await still_answers(app, pilot)


@pytest.mark.parametrize("key", ["2", "3", "f1", "ctrl+p", "f4", "f2", "ctrl+g", "f12"])
async def test_every_screen_opens_in_a_terminal_of_no_size(key: str, make: Make, sessions: FakeSessions) -> None:
    app = make()
    async with app.run_test(size=(10, 3)) as pilot:
        await pilot.press("f5")
        await pilot.pause()
        assert sessions.session is not None
        await sessions.session.heard(app, pilot)
        await pilot.press(key)
        await pilot.resize_terminal(1, 1)
        await pilot.pause()
        assert await still_answers(app, pilot)


async def test_dialogs_over_dialogs_are_each_drawn_over_what_is_behind_them(make: Make) -> None:
    """As where a key that asks is pressed once more before it has asked."""
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


async def test_five_megabytes_pasted_into_a_field_are_told_to_be_no_number(make: Make, sessions: FakeSessions) -> None:
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


async def test_what_was_copied_from_the_screen_is_pasted_as_one_line(make: Make) -> None:
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


async def test_five_megabytes_pasted_where_no_field_is_do_nothing(make: Make, sessions: FakeSessions) -> None:
    app = make()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("f5")
        await pilot.pause()
        assert sessions.session is not None
        app.post_message(events.Paste("x" * 5_000_000))
        await sessions.session.heard(app, pilot)
        assert app.run_controller.client.phase is Phase.RUNNING
        assert not sessions.session.commands
        assert await still_answers(app, pilot)


async def test_an_unexpected_error_of_the_trainer_is_a_page_with_the_path_of_its_log(
    make: Make, sessions: FakeSessions
) -> None:
    app = make()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("f5")
        await pilot.pause()
        session = sessions.session
        assert session is not None
        session.run.path.mkdir(parents=True)
        session.run.crash_path.write_text("Traceback\n  \x1b[2J[bold]\nZeroDivisionError: division by zero\n")
        session.end(Failed(3, "ZeroDivisionError: see crash.log"))
        await session.over(app, pilot)
        assert isinstance(app.screen, FailureScreen)
        said = "\n".join(str(words.render()) for words in app.screen.query(StaticText))
        assert "crash.log" in said
        assert str(session.run.crash_path.parent.name) in said
        assert "ZeroDivisionError: division by zero" in said
        assert "\x1b" not in said
        await pilot.press("escape")
        assert await still_answers(app, pilot)


@pytest.mark.parametrize(
    "env", [{"TERM": "dumb"}, {"TERM": "unknown"}, {"TERM": ""}, {"LANG": "C", "LC_ALL": "C"}], ids=str
)
def test_terminals_that_say_little_of_themselves_are_drawn_on(env: dict[str, str]) -> None:
    with Program(env=env) as program:
        program.see("Settings")
        program.press("f1")
        program.see("Help")
        program.press("escape")
        program.press("f10")
        assert program.ended() == 0


def test_megabytes_pasted_into_a_real_terminal_leave_it_answering() -> None:
    with Program() as program:
        program.see("Settings")
        for _ in range(20):
            program.press("\x1b[200~" + "9[/]\x07" * 5_000 + "\x1b[201~")
            program.look()
        program.press("escape")
        program.press("f1")
        program.see("Help")
