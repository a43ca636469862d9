"""Parent process of the app. If the app crashes, the parent restores the terminal and reports the state of the run.

The parent imports neither torch nor Textual. Parent and child form one process group: both receive signals from the
terminal.
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

RESTORE = (
    b"\x18\x1b[?2026l"  # end an unfinished escape sequence and synchronized output
    b"\x1b[<u"  # keyboard protocol
    b"\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1006l\x1b[?1015l\x1b[?1016l"  # mouse
    b"\x1b[?1004l\x1b[?2004l\x1b[?2048l"  # reports of focus, paste and size
    b"\x1b[0m\x1b[?1049l\x1b[?25h\x1b[?7h"  # colours, alternate screen, cursor, line wrap
)

GRACE_SECONDS = 5
"""Maximum number of seconds for the app to exit after a signal. A short time is enough, because the app has nothing to
save."""

TERMINAL_SECONDS = 2
"""Maximum number of seconds to wait until the terminal accepts output."""


def run_in_child(body: Callable[[CrashInfo], int]) -> int:
    """Call `body` in a forked child process, and return its exit code in both the parent and the child.

    Call this function before large imports and before threads are started. If standard input or output is not a
    terminal, `body` is called in the current process instead.
    """
    from metatui.tui.terminal.crash_info import CrashInfo

    crash_info = CrashInfo()
    if not (os.isatty(0) and os.isatty(1)):
        return body(crash_info)
    line = termios.tcgetattr(0)
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        return body(crash_info)
    status = _waited(child)
    signal.signal(signal.SIGALRM, _give_up)
    signal.alarm(TERMINAL_SECONDS)
    with suppress(OSError, termios.error):  # the terminal may be closed or stalled
        if crash_info.drawing:
            _restore(line)
        if os.WIFSIGNALED(status):
            _report_crash(os.WTERMSIG(status), crash_info)
    signal.alarm(0)
    if not os.WIFSIGNALED(status):
        return os.waitstatus_to_exitcode(status)
    _log_crash(child, os.WTERMSIG(status))
    return 128 + os.WTERMSIG(status)


def _waited(child: int) -> int:
    """Wait until the child ends, and return its wait status.

    Signals are forwarded to the child. When the child is suspended, this process is suspended, too.
    """

    def end(number: int, frame: FrameType | None) -> None:
        _signal(child, number)
        signal.alarm(GRACE_SECONDS)

    def kill(number: int, frame: FrameType | None) -> None:
        _signal(child, signal.SIGKILL)

    # Signals from keys of the terminal also reach the child, which handles them.
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
        # The shell continues only this process, which then continues the child.
        os.kill(os.getpid(), signal.SIGSTOP)
        _signal(child, signal.SIGCONT)


def _signal(child: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(child, number)


def _give_up(number: int, frame: FrameType | None) -> None:
    raise TimeoutError("the terminal does not accept output")


def _restore(line: list[Any]) -> None:
    """Restore the state that the terminal had before the app started."""
    termios.tcsetattr(0, termios.TCSANOW, line)
    termios.tcflush(0, termios.TCIFLUSH)  # discard keys typed into the app
    os.write(2 if os.isatty(2) else 1, RESTORE)


def _log_crash(child: int, number: int) -> None:
    from metatui.utils.logs import write_log

    why = ", for example because memory ran out" if number == signal.SIGKILL else ""
    write_log(f"the app, process {child}, was terminated by {_name(number)}{why}")


def _name(number: int) -> str:
    names = {int(each): each.name for each in signal.Signals}  # most real-time signals have no name
    return names.get(number, f"signal {number}")


def _report_crash(number: int, crash_info: CrashInfo) -> None:
    from metatui.tui.terminal.crash_info import describe_background_run
    from metatui.utils import paths

    lines = [f"metatui was terminated by {_name(number)}; details are in the log {paths.log_file()}"]
    if run := crash_info.run:
        lines.append(describe_background_run(run) if run.is_live() else f"Run {run.id} is {run.status()}")
    os.write(2, "".join(f"{line}\n" for line in lines).encode())
