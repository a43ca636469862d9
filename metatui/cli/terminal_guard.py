"""The parent of the app, without torch and without textual. However the app dies, the terminal is put right, and it is
said where the run is.

Both are one process group on one terminal: what the terminal sends (hang-ups, new sizes, ctrl+C) reaches both.
"""

from __future__ import annotations

import os
import signal
import sys
import termios
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import TYPE_CHECKING, Any

from metatui.utils.end_signals import SIGNALS

if TYPE_CHECKING:
    from metatui.tui.terminal.crash_info import CrashInfo

PUT_RIGHT = (
    b"\x18\x1b[?2026l"  # neither a sequence nor a frame is under way
    b"\x1b[<u"  # keys as they were
    b"\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1006l\x1b[?1015l\x1b[?1016l"  # no mouse
    b"\x1b[?1004l\x1b[?2004l\x1b[?2048l"  # no word of focus, pastes and sizes
    b"\x1b[0m\x1b[?1049l\x1b[?25h\x1b[?7h"  # the screen, the cursor and the line ends as they were
)

GRACE_SECONDS = 5
"""How long the app may take to end when it is told to. It has nothing to save: runs have processes of their own."""

PATIENCE_SECONDS = 2
"""How long a terminal may take to be written to."""


def supervised(body: Callable[[CrashInfo], int]) -> int:
    """`body` in a child process; its exit code is returned, in both processes.

    Costs a fork, so it has to come before whatever is heavy, and before there are threads. Where there is no terminal
    to put right, `body` is simply called.
    """
    from metatui.tui.terminal.crash_info import CrashInfo

    words = CrashInfo()
    if not (os.isatty(0) and os.isatty(1)):
        return body(words)
    line = termios.tcgetattr(0)
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        return body(words)
    status = _waited(child)
    signal.signal(signal.SIGALRM, _give_up)
    signal.alarm(PATIENCE_SECONDS)
    with suppress(OSError, termios.error):  # the terminal may be gone, or take nothing
        if words.drawing:
            _put_right(line)
        if os.WIFSIGNALED(status):
            _tell(os.WTERMSIG(status), words)
    signal.alarm(0)
    return 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.waitstatus_to_exitcode(status)


def _waited(child: int) -> int:
    """How the child ended. Until then this process does what it does: ends when told to, stops and goes on."""

    def end(number: int, frame: FrameType | None) -> None:
        _signal(child, number)
        signal.alarm(GRACE_SECONDS)

    def kill(number: int, frame: FrameType | None) -> None:
        _signal(child, signal.SIGKILL)

    # What the terminal's keys send, the child gets as well, and knows what to do with it.
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU):
        signal.signal(number, signal.SIG_IGN)
    for number in set(SIGNALS) - {signal.SIGINT, signal.SIGALRM}:
        signal.signal(number, end)
    signal.signal(signal.SIGALRM, kill)
    while True:
        _, status = os.waitpid(child, os.WUNTRACED)
        if not os.WIFSTOPPED(status):
            signal.alarm(0)
            return status
        # It is this process that the shell waits for and continues.
        os.kill(os.getpid(), signal.SIGSTOP)
        _signal(child, signal.SIGCONT)


def _signal(child: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(child, number)


def _give_up(number: int, frame: FrameType | None) -> None:
    raise TimeoutError("the terminal takes nothing")


def _put_right(line: list[Any]) -> None:
    """The terminal, as it was before the app."""
    termios.tcsetattr(0, termios.TCSANOW, line)
    termios.tcflush(0, termios.TCIFLUSH)  # keys for the app are none for the shell
    os.write(2 if os.isatty(2) else 1, PUT_RIGHT)


def _tell(number: int, words: CrashInfo) -> None:
    from metatui.tui.terminal.crash_info import describe_background_run
    from metatui.utils import paths

    named = {int(each): each.name for each in signal.Signals}  # most real-time signals have no name
    name = named.get(number, f"signal {number}")
    lines = [f"metatui was ended by {name}; what it said last is in {paths.log_file()}"]
    if run := words.run:
        lines.append(describe_background_run(run) if run.is_live() else f"Run {run.id} is {run.status()}")
    os.write(2, "".join(f"{line}\n" for line in lines).encode())
