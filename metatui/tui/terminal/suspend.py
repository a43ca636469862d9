"""Suspending the app with ctrl+Z."""

from __future__ import annotations

import signal
from types import FrameType


def continue_only_after_suspend() -> None:
    """Let Textual handle SIGCONT only after a SIGTSTP. Call this after Textual has set its signal handlers.

    When a terminal is closed, the kernel sends SIGHUP and then SIGCONT. Textual would treat the SIGCONT as the end of a
    suspension, and read the keyboard again in a thread that never ends.
    """
    suspend, resume = signal.getsignal(signal.SIGTSTP), signal.getsignal(signal.SIGCONT)
    if not (callable(suspend) and callable(resume)):
        return
    suspended = False

    def on_suspend(number: int, frame: FrameType | None) -> None:
        nonlocal suspended
        suspended = True
        suspend(number, frame)

    def on_continue(number: int, frame: FrameType | None) -> None:
        nonlocal suspended
        if suspended:
            suspended = False
            resume(number, frame)

    signal.signal(signal.SIGTSTP, on_suspend)
    signal.signal(signal.SIGCONT, on_continue)
