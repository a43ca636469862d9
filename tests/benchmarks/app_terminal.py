"""Runner of metatui on a pseudo-terminal that records the time of every byte. Linux only."""

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
"""Seconds to wait for expected output."""
COMMAND = (sys.executable, "-c", "import sys; from metatui.__main__ import main; sys.exit(main())")
"""Equivalent of the `metatui` script installed by pip."""


class Chunk(NamedTuple):
    at: float
    """Time of `time.monotonic`."""
    data: bytes


class Watched:
    """App on a pseudo-terminal.

    A thread only records the bytes and their times. Interpreting them is slow and done when nothing is measured.
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
            ["setsid", "--ctty", *COMMAND, *arguments], stdin=line, stdout=line, stderr=line, env=surroundings(home)
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
        """Press a key, and return the time."""
        now = time.monotonic()
        os.write(self._terminal, KEYS.get(key) or key.encode())
        return now

    def quiet(self, seconds: float) -> None:
        """Wait until there has been no output for `seconds`."""
        with self._news:
            while not self._over and (not self.chunks or time.monotonic() - self.chunks[-1].at < seconds):
                self._news.wait(seconds / 4)

    def wait_for(self, words: bytes, *, since: float = 0.0) -> float:
        """Wait until `words` appear in the output after `since`, and return the time."""
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
        """Wait until the app has sent at least `count` bytes after `since`, and return the time."""
        with self._news:
            while self.sent(since, math.inf) < count:
                if self._over or not self._news.wait(PATIENCE):
                    raise AssertionError(f"the app did not send {count} bytes\n{self.text}")
            return self.chunks[-1].at

    def sent(self, since: float, until: float) -> int:
        """Count the bytes between two times."""
        return sum(len(chunk.data) for chunk in list(self.chunks) if since <= chunk.at < until)

    @property
    def app(self) -> int:
        """Return the ID of the process that draws, which is the only child of the started process."""
        pid = self.process.pid
        return int(Path(f"/proc/{pid}/task/{pid}/children").read_text())

    @property
    def cpu_seconds(self) -> float:
        """Return the CPU time of the process that draws; the run trains in another process."""
        return _cpu_seconds(self.app)

    @property
    def start_cpu_seconds(self) -> float:
        """Return the CPU time of the process that draws and of the one that has started it."""
        return self.cpu_seconds + _cpu_seconds(self.process.pid)

    def screens(self) -> Iterator[tuple[float, str]]:
        """Yield all states of the screen with their times, from the start."""
        emulator = Emulator(*self.size)
        for chunk in list(self.chunks):
            emulator.feed(chunk.data)
            yield chunk.at, "\n".join(emulator.rows)

    @property
    def text(self) -> str:
        """Return the current screen."""
        emulator = Emulator(*self.size)
        for chunk in list(self.chunks):
            emulator.feed(chunk.data)
        return "\n".join(emulator.rows)

    def interpret(self) -> Iterator[tuple[float, str]]:
        """Yield the states of the screen since the last call, with their times."""
        while self._interpreted < len(self.chunks):
            chunk = self.chunks[self._interpreted]
            self._interpreted += 1
            self._emulator.feed(chunk.data)
            yield chunk.at, "\n".join(self._emulator.rows)

    def answer(self, key: str, answered: Callable[[str], bool], patience: float) -> float:
        """Press a key, and return the seconds until the screen is as expected, at most `patience`."""
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
        """Return the seconds from the start of the process until `holds` is true for the screen."""
        for at, text in self.screens():
            if holds(text):
                return at - self.began
        raise AssertionError(f"the expected screen did not appear\n{self.text}")


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def surroundings(home: Path) -> dict[str, str]:
    """Return environment variables that place all folders in `home` and use all processors."""
    folders = {f"XDG_{name}_HOME": str(home / name.lower()) for name in ("CONFIG", "DATA", "STATE", "CACHE")}
    found = environment() | folders | {"METATUI_RUNS": str(home / "runs"), "HOME": str(home)}
    del found["OMP_NUM_THREADS"]
    return found


@contextmanager
def new_home() -> Iterator[Path]:
    with TemporaryDirectory(prefix="metatui-benchmark-") as folder:
        yield Path(folder)


def children_cpu() -> float:
    """Return the CPU time of all ended child processes."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def settings(**values: str | int | float) -> Sequence[str]:
    """Return `--set` options; `task__shots=1` sets task.shots."""
    return [word for name, value in values.items() for word in ("--set", f"{name.replace('__', '.')}={value}")]
