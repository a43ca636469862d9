"""A file that only grows, by one writer, and loses nothing of it to a disk that refuses for a while."""

from __future__ import annotations

import os
from pathlib import Path

from metatui.utils.files import writing

UNSYNCED = 1024 * 1024
"""Bytes that are kept in memory until the disk has them for certain; with more, the disk is waited for."""


class AppendedFile:
    """What `write` was given is remembered until a `flush` has brought it to the disk.

    A `flush` that failed, even in the middle of a line, is taken up by the next one at the byte where it ended.
    """

    def __init__(self, path: Path, *, fresh: bool = False) -> None:
        """Opens `path`, which is made where it is not there; with `fresh` it must not be. Raises WriteRefused."""
        self._path = path
        with writing(path):
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | (os.O_EXCL if fresh else 0)
            self._handle = os.open(path, flags, 0o666)
            self._synced = os.fstat(self._handle).st_size
        self._rest = bytearray()
        self._written = 0

    def ends_with(self, last: bytes) -> bool:
        """Whether the file, as it was opened, is empty or ends so."""
        with writing(self._path):
            return self._synced == 0 or os.pread(self._handle, len(last), self._synced - len(last)) == last

    def write(self, data: bytes) -> None:
        self._rest += data

    def flush(self, *, sync: bool = False) -> None:
        """Hands everything to the operating system; with `sync`, to the disk. Raises WriteRefused."""
        with writing(self._path):
            while self._written < len(self._rest):
                at = self._synced + self._written
                self._written += os.pwrite(self._handle, bytes(self._rest[self._written :]), at)
            if self._rest and (sync or self._written > UNSYNCED):
                self._sync()

    def close(self) -> None:
        """Also where the last `flush` fails; a second call does nothing. Raises WriteRefused."""
        if self._handle < 0:
            return
        try:
            self.flush(sync=True)
        finally:
            handle, self._handle = self._handle, -1
            with writing(self._path):
                os.close(handle)

    def _sync(self) -> None:
        try:
            os.fsync(self._handle)
        except OSError:
            # The system forgets which pages it could not write, so that the next sync would succeed without them.
            self._written = 0
            raise
        self._synced += self._written
        del self._rest[: self._written]
        self._written = 0
