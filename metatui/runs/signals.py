"""Ending a run softly: the first signal lets it finish its meta-step and save, the second ends it at once."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Ctrl-C, a scheduler's end of time, a lost connection."""


@contextmanager
def ending_softly(interrupt: Callable[[], None]) -> Iterator[None]:
    """Calls `interrupt` for the first signal. What nohup has set to be ignored stays ignored."""
    before = {each: signal.getsignal(each) for each in SIGNALS}

    def first(number: int, frame: FrameType | None) -> None:
        interrupt()
        for each in SIGNALS:
            if before[each] is not signal.SIG_IGN:
                signal.signal(each, second)

    def second(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    for each, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(each, first)
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
