"""What a case must not do: run something, write anywhere but at home, take more than its share of time or memory."""

from __future__ import annotations

import os
import resource
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from metatui.tui.helper.client import NICENESS
from metatui.utils.child_process import command

SECONDS = 30
"""Of CPU time that a case may take: it takes a tenth of one where all is well."""

ROOM = 3 * 1024**3
"""Bytes of address space that cases may take beyond what the libraries have."""

RUNS_CODE = frozenset(
    {"os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.forkpty", "subprocess.Popen",
     "pickle.find_class", "ctypes.dlopen", "os.startfile", "webbrowser.open"}
)  # fmt: skip
CHANGES = frozenset(
    {"os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.truncate", "os.symlink", "os.link", "os.chmod", "os.chown",
     "shutil.rmtree"}
)  # fmt: skip
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class TooLong(BaseException):
    """A case that goes on and on. Not an Exception, so that nobody takes it for an error of a file's."""


class Watch:
    """Python's own audit events, from construction to the end of the process."""

    def __init__(self, home: Path) -> None:
        self._home = os.path.realpath(home)
        self._found: list[str] | None = None
        sys.addaudithook(self._hear)
        signal.signal(signal.SIGPROF, _too_long)

    @contextmanager
    def case(self) -> Iterator[list[str]]:
        """Gives the list that grows by whatever is not allowed."""
        found: list[str] = []
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        self._found = found
        try:
            yield found
        finally:
            self._found = None
            signal.setitimer(signal.ITIMER_PROF, 0)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self._found is None:
            return
        if event in RUNS_CODE and not _is_our_own(event, arguments):
            self._found.append(f"{event}{arguments!r}"[:300])
        elif event == "open":
            path, mode, flags = arguments
            if (isinstance(mode, str) and set(mode) & set("wax+")) or (isinstance(flags, int) and flags & WRITES):
                self._check(event, path, follow=not (flags or 0) & os.O_NOFOLLOW)
        elif event in CHANGES:
            for path in arguments[: 2 if event in ("os.rename", "os.link") else 1]:
                self._check(event, path, follow=event in ("os.truncate", "os.chmod"))

    def _check(self, event: str, path: object, *, follow: bool) -> None:
        if self._found is None or not isinstance(path, str | bytes | os.PathLike):
            return
        found, self._found = self._found, None  # what is asked here is none of the case's
        try:
            name = os.fsdecode(path)
            where = os.path.realpath(name) if follow else os.path.join(os.path.realpath(os.path.dirname(name)), "x")
            if (
                not where.startswith(self._home + os.sep)
                and where != "/dev/null"
                and not where.startswith((f"/proc/{os.getpid()}/", "/proc/self/"))
            ):
                found.append(f"{event} of {where}")
        except (ValueError, OSError):
            pass
        finally:
            self._found = found


def _is_our_own(event: str, arguments: tuple[Any, ...]) -> bool:
    """Whether it is a helper process of the app's, or what the two say to each other."""
    if event == "subprocess.Popen":
        words = list(arguments[1])
        handle = int(words[4]) if len(words) > 4 and words[4].isdigit() else -1
        return words == command("metatui.tui.helper.worker", handle, NICENESS)
    return event == "pickle.find_class" and str(arguments[0]).startswith("metatui.")


def limit_memory() -> None:
    """From now on, `ROOM` beyond what there is."""
    limit = _status("VmSize") + ROOM
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def forget_peak() -> int:
    """Bytes of memory in use now; `peak` counts from here."""
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def peak() -> int:
    """The most bytes of memory that were in use since `forget_peak`."""
    return _status("VmHWM")


def _status(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return 1024 * int(line.split()[1])
    raise LookupError(name)


def _too_long(number: int, frame: FrameType | None) -> None:
    raise TooLong(f"more than {SECONDS} s of CPU time")
