"""Fixtures and functions for tests of screens: a small app that shows one screen, and a fake helper process."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from textual.app import App
from textual.events import Key
from textual.pilot import Pilot
from textual.screen import Screen
from textual.widget import Widget

import metatui.tui
from metatui.tui.colors.themes import AsciiFilter
from metatui.tui.terminal.key_order import OrderedKeys
from metatui.tui.terminal.symbols import Symbols
from tests.tui.screens.fake_helper import FakeHelper


class ScreenApp(App[None]):
    """App that shows only `screen`, with metatui's style sheet. It starts much faster than the whole app."""

    TITLE = "metatui"
    CSS_PATH = Path(metatui.tui.__file__).with_name("metatui.tcss")

    def __init__(self, screen: Screen[Any], *, ascii: bool = False, theme: str = "textual-dark") -> None:  # noqa: A002
        super().__init__()
        self.animation_level = "none"
        self.symbols = Symbols.ASCII if ascii else Symbols.BRAILLE
        self.theme = theme
        self.shown = screen
        self.result: object = None

    def on_mount(self) -> None:
        self.push_screen(self.shown, self._dismissed)

    def _dismissed(self, result: object) -> None:
        self.result = result

    def get_line_filters(self):  # type: ignore[no-untyped-def]
        filters = super().get_line_filters()
        return [*filters, AsciiFilter()] if self.symbols is Symbols.ASCII else filters


def text_of(screen: Screen[Any], selector: str | type[Widget]) -> str:
    """Return the text of a widget as one line, without its scroll bar."""
    widget = screen.query_one(selector)
    lines = (widget.render_line(y).text.rstrip(" ┃│") for y in range(widget.size.height))
    return " ".join(" ".join(lines).split())


async def until_written(pilot: Pilot[Any]) -> None:
    """Wait until a dialog has written its file."""
    for worker in [worker for worker in pilot.app.workers if worker.group == "save"]:
        await worker.wait()
    await pilot.pause()


def press_after_reply(
    *keys: str, progress: Sequence[Any] = (), result: Any = True
) -> Callable[[Pilot[Any]], Awaitable[None]]:
    """Return a function that lets the fake helper reply and then presses `keys`, for `run_before` of `snap_compare`."""

    async def run(pilot: Pilot[Any]) -> None:
        await pilot.pause()
        await FakeHelper.made[-1].reply(pilot, *progress, done=result)
        await pilot.press(*keys)
        await pilot.pause()

    return run


@pytest.fixture
def fake_helper(monkeypatch: pytest.MonkeyPatch) -> type[FakeHelper]:
    FakeHelper.made.clear()
    monkeypatch.setattr("metatui.tui.screens.analysis_screen.Helper", FakeHelper)
    return FakeHelper


async def press_together(pilot: Pilot[None], *keys: str) -> None:
    """Send several key presses at once, and wait until the app has processed all of them.

    In contrast, `pilot.press` waits after each key.
    """
    app = pilot.app
    assert isinstance(app, OrderedKeys)
    for key in keys:
        app.post_message(Key(key, key if len(key) == 1 else None))
    await pilot.pause()
    while app._waiting_since is not None:
        await pilot.pause()
