"""Metrics file `metrics.jsonl`: one line for each meta-step, readable while the run is being trained."""

from __future__ import annotations

import math
import operator
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from metatui.events import Progress
from metatui.runs.storage.jsonl import LinesWriter, parse_lines, read_range, read_tail
from metatui.utils.errors import BadInput, quote
from metatui.utils.files import open_regular, writing

FLUSH_AFTER = 0.2
"""Maximum number of seconds that a line stays in memory during fast meta-steps."""

CHUNK = 1024 * 1024
"""Number of bytes per read. Parsed data need about ten times as much memory, so a long run is read in chunks."""
MAX_LINE_BYTES = 4096
MAX_GAP_BYTES = 16 * CHUNK
"""Maximum number of damaged bytes to skip in search of the next meta-step. A sparse file can have any size."""

MAX_NUMBER = 2**53
"""Largest valid number of meta-steps, tasks or seconds: above this, floats cannot represent every integer."""

OVERLAP_BYTES = 512
"""Maximum number of bytes before the current offset that are kept in memory. The next read checks that the file still
contains them. They are enough for at least two lines."""

_NAMES = tuple(field.name for field in fields(Progress))
_values = operator.attrgetter(*_NAMES)
_LINE = "{" + ",".join(f'"{name}":%s' for name in _NAMES) + "}\n"


class MetricsWriter(LinesWriter):
    """Writer of the metrics of meta-steps. For a resumed run, lines after meta-step `after` are removed first."""

    def __init__(self, path: Path, *, after: int) -> None:
        with writing(path):
            _truncate(path, after)
        super().__init__(path)
        self._flushed = time.monotonic()

    @property
    def is_due(self) -> bool:
        """Whether the last flush was at least `FLUSH_AFTER` seconds ago."""
        return time.monotonic() - self._flushed >= FLUSH_AFTER

    def append(self, progress: Progress) -> None:
        """Buffer the metrics of a meta-step until the next `flush`."""
        self.write((_LINE % tuple(map(_json, _values(progress)))).encode())

    def flush(self, *, sync: bool = False) -> None:
        """Pass buffered lines to the operating system, and to the disk if `sync` is True.

        Raises:
            WriteRefusedError: if the lines cannot be written.
        """
        super().flush(sync=sync)
        self._flushed = time.monotonic()


@dataclass
class MetricsReader:
    """Reader that returns the lines added since the last call.

    If the file no longer continues the data read so far, because the run was resumed from an earlier meta-step, reading
    restarts at the beginning. After such a call, `restarted` is True, and earlier results are invalid.
    """

    path: Path
    whole: bool = False
    """Whether to raise BadInput if an existing file cannot be read, or if more than `MAX_GAP_BYTES` bytes in a row are
    damaged. If False, such a file yields no meta-steps."""
    offset: int = 0
    restarted: bool = False
    _overlap: bytes = field(default=b"", repr=False)
    """The bytes directly before `offset`, used to detect that the file was rewritten.

    Every line contains a time, so if a meta-step is repeated, its new line differs from the old one.
    """

    def read_new(self, limit: int = CHUNK) -> list[Progress]:
        """Return meta-steps added since the last call; an empty list if there are none.

        Data that are not meta-steps, such as a block that the disk lost, are skipped, up to `MAX_GAP_BYTES` bytes.

        Args:
            limit: approximate number of bytes to read at a time. Reading ends at the first meta-steps found.

        Raises:
            BadInput: if `whole` is True, and an existing file cannot be read or has a larger gap.
        """
        self.restarted, skipped = False, 0
        while True:
            data = read_range(self.path, self.offset - len(self._overlap), len(self._overlap) + limit, whole=self.whole)
            if not data.startswith(self._overlap):
                self.restarted, self.offset, self._overlap = True, 0, b""
                continue
            data = data[len(self._overlap) :]
            # No line is as long as a chunk, so a chunk without an end of line is damaged.
            used = data if len(data) == limit and b"\n" not in data else data[: data.rfind(b"\n") + 1]
            self.offset += len(used)
            self._overlap = (self._overlap + used[-OVERLAP_BYTES:])[-OVERLAP_BYTES:]
            steps = [p for item in parse_lines(used) if (p := _progress(item)) is not None]
            skipped += len(used)
            if steps or not used or skipped > MAX_GAP_BYTES:
                break
        if self.whole and not steps and skipped > MAX_GAP_BYTES:
            where = f"{quote(str(self.path), 200)} cannot be read beyond byte {self.offset - skipped:,}"
            raise BadInput(f"{where}, because more than {MAX_GAP_BYTES // 2**20} MiB in a row are damaged")
        return steps


