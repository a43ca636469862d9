"""Small files: read with a limit, written so that no reader ever sees half of one."""

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
    """Why the operating system refused, in its own words."""
    return (error.strerror or str(error)).lower()


PASSING = frozenset(
    {
        errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO, errno.EACCES, errno.EPERM, errno.ENOLCK,
        errno.ENFILE, errno.EMFILE, errno.ENOMEM, errno.ESTALE, errno.ETIMEDOUT, errno.EHOSTDOWN, errno.ENOTCONN,
    }
)  # fmt: skip
"""What may be over when somebody has made room, or when a file server or a ticket for it is there again."""


class WriteRefused(MetatuiError):
    """The operating system did not let a file be written."""

    def __init__(self, path: Path, error: OSError) -> None:
        super().__init__(f"{quote(str(path), 200)} cannot be written: {reason(error)}")
        self.passing = error.errno in PASSING
        """Whether it may be possible later."""


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns a full disk, a missing permission and the like into a sentence about `path`. Raises WriteRefused."""
    try:
        yield
    except OSError as error:
        raise WriteRefused(path, error) from error


class NotAFile(OSError):
    """There is something at the path, but no regular file."""

    def __init__(self, path: Path) -> None:
        super().__init__(errno.EINVAL, "not a file", str(path))


def open_regular(path: Path) -> BinaryIO:
    """A regular file, opened to be read. A device or a pipe may never end, or wait for somebody at its other end: it is
    not even opened. Raises NotAFile, OSError, and ValueError for a NUL in the name."""
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise NotAFile(path)
    file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC), "rb")
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):  # it has just taken the file's place
        file.close()
        raise NotAFile(path)
    return file


def read_bounded(path: Path, limit: int) -> bytes:
    """The whole of a regular file. Raises BadInput where there is none, or where it is over `limit` bytes."""
    name = quote(str(path), 200)
    try:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            if size > limit:
                raise BadInput(f"{name} is too large: at most {limit:,} bytes are read")
            # Room is made for as much as is asked for, so no more is than there should be.
            data = file.read(size + 1)
            if len(data) > size:
                data += file.read(limit + 1 - len(data))
    except NotAFile:
        raise BadInput(f"{name} is not a file") from None
    except MemoryError:
        raise BadInput(f"{name} is too large for this machine's memory") from None
    except FileNotFoundError:
        raise BadInput(f"{name}: there is no such file") from None
    except OSError as error:
        raise BadInput(f"{name} cannot be read: {reason(error)}") from None
    except ValueError:  # a NUL in the name
        raise BadInput(f"{name} is not a possible file name") from None
    if len(data) > limit:
        raise BadInput(f"{name} grew while it was read")
    return data


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file with a temporary name beside `path`. Where the block ends well it is synced to disk and takes the place of
    `path`, else it is removed. Raises WriteRefused."""
    with _replacing(path) as handle, os.fdopen(handle, "wb", closefd=False) as file:
        yield file


def write_atomically(path: Path, data: bytes) -> None:
    """Puts `data` in the place of `path`, so that no reader ever sees half of it. Raises WriteRefused."""
    with _replacing(path) as handle:
        write_whole(handle, data)


def write_whole(handle: int, data: bytes) -> None:
    """All of `data`, where the system takes it in pieces. Raises OSError."""
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


def remove_leftovers(folder: Path, names: Iterable[str]) -> None:
    """Removes the temporary files that processes which were killed left beside the files `names` of `folder`. Only for
    who knows that nobody is writing them. Raises WriteRefused."""
    left = re.compile(rf"\.(?:{'|'.join(map(re.escape, names))})\.[0-9]{{1,10}}\.tmp")
    with writing(folder):
        for name in os.listdir(folder):
            if left.fullmatch(name):
                os.unlink(folder / name)


def sync_directory(path: Path) -> None:
    """Makes renames inside `path` survive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems cannot sync a folder
            raise
    finally:
        os.close(handle)
