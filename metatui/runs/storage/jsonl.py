"""JSON lines: appended to by one writer, read by anybody at any moment; a torn or foreign line is skipped."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from metatui.runs.storage.append_only_file import AppendedFile
from metatui.utils.files import open_regular

JsonObject = Mapping[str, Any]


class LinesWriter:
    """Appends objects to a file of JSON lines. Writes what it was given when asked, or when `close`d."""

    def __init__(self, path: Path) -> None:
        """Raises WriteRefused."""
        self._file = AppendedFile(path)
        if not self._file.ends_with(b"\n"):  # a line torn by a death: the next one must not become part of it
            self._file.write(b"\n")

    def append(self, item: JsonObject) -> None:
        self._file.write(line(item))

    def append_text(self, text: str) -> None:
        """`text` is an object on one line."""
        self._file.write(text.encode() + b"\n")

    def flush(self, *, sync: bool = False) -> None:
        """Hands everything to the operating system; with `sync`, to the disk. Where it fails nothing is lost, and the
        next call goes on with it. Raises WriteRefused."""
        self._file.flush(sync=sync)

    def close(self) -> None:
        self._file.close()


def line(item: JsonObject) -> bytes:
    """`item` as one line."""
    return json.dumps(finite(item), separators=(",", ":"), allow_nan=False).encode() + b"\n"


def finite(value: Any) -> Any:
    """`value` with null for every number that JSON has no word for."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value


def parse_lines(data: bytes) -> Iterator[dict[str, Any]]:
    """The objects in `data`, one a line, without lines that are torn or hold something else."""
    lines = data.split(b"\n")
    if not lines[-1]:
        lines.pop()
    try:  # all at once, in half the time, where every line is whole
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


def read_range(path: Path, start: int, limit: int) -> bytes:
    """At most `limit` bytes from `start` on; nothing where the file is not there."""
    try:
        with open_regular(path) as file:
            # Room is made for as much as is asked for.
            left = max(0, file.seek(0, 2) - start)
            file.seek(start)
            return file.read(min(limit, left))
    except (OSError, ValueError):
        return b""


def read_tail(path: Path, limit: int) -> bytes:
    """The last `limit` bytes; nothing where the file is not there."""
    try:
        return read_range(path, max(0, path.stat().st_size - limit), limit)
    except OSError:
        return b""