def sampled(path: Path, *, most: int = CHUNK // 2, parts: int = 64) -> list[Progress]:
    """Return meta-steps from the whole run while reading only a part of a large file.

    Args:
        most: maximum number of bytes to read; a smaller file is read completely.
        parts: number of parts of equal size, evenly spread over a larger file.
    """
    size = path.stat().st_size if path.is_file() else 0
    if size <= most:
        return MetricsReader(path).read_new(limit=most)
    length = most // parts
    steps: list[Progress] = []
    for part in range(parts):
        start = part * (size - length) // (parts - 1)
        data = read_range(path, start, length)
        first = data.find(b"\n") + 1 if start else 0  # the line before it is not complete
        whole = data[first : data.rfind(b"\n") + 1]
        steps += [p for item in parse_lines(whole) if (p := _progress(item)) is not None]
    return steps


def first_progress(path: Path) -> Progress | None:
    """Return the metrics of the first meta-step; None if the file does not start with readable lines."""
    for item in parse_lines(read_range(path, 0, 2 * MAX_LINE_BYTES)):
        if (progress := _progress(item)) is not None:
            return progress
    return None


def last_progress(path: Path) -> Progress | None:
    """Return the metrics of the last meta-step without reading the whole file."""
    for text in reversed(read_tail(path, 2 * MAX_LINE_BYTES).split(b"\n")):
        for item in parse_lines(text):
            if (progress := _progress(item)) is not None:
                return progress
    return None


def _json(value: float | None) -> str:
    """Encode a number as JSON. A general encoder would take ten times as long."""
    if type(value) is int:
        return str(value)
    if value is None or not math.isfinite(value):
        return "null"
    return f"{value:.9g}"  # distinguishes any two float32 values in half the bytes of repr


_MISSING = tuple(
    (field.name, field.type == "int", None if "None" in str(field.type) else math.nan) for field in fields(Progress)
)
"""Name of each field of `Progress`, whether its value is an integer, and the value to use if a line lacks it."""


def _progress(item: Mapping[str, Any]) -> Progress | None:
    values: list[Any] = []
    for name, whole, missing in _MISSING:
        value = item.get(name)
        if whole:
            if type(value) is not int or not 0 <= value <= MAX_NUMBER:
                return None
        elif value is None:
            value = missing
        elif type(value) is int:
            try:
                value = float(value)
            except OverflowError:  # JSON integers are unbounded
                return None
        elif type(value) is not float:
            return None
        values.append(value)
    progress = Progress(*values)
    # The seconds are formatted as a time, which a NaN would prevent.
    return progress if 0 <= progress.seconds <= MAX_NUMBER else None


def _truncate(path: Path, after: int) -> None:
    """Remove the lines after meta-step `after`, assuming that lines are in order."""
    keep = end = 0
    try:
        with open_regular(path) as file:
            while text := file.readline(MAX_LINE_BYTES):
                end += len(text)
                item = next(parse_lines(text), None)
                progress = _progress(item) if item is not None else None
                if progress is not None and progress.iteration > after:
                    break
                if text.endswith(b"\n"):  # otherwise, a torn last line or a part of a damaged block
                    keep = end
                elif end - keep > MAX_GAP_BYTES:
                    break
    except FileNotFoundError:
        return
    handle = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        os.ftruncate(handle, keep)
        os.fsync(handle)
    finally:
        os.close(handle)
