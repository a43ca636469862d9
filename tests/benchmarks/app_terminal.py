"""metatui under a pseudo-terminal, with the time at which every byte of it came. Needs Linux."""

from __future__ import annotations

import fcntl
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
"""Seconds until something that does not come is given up."""
COMMAND = (sys.executable, "-c", "import sys; from metatui.__main__ import main; sys.exit(main())")
"""What the script `metatui` does that pip installs."""


class Chunk(NamedTuple):
    at: float
    """By `time.monotonic`."""
    data: bytes


class Watched:
    """The app on a terminal of its own, read by a thread that only notes what comes and when: to understand the bytes
    takes long, and is done where nothing is being measured."""

    def __init__(self, *arguments: str, home: Path, size: tuple[int, int] = SIZE) -> None:
        self.size = size
        self.chunks: list[Chunk] = []
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
            self.process.terminate()  # which needs no keys
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
            except OSError:  # nobody has the other end any more
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
        """Press a key; the moment at which that was done."""
        now = time.monotonic()
        os.write(self._terminal, KEYS.get(key) or key.encode())
        return now

    def quiet(self, seconds: float) -> None:
        """Wait until nothing has come for so long."""
        with self._news:
            while not self._over and (not self.chunks or time.monotonic() - self.chunks[-1].at < seconds):
                self._news.wait(seconds / 4)

    def wait_for(self, words: bytes, *, since: float = 0.0) -> float:
        """Wait until `words` came in one piece after `since`; the moment at which they did."""
        deadline, at = time.monotonic() + PATIENCE, 0
        with self._news:
            while True:
                for chunk in self.chunks[at:]:
                    at += 1
                    if chunk.at > since and words in chunk.data:
                        return chunk.at
                if self._over or time.monotonic() > deadline:
                    raise AssertionError(f"{words!r} never came\n{self.text}")
                self._news.wait(1.0)

    def sent(self, since: float, until: float) -> int:
        """Bytes that came between two moments."""
        return sum(len(chunk.data) for chunk in list(self.chunks) if since <= chunk.at < until)

    @property
    def app(self) -> int:
        """The process that draws: the only child of the one that was started, which watches over it."""
        pid = self.process.pid
        return int(Path(f"/proc/{pid}/task/{pid}/children").read_text())

    @property
    def cpu_seconds(self) -> float:
        """User and system time of the process that draws, so far; the run trains in one of its own."""
        fields = Path(f"/proc/{self.app}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def screens(self) -> Iterator[tuple[float, str]]:
        """Every state of the screen from the start, and when it was there."""
        emulator = Emulator(*self.size)
        for chunk in list(self.chunks):
            emulator.feed(chunk.data)
            yield chunk.at, "\n".join(emulator.rows)

    @property
    def text(self) -> str:
        """The screen now."""
        emulator = Emulator(*self.size)
        for chunk in list(self.chunks):
            emulator.feed(chunk.data)
        return "\n".join(emulator.rows)

    def first(self, holds: Callable[[str], bool]) -> float:
        """Seconds from the start of the process until the screen was first as it is to be."""
        for at, text in self.screens():
            if holds(text):
                return at - self.began
        raise AssertionError(f"never seen\n{self.text}")


def surroundings(home: Path) -> dict[str, str]:
    """The environment of a person whose disk is `home`, with all processors."""
    folders = {f"XDG_{name}_HOME": str(home / name.lower()) for name in ("CONFIG", "DATA", "STATE", "CACHE")}
    found = environment() | folders | {"METATUI_RUNS": str(home / "runs"), "HOME": str(home)}
    del found["OMP_NUM_THREADS"]
    return found


@contextmanager
def new_home() -> Iterator[Path]:
    with TemporaryDirectory(prefix="metatui-benchmark-") as folder:
        yield Path(folder)


def children_cpu() -> float:
    """User and system time of all child processes that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def settings(**values: str | int | float) -> Sequence[str]:
    """`--set` options; `task__shots=1` is task.shots."""
    return [word for name, value in values.items() for word in ("--set", f"{name.replace('__', '.')}={value}")]
