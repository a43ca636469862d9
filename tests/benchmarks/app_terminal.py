"""Run metatui on a pseudo-terminal, and record its output with the time at which each part arrives. Linux only."""

from __future__ import annotations

import fcntl
import math
import os
import pty
import resource
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import NamedTuple

from tests.terminal.program import KEYS, environment
from tests.terminal.screen import Emulator

SIZE = (120, 40)
PATIENCE = 300.0
"""Maximum number of seconds to wait for expected output."""
COMMAND = (sys.executable, "-c", "import sys; from metatui.__main__ import main; sys.exit(main())")
"""Command that is equivalent to the `metatui` script installed by pip."""


class Chunk(NamedTuple):
    at: float
    """Time at which the output arrived, as a value of `time.monotonic()`."""
    data: bytes


class Watched:
    """The app on a pseudo-terminal. All output of the app is recorded.

    A thread records the output and the times at which it arrives. Computing the screen from the output is slow and is
    left to other methods.
    """

    def __init__(self, *arguments: str, home: Path, size: tuple[int, int] = SIZE) -> None:
        self.size = size
        self.chunks: list[Chunk] = []
        self._emulator = Emulator(*size)
        self._interpreted = 0
        self._news = threading.Condition()
        self._over = False
        self._terminal, line = pty.openpty()
        fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, struct.pack("HHHH", size[1], size[0], 0, 0))
        self.began = time.monotonic()
        self.process = subprocess.Popen(
            ["setsid", "--ctty", *COMMAND, *arguments], stdin=line, stdout=line, stderr=line, env=environment_of(home)
        )
        os.close(line)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Watched:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.terminate()  # does not depend on keys
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._reader.join()
        os.close(self._terminal)

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self._terminal, 1 << 20)
            except OSError:  # the other end is closed
                data = b""
            with self._news:
                if data:
                    self.chunks.append(Chunk(time.monotonic(), data))
                else:
                    self._over = True
                self._news.notify_all()
            if not data:
                return

    def press(self, key: str) -> float:
        """Send a key press to the app, and return the time at which it was sent."""
        now = time.monotonic()
        os.write(self._terminal, KEYS.get(key) or key.encode())
        return now

    def quiet(self, seconds: float) -> None:
        """Wait until there has been no output for `seconds`."""
        with self._news:
            while not self._over and (not self.chunks or time.monotonic() - self.chunks[-1].at < seconds):
                self._news.wait(seconds / 4)

    def wait_for(self, words: bytes, *, since: float = 0.0) -> float:
        """Wait until a chunk of output after the time `since` contains `words`, and return the time of this chunk."""
        deadline, at = time.monotonic() + PATIENCE, 0
        with self._news:
            while True:
                for chunk in self.chunks[at:]:
                    at += 1
                    if chunk.at > since and words in chunk.data:
                        return chunk.at
                if self._over or time.monotonic() > deadline:
                    raise AssertionError(f"{words!r} did not appear\n{self.text}")
                self._news.wait(1.0)

    def wait_for_bytes(self, count: int, *, since: float) -> float:
        """Wait until the app has sent `count` or more bytes after `since`. Returns the time of the latest output."""
        with self._news:
            while self.sent(since, math.inf) < count:
                if self._over or not self._news.wait(PATIENCE):
                    raise AssertionError(f"the app did not send {count} bytes\n{self.text}")
            return self.chunks[-1].at

    def sent(self, since: float, until: float) -> int:
        """Return the number of bytes that the app sent between the times `since` and `until`."""
        return sum(len(chunk.data) for chunk in list(self.chunks) if since <= chunk.at < until)

    @property
    def app(self) -> int:
        """ID of the process that draws the screen, which is the only child of the started process."""
        pid = self.process.pid
        return int(Path(f"/proc/{pid}/task/{pid}/children").read_text())

    @property
    def cpu_seconds(self) -> float:
        """CPU seconds of the process that draws the screen. Training takes place in another process."""
        return _cpu_seconds(self.app)

    @property
    def start_cpu_seconds(self) -> float:
        """CPU seconds of the process that draws the screen and of the process that started it."""
        return self.cpu_seconds + _cpu_seconds(self.process.pid)

    def screens(self) -> Iterator[tuple[float, str]]:
        """Yield the time and the text of each state of the screen, from the start of the app."""
        emulator = Emulator(*self.size)
        for chunk in list(self.chunks):
            emulator.feed(chunk.data)
            yield chunk.at, "\n".join(emulator.rows)

    @property
    def text(self) -> str:
        """Text of the current screen."""
        emulator = Emulator(*self.size)
        for chunk in list(self.chunks):
            emulator.feed(chunk.data)
        return "\n".join(emulator.rows)

    def interpret(self) -> Iterator[tuple[float, str]]:
        """Yield the time and the text of each state of the screen since the last call of this method."""
        while self._interpreted < len(self.chunks):
            chunk = self.chunks[self._interpreted]
            self._interpreted += 1
            self._emulator.feed(chunk.data)
            yield chunk.at, "\n".join(self._emulator.rows)

    def answer(self, key: str, answered: Callable[[str], bool], patience: float) -> float:
        """Press a key, and return the seconds until `answered` is true for the screen, but at most `patience`."""
        for _ in self.interpret():
            pass
        began = self.press(key)
        while time.monotonic() < began + patience:
            for at, text in self.interpret():
                if at >= began and answered(text):
                    return at - began
            with self._news:
                if self._interpreted == len(self.chunks):
                    self._news.wait(0.1)
        return patience

    def first(self, holds: Callable[[str], bool]) -> float:
        """Return the seconds from the start of the process until `holds` was true for the screen for the first time."""
        for at, text in self.screens():
            if holds(text):
                return at - self.began
        raise AssertionError(f"the expected screen did not appear\n{self.text}")


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def environment_of(home: Path) -> dict[str, str]:
    """Return environment variables that make the app keep its files in `home` and let torch use all processors."""
    folders = {f"XDG_{name}_HOME": str(home / name.lower()) for name in ("CONFIG", "DATA", "STATE", "CACHE")}
    found = environment() | folders | {"METATUI_RUNS": str(home / "runs"), "HOME": str(home)}
    del found["OMP_NUM_THREADS"]
    return found


@contextmanager
def new_home() -> Iterator[Path]:
    with TemporaryDirectory(prefix="metatui-benchmark-") as folder:
        yield Path(folder)


def children_cpu() -> float:
    """Return the CPU seconds of all child processes that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def settings(**values: str | int | float) -> Sequence[str]:
    """Return `--set` options for the given settings: `task__shots=1` becomes `--set task.shots=1`."""
    return [word for name, value in values.items() for word in ("--set", f"{name.replace('__', '.')}={value}")]
