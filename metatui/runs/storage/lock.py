"""Lock that makes a process the only writer of a run. The operating system releases the lock if the process dies.

It uses `flock`. Since version 2.6.12, Linux supports `flock` over NFS (as a lock on all bytes of the file), so writers
on other machines are also excluded. This assumes that the mount has neither `nolock` nor `local_lock=flock`, and that
the server releases the locks of a dead machine (NFSv4: when its lease expires). Runs cannot be written on a
file system without locks.
"""

from __future__ import annotations

import fcntl
import json
import os
import pwd
import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from metatui.utils.errors import BadInput, MetatuiError, quote
from metatui.utils.files import read_bounded, write_whole, writing

PATIENCE = 10.0
"""Maximum number of seconds for which `RunLock` retries while another process holds a shared lock.

`is_held` holds a shared lock only briefly.
"""


class RunLock:
    """Lock held from construction until `release`. Raises BadInput if another writer on any machine holds it."""

    def __init__(self, path: Path, *, ends_on_sigterm: bool = False) -> None:
        """Acquire the lock.

        Args:
            ends_on_sigterm: whether other processes may send SIGTERM to this process to stop the run.
        """
        self._path = path
        owner = {"pid": os.getpid(), "host": socket.gethostname(), "ends_on_sigterm": ends_on_sigterm}
        self._mark = json.dumps({**owner, "released": False}).encode()
        # Of the same length, so that a full disk accepts it in place of `_mark`.
        self._released_mark = json.dumps({**owner, "released": True}).encode().ljust(len(self._mark))
        with writing(path):
            self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
            try:
                self._acquire()
                os.ftruncate(self._handle, 0)
                write_whole(self._handle, self._mark)
            except BaseException:
                os.close(self._handle)
                raise

    def _acquire(self) -> None:
        # `is_held` briefly takes a shared lock. If a shared lock is granted here, the exclusive lock was refused
        # because of `is_held`, not because of a writer.
        until = time.monotonic() + PATIENCE
        while not _try(self._handle, fcntl.LOCK_EX):
            if not _try(self._handle, fcntl.LOCK_SH):
                raise BadInput(f"run {quote(self._path.parent.name)} is in use by {holder(self._path)}")
            fcntl.flock(self._handle, fcntl.LOCK_UN)
            if time.monotonic() >= until:  # the process is frozen, or another program holds the lock
                raise BadInput(f"{quote(str(self._path), 200)} is locked by another process")

    def confirm(self) -> None:
        """Check that no other process has taken the lock, as can happen on a file server after a disconnection.

        Raises:
            BadInput: if another process holds the lock or held it in the meantime.
        """
        with writing(self._path):
            self._acquire()
            if os.pread(self._handle, 1000, 0) != self._mark:
                raise BadInput(f"run {quote(self._path.parent.name)} was taken over by {holder(self._path)}")

    def was_replaced(self) -> bool | None:
        """Return whether `path` is no longer the locked file but a different one, or None if `path` does not exist.

        The open handle prevents reuse of the inode, so the file is also recognised as different if its folder was
        deleted and created again.

        Raises:
            WriteRefusedError: if `path` cannot be examined.
        """
        with writing(self._path):
            try:
                found = os.stat(self._path, follow_symlinks=False)
            except (FileNotFoundError, NotADirectoryError):
                return None
            return not os.path.samestat(found, os.fstat(self._handle))

    def release(self) -> None:
        """Release the lock, and record this in the file. A second call does nothing."""
        if self._handle >= 0:
            with suppress(OSError):
                if os.pread(self._handle, 1000, 0) == self._mark:  # otherwise, another process took the lock over
                    os.pwrite(self._handle, self._released_mark, 0)
            os.close(self._handle)
            self._handle = -1


def is_held(path: Path) -> bool:
    """Return whether a live process holds the lock file `path`."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        return not _try(handle, fcntl.LOCK_SH)
    except OSError:  # a file system without locks
        return False
    finally:
        os.close(handle)


def holder(path: Path) -> str:
    """Describe the process that holds or last held the lock file `path`."""
    owner = _owner(path)
    if owner is None:
        return "another process"
    pid, host = owner.get("pid"), str(owner.get("host"))
    if pid == os.getpid() and host == socket.gethostname():
        return "this process"
    return f"process {quote(pid)}" + ("" if host == socket.gethostname() else f" on {quote(host)}")


def other_user(path: Path) -> str:
    """Return the name of the user that owns the lock file `path`, or an empty string for the current user.

    Only the owner can control the run: see `is_own` in `metatui.runs.execution.control.sockets`.
    """
    try:
        owner = path.lstat().st_uid
    except OSError:
        return ""
    if owner == os.geteuid():
        return ""
    try:
        return pwd.getpwuid(owner).pw_name
    except KeyError:
        return str(owner)


def other_process(path: Path) -> int | None:
    """Return the ID of the process that holds the lock file `path`.

    The result is None if no process holds the lock, or if the holder is this process or runs on another machine.
    """
    owner = _owner(path) if is_held(path) else None
    if owner is None or owner.get("host") != socket.gethostname():
        return None
    pid = owner.get("pid")
    return pid if type(pid) is int and pid > 1 and pid != os.getpid() else None


def ends_on_sigterm(path: Path) -> bool:
    """Return whether SIGTERM ends only a run, because the process that holds the lock file `path` does nothing else."""
    owner = _owner(path)
    return owner is not None and owner.get("ends_on_sigterm") is True


def released_by(path: Path) -> int | None:
    """Return the ID of the process that last held the lock file `path`, if it released the lock before it ended."""
    owner = _owner(path)
    pid = owner.get("pid") if owner is not None and owner.get("released") is True else None
    return pid if type(pid) is int else None


def _owner(path: Path) -> dict[str, Any] | None:
    """Return the content of a lock file; None if it is invalid."""
    owner: Any = None
    with suppress(MetatuiError, ValueError, RecursionError):
        owner = json.loads(read_bounded(path, 1000))
    return owner if isinstance(owner, dict) else None


def _try(handle: int, kind: int) -> bool:
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
