"""Small files: read with a limit, written so that no reader ever sees half of one."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from metatui.errors import BadInput, MetatuiError, shown


def reason(error: OSError) -> str:
    """Why the operating system refused, in its own words."""
    return (error.strerror or str(error)).lower()


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns a full disk, a missing permission and the like into a sentence about `path`. Raises MetatuiError."""
    try:
        yield
    except OSError as error:
        raise MetatuiError(f"{shown(str(path), 200)} cannot be written: {reason(error)}") from error


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
    name = shown(str(path), 200)
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
    `path`, else it is removed. Raises MetatuiError."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise
        sync_directory(path.parent)


def write_atomically(path: Path, data: bytes) -> None:
    """Puts `data` in the place of `path`, so that no reader ever sees half of it. Raises MetatuiError."""
    with replacing(path) as file:
        file.write(data)


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
