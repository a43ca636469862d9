"""The socket in a run's folder: made, found, and trusted only where both ends belong to the same user."""

from __future__ import annotations

import os
import socket
import stat
import struct
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from metatui.runs.storage.run_folder import RunFolder

LONGEST = 100
"""Bytes of a path that every system takes as a socket's address; Linux takes 107, macOS 103."""

WAITING = 16
"""Viewers that may be waiting to be let in."""


def socket_path(run: RunFolder) -> Path:
    return run.path / "control.sock"


def listen(run: RunFolder) -> socket.socket:
    """A socket that only the user may connect to, in place of a dead process's. The caller holds the run's lock.

    Raises OSError where the file system has no sockets, or the folder cannot be written.
    """
    path = socket_path(run)
    fresh = path.with_name(f".{path.name}")
    with suppress(FileNotFoundError):
        fresh.unlink()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with _short(fresh) as address:
            listener.bind(address)
        fresh.chmod(0o600)
        listener.listen(WAITING)
        listener.setblocking(False)
        fresh.replace(path)  # whoever finds it there can connect
    except BaseException:
        listener.close()
        with suppress(OSError):
            fresh.unlink()
        raise
    return listener


def connect(run: RunFolder, *, timeout: float) -> socket.socket:
    """The other end of a live run's socket.

    Raises OSError: PermissionError where it is not the user's own, else why there is nobody to talk to.
    """
    path = socket_path(run)
    about = path.lstat()
    # In a folder that somebody else wrote, a link may lead to another of the user's own sockets.
    if not stat.S_ISSOCK(about.st_mode):
        raise PermissionError(f"{path.name} is not a socket")
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(timeout)
        with _short(path) as address:
            connection.connect(address)
        if not is_own(connection):
            raise PermissionError(f"{path.name} belongs to another user")
    except BaseException:
        connection.close()
        raise
    return connection


def is_own(connection: socket.socket) -> bool:
    """Whether the process at the other end runs as the same user as this one."""
    if sys.platform == "darwin":
        # struct xucred: version, user, ...
        peer = struct.unpack_from("II", connection.getsockopt(0, socket.LOCAL_PEERCRED, 76))[1]
    else:
        # struct ucred: process, user, group
        peer = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1]
    return bool(peer == os.geteuid())


@contextmanager
def _short(path: Path) -> Iterator[str]:
    """An address for `path`, by a private link where it is too long to be one itself."""
    if len(os.fsencode(path)) <= LONGEST:
        yield str(path)
        return
    with tempfile.TemporaryDirectory(prefix="metatui-") as private:  # which only its owner may enter
        link = Path(private, "run")
        link.symlink_to(path.parent, target_is_directory=True)
        yield str(link / path.name)
