"""Limits for fuzz cases: no programs, no writing outside the home folder, limited CPU time and limited memory."""

from __future__ import annotations

import os
import resource
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from metatui.tui.helper.client import NICENESS
from metatui.utils.child_process import command

SECONDS = 30
"""Maximum CPU time of a case in seconds. Most cases take about 0.1 seconds."""

ROOM = 3 * 1024**3
"""Address space in bytes that cases may use in addition to that of the imported libraries."""

RUNS_CODE = frozenset(
    {"os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.forkpty", "subprocess.Popen",
     "pickle.find_class", "ctypes.dlopen", "os.startfile", "webbrowser.open"}
)  # fmt: skip
CHANGES: Mapping[str, tuple[tuple[int, int | None], ...]] = {
    "os.remove": ((0, 1),), "os.rmdir": ((0, 1),), "os.mkdir": ((0, 2),), "os.rename": ((0, 2), (1, 3)),
    "os.link": ((1, 3),), "os.symlink": ((1, 2),), "os.truncate": ((0, None),), "os.chmod": ((0, 2),),
    "os.chown": ((0, 3),), "os.utime": ((0, 3),), "shutil.rmtree": ((0, None),),
}  # fmt: skip
"""Audit events of changes to files. For each changed path, the positions of the path and of the file descriptor of the
folder to which it is relative."""
FOLLOWS = frozenset({"os.truncate", "os.chmod", "os.chown", "os.utime"})
"""Events that follow a symbolic link at the path."""
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class TooLongError(BaseException):
    """Raised if a case exceeds its CPU time limit.

    It derives from BaseException, so that code that handles invalid files does not catch it.
    """


class Watch:
    """Audit hook that records forbidden actions of cases. It cannot be removed, but it is active only in `case`."""

    def __init__(self, home: Path) -> None:
        self._home = os.path.realpath(home)
        self._violations: list[str] | None = None
        sys.addaudithook(self._audit)
        signal.signal(signal.SIGPROF, _too_long)

    @contextmanager
    def case(self) -> Iterator[list[str]]:
        """Monitor the code in the `with` block, and yield a list to which violations are added."""
        violations: list[str] = []
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        self._violations = violations
        try:
            yield violations
        finally:
            self._violations = None
            signal.setitimer(signal.ITIMER_PROF, 0)

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self._violations is None:
            return
        if event in RUNS_CODE and not _is_intended(event, arguments):
            self._violations.append(f"{event}{arguments!r}"[:300])
        elif event == "open":
            path, mode, flags = arguments
            if (isinstance(mode, str) and set(mode) & set("wax+")) or (isinstance(flags, int) and flags & WRITES):
                self._check(event, path, follow=not (flags or 0) & os.O_NOFOLLOW)
        for path, folder in CHANGES.get(event, ()):
            relative_to = -1 if folder is None else arguments[folder]
            self._check(event, arguments[path], follow=event in FOLLOWS, folder=relative_to)

    def _check(self, event: str, path: object, *, follow: bool, folder: int = -1) -> None:
        """Record a violation unless `path` is in the case's home folder or in `/proc/self`, or is `/dev/null`.

        Args:
            event: name of the audit event.
            follow: whether the event follows a symbolic link at `path`.
            folder: file descriptor of the folder to which `path` is relative; -1 for the current folder.
        """
        if self._violations is None or not isinstance(path, str | bytes | os.PathLike):
            return
        violations, self._violations = self._violations, None  # the following calls are not made by the case
        try:
            name = os.fsdecode(path)
            if folder != -1:
                name = os.path.join(os.readlink(f"/proc/self/fd/{folder}"), name)
            where = os.path.realpath(name) if follow else os.path.join(os.path.realpath(os.path.dirname(name)), "x")
            if (
                not where.startswith(self._home + os.sep)
                and where != "/dev/null"
                and not where.startswith((f"/proc/{os.getpid()}/", "/proc/self/"))
            ):
                violations.append(f"{event} of {where}")
        except (ValueError, OSError):
            pass
        finally:
            self._violations = violations


def _is_intended(event: str, arguments: tuple[Any, ...]) -> bool:
    """Return whether metatui performs the audited action on purpose.

    It starts the helper process of the app, unpickles messages from this process, and asks the NVIDIA driver why there
    is no GPU.
    """
    if event == "subprocess.Popen":
        words = list(arguments[1])
        handle = int(words[4]) if len(words) > 4 and words[4].isdigit() else -1
        return words == command("metatui.tui.helper.worker", handle, NICENESS)
    if event == "ctypes.dlopen":
        return arguments == ("libnvidia-ml.so.1",)
    return event == "pickle.find_class" and str(arguments[0]).startswith("metatui.")


def limit_memory() -> None:
    """Limit the address space of this process to its current size plus `ROOM` bytes."""
    limit = _status("VmSize") + ROOM
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def forget_peak() -> int:
    """Reset the peak memory use, and return the current memory use in bytes."""
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def peak() -> int:
    """Return the peak memory use since the last call of `forget_peak`, in bytes."""
    return _status("VmHWM")


def _status(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return 1024 * int(line.split()[1])
    raise LookupError(name)


def _too_long(number: int, frame: FrameType | None) -> None:
    raise TooLongError(f"more than {SECONDS} s of CPU time")
