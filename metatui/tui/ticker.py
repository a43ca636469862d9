"""The timer that brings the screen up to date: twice a second, and less often where drawing takes long."""

from __future__ import annotations

import time
from collections.abc import Callable

from textual.app import App
from textual.timer import Timer

PERIOD = 0.5
"""Seconds between two updates."""

SHARE = 0.25
"""Of the time, at most so much goes into updates: a slow line or machine gets fewer of them."""

LONGEST = 5.0


class Ticker:
    """Calls `tick` as long as it says that there is more to come."""

    def __init__(self, app: App[None], tick: Callable[[], bool]) -> None:
        self._app, self._tick = app, tick
        self._timer: Timer | None = None

    def start(self, delay: float = 0.0) -> None:
        """Call `tick` after `delay` seconds, or PERIOD if that is longer, unless it is due already."""
        if self._timer is None:
            self._timer = self._app.set_timer(max(PERIOD, delay), self._due)

    def _due(self) -> None:
        self._timer = None
        began = time.monotonic()
        if self._tick():
            # After the refresh, so that drawing and writing to the terminal are measured too.
            self._app.call_after_refresh(self._again, began)

    def _again(self, began: float) -> None:
        self.start(min(LONGEST, (time.monotonic() - began) / SHARE))
