"""`metrics.jsonl`: what every meta-step measured, one line each, readable while the run goes on."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from metatui.files import writing
from metatui.learning.events import Progress
from metatui.runs.lines import LinesWriter, parse_lines, read_range, read_tail

FLUSH_AFTER = 0.2
"""Seconds that a line waits in memory while meta-steps come fast."""

CHUNK = 1024 * 1024
"""Bytes read at once. What they hold takes some ten times as much memory, so a long run is read in many such pieces."""
LONGEST_LINE = 4096

MOST = 2**53
"""Meta-steps and tasks that a run can have, many times over: charts and statistics count in floats."""

_NAMES = tuple(field.name for field in fields(Progress))


class MetricsWriter:
    """Appends meta-steps. A resumed run starts after meta-step `after`: lines beyond it are dropped."""

    def __init__(self, path: Path, *, after: int) -> None:
        with writing(path):
            _truncate(path, after)
        self._lines = LinesWriter(path)
        self._flushed = time.monotonic()

    def append(self, progress: Progress) -> None:
        """Raises MetatuiError where the disk is full."""
        self._lines.append({name: _short(getattr(progress, name)) for name in _NAMES})
        if time.monotonic() - self._flushed >= FLUSH_AFTER:
            self.flush()

    def flush(self, *, sync: bool = False) -> None:
        self._lines.flush(sync=sync)
        self._flushed = time.monotonic()

    def close(self) -> None:
        self._lines.close()


@dataclass
class MetricsReader:
    """Reads what is new since the last call. A file that got shorter (its run was resumed) is read from the start:
    `restarted` is then True after the call, and what was returned before no longer holds."""

    path: Path
    offset: int = 0
    restarted: bool = False

    def read_new(self, limit: int = CHUNK) -> list[Progress]:
        """Whole lines only, at most about `limit` bytes of them; empty when there is nothing new."""
        try:
            size = self.path.stat().st_size
        except OSError:
            size = 0
        self.restarted = size < self.offset
        if self.restarted:
            self.offset = 0
        data = read_range(self.path, self.offset, limit)
        whole = data[: data.rfind(b"\n") + 1]
        self.offset += len(whole)
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


def _short(value: float | None) -> float | None:
    # Nine significant digits tell any two float32 apart, and halve the file.
    return float(f"{value:.9g}") if isinstance(value, float) else value


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
    try:
        file = path.open("rb+")
    except FileNotFoundError:
        return
    with file:
        keep = 0
        for text in file:
            item = next(parse_lines(text), None)
            progress = _progress(item) if item is not None else None
            if not text.endswith(b"\n") or (progress is not None and progress.iteration > after):
                break
            keep += len(text)
        file.truncate(keep)
        os.fsync(file.fileno())
