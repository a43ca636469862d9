"""Suspending with ctrl+Z, and what a lost terminal does beside it."""

from __future__ import annotations

import signal
from types import FrameType


def continue_only_what_was_stopped() -> None:
    """Let SIGCONT bring the terminal back only after a SIGTSTP. To be called once Textual has its handlers in place.

    The kernel sends SIGHUP and then SIGCONT when a terminal goes away. Textual takes the second for the end of a
    suspension and starts to read the keyboard anew, in a thread that then spins for ever on a terminal that is gone.
    """
    stop, go_on = signal.getsignal(signal.SIGTSTP), signal.getsignal(signal.SIGCONT)
    if not (callable(stop) and callable(go_on)):
        return
    stopped = False

    def stopping(number: int, frame: FrameType | None) -> None:
        nonlocal stopped
        stopped = True
        stop(number, frame)

    def going_on(number: int, frame: FrameType | None) -> None:
        nonlocal stopped
        if stopped:
            stopped = False
            go_on(number, frame)

    signal.signal(signal.SIGTSTP, stopping)
    signal.signal(signal.SIGCONT, going_on)
