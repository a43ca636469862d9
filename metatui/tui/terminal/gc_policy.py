"""Garbage is collected while nobody waits for an answer: to look through everything takes as long as half an answer."""

from __future__ import annotations

import gc
import sys
import time

QUIET = 2.0
"""Seconds without a key before everything is looked through."""

EVERY = 20.0
"""Seconds between two times."""


class Garbage:
    """Of an app that was started with collection off, until `begin`; where it was on, as in tests, all stays so."""

    def __init__(self) -> None:
        self._ours = False
        self._pressed_at = 0.0

    def begin(self) -> None:
        """Collect what is young at once from now on, and the rest in `look`."""
        if not gc.isenabled():
            self._ours = True
            young, middle, _ = gc.get_threshold()
            gc.set_threshold(young, middle, sys.maxsize >> 33)  # the largest that it takes
            self.keep()
            gc.enable()

    def keep(self) -> None:
        """What there is so far is no garbage, and is looked through no more."""
        if self._ours:
            gc.freeze()

    def pressed(self) -> None:
        """Somebody is at the keyboard."""
        self._pressed_at = time.monotonic()

    def look(self) -> None:
        """Collect what is old, unless somebody has just pressed a key. To be called `EVERY` so often."""
        if self._ours and time.monotonic() - self._pressed_at > QUIET:
            gc.collect()
