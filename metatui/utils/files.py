"""Functions that read files up to a size limit, and write files atomically."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from metatui.utils.errors import BadInput, MetatuiError, quote


def reason(error: OSError) -> str:
    """Return the operating system's message about `error` in lower case."""
    return (error.strerror or str(error)).lower()


TEMPORARY_ERRNOS = frozenset(
    {
        errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO, errno.EACCES, errno.EPERM, errno.ENOLCK,
        errno.ENFILE, errno.EMFILE, errno.ENOMEM, errno.ESTALE, errno.ETIMEDOUT, errno.EHOSTDOWN, errno.ENOTCONN,
    }
)  # fmt: skip
"""`errno` values of errors that may be temporary.

Examples are a full disk, an unavailable file server and an expired Kerberos ticket.
"""


class WriteRefusedError(MetatuiError):
    """Raised if the operating system refuses to write a file."""

    def __init__(self, path: Path, error: OSError) -> None:
        super().__init__(f"{quote(str(path), 200)} cannot be written: {reason(error)}")
        self.is_temporary = error.errno in TEMPORARY_ERRNOS
        """True if a later attempt to write may succeed."""


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Context manager that converts operating system errors to WriteRefusedError, with a message that names `path`."""
    try:
        yield
    except OSError as error:
        raise WriteRefusedError(path, error) from error


class NotAFileError(OSError):
    """Raised if a path exists, but is not a regular file."""

    def __init__(self, path: Path) -> None:
        super().__init__(errno.EINVAL, "not a file", str(path))


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file for reading. A device or a pipe is not opened, because it may block or never end.

    Raises:
        NotAFileError: if the path is not a regular file.
        OSError: if the file cannot be opened.
        ValueError: if the path contains a NUL.
    """
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise NotAFileError(path)
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(handle).st_mode):  # the file was replaced after the first check
        os.close(handle)
        raise NotAFileError(path)
    return os.fdopen(handle, "rb")


def read_bounded(path: Path, limit: int) -> bytes:
    """Read a whole regular file.

    Raises:
        BadInput: if the file does not exist, cannot be read, or has more than `limit` bytes.
    """
    name = quote(str(path), 200)
    try:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            if size > limit:
                raise BadInput(f"{name} is too large: at most {limit:,} bytes are read")
            # read(n) allocates n bytes, so read only as many as the file has.
            data = file.read(size + 1)
            if len(data) > size:
                data += file.read(limit + 1 - len(data))
    except NotAFileError:
        raise BadInput(f"{name} is not a file") from None
    except MemoryError:
        raise BadInput(f"{name} is too large for this machine's memory") from None
    except FileNotFoundError:
        raise BadInput(f"{name}: there is no such file") from None
    except OSError as error:
        raise BadInput(f"{name} cannot be read: {reason(error)}") from None
    except ValueError:  # a NUL in the name
        raise BadInput(f"{name} is not a valid file name") from None
    if len(data) > limit:
        raise BadInput(f"{name} grew while it was being read")
    return data


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Context manager that yields a temporary file with which to replace `path`.

    If the `with` block succeeds, the file is synced to disk and replaces `path`. Otherwise, the file is removed.

    Raises:
        WriteRefusedError: if the file cannot be written.
    """
    with _replacing(path) as handle, os.fdopen(handle, "wb", closefd=False) as file:
        yield file


def write_atomically(path: Path, data: bytes) -> None:
    """Replace the content of `path` atomically.

    Raises:
        WriteRefusedError: if the file cannot be written.
    """
    with _replacing(path) as handle:
        write_whole(handle, data)


def write_whole(handle: int, data: bytes) -> None:
    """Write all of `data`, in several system calls if necessary."""
    with memoryview(data) as rest:
        written = 0
        while written < len(rest):
            written += os.write(handle, rest[written:])


@contextmanager
def _replacing(path: Path) -> Iterator[int]:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
            try:
                yield handle
                os.fsync(handle)
            finally:
                os.close(handle)
            os.replace(temporary, path)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary)
            raise
        sync_directory(path.parent)


def make_own_folder(path: Path) -> None:
    """Create the folder `path` if it does not exist.

    Raises:
        BadInput: if `path` is a symbolic link, through which files elsewhere would be written.
        WriteRefusedError: if the folder cannot be created.
    """
    if path.is_symlink():
        raise BadInput(f"{quote(str(path), 200)} is a symbolic link, but must be a folder")
    with writing(path):
        path.mkdir(exist_ok=True)


def remove_leftovers(folder: Path, names: Iterable[str]) -> None:
    """Remove the temporary files of interrupted writes to the files `names` in `folder`.

    The caller must know that no other process is writing these files.

    Raises:
        WriteRefusedError: if a file cannot be removed.
    """
    leftover = re.compile(rf"\.(?:{'|'.join(map(re.escape, names))})\.[0-9]{{1,10}}\.tmp")
    with writing(folder):
        for name in os.listdir(folder):
            if leftover.fullmatch(name):
                os.unlink(folder / name)


def sync_directory(path: Path) -> None:
    """Sync a folder to disk, so that renames in it survive a power failure."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems cannot sync a folder
            raise
    finally:
        os.close(handle)
