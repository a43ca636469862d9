"""Runs `metatui` in a child process with its own pseudo-terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import ascii_lowercase
from types import TracebackType
from typing import Any, Final

from tests.terminal.screen import Emulator
from tests.terminal.terminal import PATIENCE, Terminal

# The session needs a controlling terminal to receive hang-ups and size changes. A launcher sets it, because it is not
# safe to run code between fork and exec in a process with threads.
LAUNCHER = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execvp(sys.argv[1], sys.argv[1:])"

METATUI = (sys.executable, "-m", "metatui")

KEYS: Final[Mapping[str, bytes]] = {
    "enter": b"\r", "tab": b"\t", "escape": b"\x1b", "space": b" ", "down": b"\x1b[B",
    "f1": b"\x1bOP", "f2": b"\x1bOQ", "f3": b"\x1bOR", "f4": b"\x1bOS", "f5": b"\x1b[15~", "f6": b"\x1b[17~",
    "f7": b"\x1b[18~", "f8": b"\x1b[19~", "f9": b"\x1b[20~", "f10": b"\x1b[21~",
    "f11": b"\x1b[23~", "f12": b"\x1b[24~", "ctrl+home": b"\x1b[1;5H", "ctrl+end": b"\x1b[1;5F",
} | {f"ctrl+{letter}": bytes([ord(letter) & 31]) for letter in ascii_lowercase}  # fmt: skip
"""Byte sequences that xterm and tmux send for keys."""


class Program(Terminal):
    """A child process that runs metatui, or another command, in a pseudo-terminal.

    Leaving the `with` block closes the terminal.
    """

    def __init__(
        self,
        *arguments: str,
        command: Sequence[str] = METATUI,
        size: tuple[int, int] = (80, 24),
        env: Mapping[str, str] | None = None,
    ) -> None:
        """Start the program.

        Args:
            arguments: arguments to append to `command`.
            command: program to start, and its first arguments.
            size: columns and rows of the terminal.
            env: environment variables to set in addition to those of `environment()`.
        """
        super().__init__()
        self.emulator = Emulator(*size)
        self._terminal, self._line = pty.openpty()
        self._set_size(*size)
        self.line_before = self.line_settings()
        self.process = subprocess.Popen(
            [sys.executable, "-S", "-E", "-c", LAUNCHER, *command, *arguments],
            stdin=self._line, stdout=self._line, stderr=self._line,
            start_new_session=True, env=environment() | dict(env or {}),
        )  # fmt: skip

    def __enter__(self) -> Program:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.hang_up()
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        os.close(self._line)

    @property
    def rows(self) -> Sequence[str]:
        return self.emulator.rows

    @property
    def joined_text(self) -> str:
        """Text of the screen as a single line, so that tests can find words that are split between two rows."""
        return "".join(self.rows)

    @property
    def app(self) -> int:
        """Process id of the app, which is a child of the process that was started. Requires /proc."""
        first = self.process.pid
        (child,) = Path(f"/proc/{first}/task/{first}/children").read_text().split()
        return int(child)

    @property
    def stopped(self) -> bool:
        """Whether the program is suspended, as a shell would see it. Requires /proc."""
        state = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()[0]
        self.look()  # after the check, so that the last output before the stop is read
        return state == "T"

    @property
    def condition(self) -> str:
        code = self.process.poll()
        return "the program runs" if code is None else f"the program ended with {code}"

    def look(self) -> bool:
        over = self.process.poll() is not None  # checked first, so that the last output is still read
        ready, _, _ = select.select([self._terminal], [], [], 0 if over else 0.05)
        if ready:
            self.emulator.feed(os.read(self._terminal, 65536))
        return bool(ready) or not over

    def press(self, key: str) -> None:
        self.send(KEYS.get(key) or key.encode())

    def send(self, data: bytes) -> None:
        """Send bytes to the program as terminal input."""
        os.write(self._terminal, data)

    def resize(self, columns: int, rows: int) -> None:
        self.emulator.resize(columns, rows)
        self._set_size(columns, rows)

    def resume(self) -> None:
        """Continue the suspended program, as the shell command `fg` does."""
        os.kill(self.process.pid, signal.SIGCONT)

    def hang_up(self) -> None:
        """Close the terminal, as if the connection had been lost."""
        if self._terminal >= 0:
            os.close(self._terminal)
            self._terminal = -1

    def wait(self) -> int:
        """Wait until the program ends. Return its exit code, or the negated signal number if a signal killed it."""
        if self._terminal >= 0:
            self.until(lambda: not self.look(), "the end")
        return self.process.wait(PATIENCE)

    def line_settings(self) -> list[Any]:
        """Return the line settings of the terminal, such as echo, line editing and signal keys."""
        return termios.tcgetattr(self._line)

    def _set_size(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def environment() -> dict[str, str]:
    """Return environment variables as in a login shell in a modern terminal, regardless of the current terminal."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "PYTHONPATH", "VIRTUAL_ENV") if name in os.environ}
    return kept | {"TERM": "xterm-256color", "COLORTERM": "truecolor", "LC_ALL": "C.UTF-8", "OMP_NUM_THREADS": "1"}
