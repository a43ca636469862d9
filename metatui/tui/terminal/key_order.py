"""Base class of the app. It handles keys one after another, so that fast typing and pasting work like slow typing."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence

from textual.app import App
from textual.driver import Driver
from textual.events import Event, InputEvent, Key, Paste
from textual.message_pump import MessagePump

MAX_WAIT_SECONDS = 1.0
"""Seconds after which the next key is handled even if the previous key has not taken effect yet."""


class OrderedKeys(App[None], inherit_bindings=False):
    """App that holds each key back until the previous key has taken effect, for example by opening a screen.

    Textual sends each key immediately to the widget that has the focus. A binding runs only after its key has bubbled
    to the app, and the focus moves even later. If the following keys were sent before that, they would go to the
    wrong widget.
    """

    _waiting_since: float | None = None
    """Time at which the app began to handle the current key, or None if it is handling no key."""

    def __init__(self, driver_class: type[Driver]) -> None:
        super().__init__(driver_class)
        self._held: deque[Event] = deque()
        self.last_input = time.monotonic()
        """Time of the last input from the keyboard or mouse."""

    @property
    def has_waiting_keys(self) -> bool:
        """Whether keys have been pressed that the app has not begun to handle."""
        return bool(self._held)

    async def on_event(self, event: Event) -> None:
        if isinstance(event, InputEvent | Paste):
            self.last_input = time.monotonic()
        if not isinstance(event, Key | Paste) or event.is_forwarded:
            await super().on_event(event)
            return
        self._held.append(event)
        if self._waiting_since is None or time.monotonic() - self._waiting_since >= MAX_WAIT_SECONDS:
            await self._handle_next()

    async def _handle_next(self) -> None:
        self._waiting_since = None
        if self._held:
            event = self._held.popleft()
            self._waiting_since = time.monotonic()
            target = self.focused or self.screen
            await super().on_event(event)
            # The binding of the key runs in the app. The message that it posts, such as that a text was submitted, then
            # takes the same way as the key.
            path = target.ancestors_with_self
            self._follow([*path, *path] if event.is_forwarded else [self])

    def _follow(self, path: Sequence[MessagePump]) -> None:
        """Call `_wait_for_screen` when all nodes of `path` have handled their messages. The last node is the app."""
        for index, node in enumerate(path):
            rest = path[index + 1 :]
            if node.call_later(self._follow, rest) if rest else node.call_later(self._wait_for_screen):
                break

    def _wait_for_screen(self) -> None:
        """Handle the next key as soon as the current screen has set its focus."""
        if not self.screen.call_later(self.call_later, self._handle_next):
            self.call_later(self._handle_next)
