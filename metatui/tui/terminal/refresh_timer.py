"""The timer that brings the screen up to date: twice a second, and less often where terminal or processor are slow."""

from __future__ import annotations

import time
from collections.abc import Callable

from textual.app import App
from textual.timer import Timer

PERIOD = 0.5
"""Seconds between two updates."""

CPU_SHARE = 0.05
"""Of one processor's time, at most so much goes into updates: the run's process may have no other."""

SHARE = 0.25
"""Of the time, at most so much is spent waiting for an update to be drawn."""

LONGEST = 5.0


class Ticker:
    """Calls `tick` as long as it says that there is more to come."""

    def __init__(self, app: App[None], tick: Callable[[], bool], held_up: Callable[[], float]) -> None:
        """`held_up` says for how many seconds the terminal has been taking what was drawn last; 0 where it has it."""
        self._app, self._tick, self._held_up = app, tick, held_up
        self._timer: Timer | None = None

    def start(self, delay: float = 0.0) -> None:
        """Call `tick` after `delay` seconds, or PERIOD if that is longer, unless it is due already."""
        if self._timer is None:
            self._timer = self._app.set_timer(max(PERIOD, delay), self._due)

    def _due(self) -> None:
        self._timer = None
        if self._held_up():
            # What is drawn now would only wait behind it, and so would the answer to the next key.
            self.start()
            return
        began = time.monotonic(), time.thread_time()
        if self._tick():
            # After the refresh, so that drawing and writing to the terminal are measured too.
            self._app.call_after_refresh(self._again, *began)

    def _again(self, began: float, cpu_began: float) -> None:
        self.start(pause(time.monotonic() - began, time.thread_time() - cpu_began))


def pause(took: float, cpu: float) -> float:
    """Seconds to wait after an update that took `took` seconds, `cpu` of them of this thread's own."""
    return min(LONGEST, max(PERIOD, took / SHARE, cpu / CPU_SHARE))
