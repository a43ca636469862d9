"""Socket in a run folder. The processes at both ends must belong to the same user."""

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

MAX_PATH_BYTES = 100
"""Maximum length in bytes of a socket path that every system accepts: Linux allows 107, macOS 103."""

BACKLOG = 16
"""Maximum number of connections that wait to be accepted."""


def socket_path(run: RunFolder) -> Path:
    return run.path / "control.sock"


def listen(run: RunFolder) -> socket.socket:
    """Open a socket to which only this user can connect.

    The caller must hold the run's lock. The new socket replaces the socket of a dead process.

    Raises:
        OSError: if the file system does not support sockets, or the folder cannot be written.
    """
    path = socket_path(run)
    fresh = path.with_name(f".{path.name}")
    with suppress(FileNotFoundError):
        fresh.unlink()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with _short_address(fresh) as address:
            listener.bind(address)
        fresh.chmod(0o600)
        listener.listen(BACKLOG)
        listener.setblocking(False)
        fresh.replace(path)  # the socket accepts connections as soon as it is visible
    except BaseException:
        listener.close()
        with suppress(OSError):
            fresh.unlink()
        raise
    return listener


def connect(run: RunFolder, *, timeout: float) -> socket.socket:
    """Connect to the socket of a run that another process is training.

    Raises:
        PermissionError: if the file is not a socket of this user.
        OSError: if no process listens on the socket.
    """
    path = socket_path(run)
    # In a folder written by another user, a link could point to another socket of this user.
    if not stat.S_ISSOCK(path.lstat().st_mode):
        raise PermissionError(f"{path.name} is not a socket")
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(timeout)
        with _short_address(path) as address:
            connection.connect(address)
        if not is_own(connection):
            raise PermissionError(f"{path.name} belongs to another user")
    except BaseException:
        connection.close()
        raise
    return connection


def is_own(connection: socket.socket) -> bool:
    """Return whether the process at the other end of the connection belongs to this user."""
    if sys.platform == "darwin":
        # struct xucred: version, user, ...
        peer = struct.unpack_from("II", connection.getsockopt(0, socket.LOCAL_PEERCRED, 76))[1]
    else:
        # struct ucred: process, user, group
        peer = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1]
    return bool(peer == os.geteuid())


@contextmanager
def _short_address(path: Path) -> Iterator[str]:
    """Context manager that yields an address of the socket `path`.

    If the path is too long for an address, the address contains a temporary symbolic link to the folder of the socket.
    """
    if len(os.fsencode(path)) <= MAX_PATH_BYTES:
        yield str(path)
        return
    with tempfile.TemporaryDirectory(prefix="metatui-") as private:  # accessible only to its owner
        link = Path(private, "run")
        link.symlink_to(path.parent, target_is_directory=True)
        yield str(link / path.name)
