"""`metrics.jsonl`: what every meta-step measured, one line each, readable while the run goes on."""

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
from metatui.utils.files import open_regular, writing

FLUSH_AFTER = 0.2
"""Seconds that a line waits in memory while meta-steps come fast."""

CHUNK = 1024 * 1024
"""Bytes read at once. What they hold takes some ten times as much memory, so a long run is read in many such pieces."""
LONGEST_LINE = 4096

MOST = 2**53
"""Meta-steps and tasks that a run can have, many times over: charts and statistics count in floats."""

SEAM = 512
"""Bytes of what was read before that are compared with what is there now: two lines and more."""

_NAMES = tuple(field.name for field in fields(Progress))
_values = operator.attrgetter(*_NAMES)
_LINE = "{" + ",".join(f'"{name}":%s' for name in _NAMES) + "}"


class MetricsWriter:
    """Appends meta-steps. A resumed run starts after meta-step `after`: lines beyond it are dropped."""

    def __init__(self, path: Path, *, after: int) -> None:
        with writing(path):
            _truncate(path, after)
        self._lines = LinesWriter(path)
        self._flushed = time.monotonic()

    @property
    def is_due(self) -> bool:
        """Whether what is remembered should be flushed by now."""
        return time.monotonic() - self._flushed >= FLUSH_AFTER

    def append(self, progress: Progress) -> None:
        """Remembers a meta-step for the next `flush`."""
        self._lines.append_text(_LINE % tuple(map(_json, _values(progress))))

    def flush(self, *, sync: bool = False) -> None:
        """Hands what is remembered to the operating system; with `sync`, to the disk. Raises WriteRefused."""
        self._lines.flush(sync=sync)
        self._flushed = time.monotonic()

    def close(self) -> None:
        self._lines.close()


@dataclass
class MetricsReader:
    """Reads what is new since the last call. A file that is no longer the one that was read so far (its run was resumed
    from an earlier meta-step) is read from the start: `restarted` is then True after the call, and what was returned
    before no longer holds."""

    path: Path
    offset: int = 0
    restarted: bool = False
    _seam: bytes = field(default=b"", repr=False)
    """What stands just before `offset`. Times are among it, so meta-steps that were made again look otherwise."""

    def read_new(self, limit: int = CHUNK) -> list[Progress]:
        """Whole lines only, at most about `limit` bytes of them; empty when there is nothing new."""
        data = read_range(self.path, self.offset - len(self._seam), len(self._seam) + limit)
        self.restarted = not data.startswith(self._seam)
        if self.restarted:
            self.offset, self._seam = 0, b""
            data = read_range(self.path, 0, limit)
        else:
            data = data[len(self._seam) :]
        whole = data[: data.rfind(b"\n") + 1]
        self.offset += len(whole)
        self._seam = (self._seam + whole[-SEAM:])[-SEAM:]
        return [p for item in parse_lines(whole) if (p := _progress(item)) is not None]

    def read_all(self) -> list[Progress]:
        """Everything that is there now and not yet read."""
        found: list[Progress] = []
        while new := self.read_new():
            found += new
        return found


def last_progress(path: Path) -> Progress | None:
    """The newest whole line, without reading the others."""
    for text in reversed(read_tail(path, 2 * LONGEST_LINE).split(b"\n")):
        for item in parse_lines(text):
            if (progress := _progress(item)) is not None:
                return progress
    return None


def _json(value: float | None) -> str:
    """A number as JSON has it, in a tenth of the time that a general encoder takes for a line: there is one for every
    meta-step."""
    if type(value) is int:
        return str(value)
    if value is None or not math.isfinite(value):
        return "null"
    return f"{value:.9g}"  # enough to tell any two float32 apart, in half the bytes


_MISSING = tuple((field.name, field.type == "int", None if "None" in str(field.type) else math.nan)
                 for field in fields(Progress))  # fmt: skip
"""Each field's name, whether it is a whole number, and what stands for a number that is not there."""


def _progress(item: Mapping[str, Any]) -> Progress | None:
    values: list[Any] = []
    for name, whole, missing in _MISSING:
        value = item.get(name)
        if whole:
            if type(value) is not int or not 0 <= value <= MOST:
                return None
        elif value is None:
            value = missing
        elif type(value) is int:
            try:
                value = float(value)
            except OverflowError:  # JSON's whole numbers have no end
                return None
        elif type(value) is not float:
            return None
        values.append(value)
    return Progress(*values)


def _truncate(path: Path, after: int) -> None:
    """Keeps the lines up to meta-step `after`; they are in order."""
    keep = 0
    try:
        with open_regular(path) as file:
            while text := file.readline(LONGEST_LINE):
                item = next(parse_lines(text), None)
                progress = _progress(item) if item is not None else None
                if not text.endswith(b"\n") or (progress is not None and progress.iteration > after):
                    break
                keep += len(text)
    except FileNotFoundError:
        return
    handle = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        os.ftruncate(handle, keep)
        os.fsync(handle)
    finally:
        os.close(handle)
