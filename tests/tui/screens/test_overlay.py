"""Tests of dialogs and other screens that cover only a part of the screen below them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from textual._compositor import ChopsUpdate
from textual.widgets import Button, Input

from metatui.tui.app import MetatuiApp
from metatui.tui.command_palette.screen import Palette
from metatui.tui.screens.dialogs.live_settings import LiveScreen
from metatui.tui.widgets.static_text import StaticText
from tests.tui.fakes import FakeSessions, progress

Make = Callable[..., MetatuiApp]


def shown(app: MetatuiApp) -> str:
    """Draw the current screen and the screens behind it, and return the visible text."""
    app.screen._compositor.render_update(full=True, screen_stack=app._background_screens)
    return "\n".join(strip.text for strip in app.screen._compositor.render_strips())


@pytest.mark.parametrize("key", ["f4", "f1", "ctrl+p"])
async def test_changes_of_the_screen_below_are_shown(make: Make, sessions: FakeSessions, key: str) -> None:
    app = make()
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("f5")
        await pilot.press(key)
        await pilot.pause()
        session = sessions.session
        assert session is not None
        assert "7 of " not in shown(app)
        session.emit(progress(7, session.settings))
        await session.wait_until_shown(app, pilot)
        assert "7 of " in shown(app).splitlines()[0]


async def test_dialog_shows_the_dialog_and_the_screen_below(make: Make, sessions: FakeSessions) -> None:
    app = make()
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("f5", "f4", "f1")
        await pilot.pause()
        session = sessions.session
        assert session is not None
        session.emit(progress(7, session.settings))
        await session.wait_until_shown(app, pilot)
        await pilot.press("escape")
        await pilot.pause()
        assert isinstance(app.screen, LiveScreen)
        assert "7 of " in shown(app).splitlines()[0]
        assert "Change settings" in shown(app)


@pytest.mark.parametrize("size", [(80, 24), (160, 48)])
async def test_dialog_and_the_screen_below_follow_the_terminal(make: Make, size: tuple[int, int]) -> None:
    app = make()
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("f5", "f4")
        await pilot.pause()
        await pilot.resize_terminal(*size)
        await pilot.pause()
        lines = shown(app).splitlines()
        assert (len(lines[0]), len(lines)) == size
        assert "F4" in lines[-1]  # the key bar
        left = next(line for line in lines if "Change settings" in line).index("╭─ Change")
        assert left == (size[0] - 72) // 2


async def test_first_paint_of_the_palette_has_its_field(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    app = make()
    async with app.run_test(size=(120, 40)) as pilot:
        monkeypatch.setattr(Palette, "_gather_commands", lambda self, search_value: None)
        await pilot.press("ctrl+p")
        await pilot.pause()
        assert "An action, a preset" in shown(app)


async def test_focus_draws_only_the_fields_that_gain_and_lose_it(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    app, updates = make(), list[object]()
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("f5", "f4")
        await pilot.pause()
        monkeypatch.setattr(app, "_display", lambda screen, update: updates.append(update))
        await pilot.press("tab")
        await pilot.pause()
        first, second, *_ = app.screen.query(Input)
        assert app.screen.focused is second
        assert all(isinstance(update, ChopsUpdate) for update in updates)
        rows = {row for update in updates if isinstance(update, ChopsUpdate) for row, _, _ in update.spans}
        help_text = app.screen.query_one("#live-help").region
        fields = {first.region.y, second.region.y}
        assert fields <= rows <= fields | set(help_text.line_range)
        monkeypatch.undo()


async def test_widgets_are_styled_only_when_mounted(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    app = make()
    async with app.run_test() as pilot:
        styled: list[object] = []
        monkeypatch.setattr(app.stylesheet, "update_nodes", lambda nodes, animate=False: styled.extend(nodes))
        button = Button("Start", variant="primary", compact=True)
        StaticText().add_class("dialog-hint")
        assert not styled
        await pilot.app.mount(button)
        assert button.has_class("-primary")
        button.remove_class("-primary")
        assert styled == [button]
