"""JSON lines files: one writer appends, and any process can read at any time, skipping incomplete or invalid lines."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from metatui.utils.errors import BadInput, quote
from metatui.utils.files import open_regular, reason, writing

JsonObject = Mapping[str, Any]

UNSYNCED = 1024 * 1024
"""Maximum number of bytes to keep in memory until they are synced to disk. If there are more, `flush` syncs them."""


class AppendOnlyFile:
    """Append-only file with a single writer, which loses no data if the disk temporarily refuses writes.

    Data stay in memory until they are synced. If a `flush` fails, even in the middle of a line, the next `flush`
    continues at the byte where the failed one stopped.
    """

    def __init__(self, path: Path, *, fresh: bool = False) -> None:
        """Open `path`, creating the file if needed. If `fresh` is True, the file must not exist.

        Raises:
            WriteRefusedError: if the file cannot be opened or created.
        """
        self._path = path
        with writing(path):
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | (os.O_EXCL if fresh else 0)
            self._handle = os.open(path, flags, 0o666)
            self._synced = os.fstat(self._handle).st_size
        self._pending = bytearray()
        self._written = 0

    def write(self, data: bytes) -> None:
        """Buffer `data` until the next `flush`."""
        self._pending += data

    def flush(self, *, sync: bool = False) -> None:
        """Pass all data to the operating system, and to the disk if `sync` is True.

        Raises:
            WriteRefusedError: if the data cannot be written.
        """
        with writing(self._path):
            while self._written < len(self._pending):
                at = self._synced + self._written
                self._written += os.pwrite(self._handle, bytes(self._pending[self._written :]), at)
            if self._pending and (sync or self._written > UNSYNCED):
                self._sync()

    def close(self) -> None:
        """Write all data to disk, and close the file even if this write fails. A second call does nothing.

        Raises:
            WriteRefusedError: if the data cannot be written or the file cannot be closed.
        """
        if self._handle < 0:
            return
        try:
            self.flush(sync=True)
        finally:
            handle, self._handle = self._handle, -1
            with writing(self._path):
                os.close(handle)

    def abandon(self) -> None:
        """Close the file without writing the buffered data. Later writes are refused."""
        os.close(self._handle)
        self._handle = -1

    def _sync(self) -> None:
        try:
            os.fsync(self._handle)
        except OSError:
            # The operating system drops pages that it could not write, so the next sync would succeed without them.
            self._written = 0
            raise
        self._synced += self._written
        del self._pending[: self._written]
        self._written = 0


class LinesWriter(AppendOnlyFile):
    """Writer of a JSON lines file."""

    def __init__(self, path: Path) -> None:
        """Open `path` for appending. Raises WriteRefusedError if the file cannot be opened."""
        super().__init__(path)
        with writing(path):
            last = os.pread(self._handle, 1, self._synced - 1) if self._synced else b"\n"
        if last != b"\n":  # a crash left a partial last line: start a new one
            self.write(b"\n")


def line(item: JsonObject) -> bytes:
    """Encode `item` as a line of JSON."""
    return json.dumps(finite(item), separators=(",", ":"), allow_nan=False).encode() + b"\n"


def finite(value: Any) -> Any:
    """Replace every NaN and infinity in `value` with None, because JSON cannot represent them."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value


def parse_lines(data: bytes) -> Iterator[dict[str, Any]]:
    """Yield the objects in `data`, skipping incomplete lines and lines that are not objects."""
    lines = data.split(b"\n")
    if not lines[-1]:
        lines.pop()
    try:  # parsing all lines together takes half the time
        items = json.loads(b"[" + b",".join(lines) + b"]")
    except (ValueError, RecursionError):
        items = []
    if len(items) == len(lines):
        yield from (item for item in items if isinstance(item, dict))
        return
    for text in lines:
        try:
            item = json.loads(text)
        except (ValueError, RecursionError):
            continue
        if isinstance(item, dict):
            yield item


def read_range(path: Path, start: int, limit: int, *, whole: bool = False) -> bytes:
    """Read at most `limit` bytes from offset `start`; return b"" if the file does not exist.

    Args:
        whole: whether to raise BadInput if an existing file cannot be read. By default, b"" is returned.
    """
    try:
        with open_regular(path) as file:
            left = max(0, file.seek(0, 2) - start)  # `read` would allocate all of `limit`
            file.seek(start)
            return file.read(min(limit, left))
    except (FileNotFoundError, ValueError):  # or a NUL in the name
        return b""
    except OSError as error:
        if whole:
            raise BadInput(f"{quote(str(path), 200)} cannot be read: {reason(error)}") from None
        return b""


def read_tail(path: Path, limit: int) -> bytes:
    """Read the last `limit` bytes; return b"" if the file cannot be read."""
    try:
        return read_range(path, max(0, path.stat().st_size - limit), limit)
    except OSError:
        return b""
