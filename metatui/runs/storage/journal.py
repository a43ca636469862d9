"""`journal.jsonl`: what happened to a run, with the meta-step and the time of each event."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from metatui.config.format_version import FORMAT, check_format
from metatui.runs.storage.jsonl import LinesWriter, parse_lines, read_range
from metatui.runs.storage.metrics import CHUNK, LONGEST_LINE, MOST
from metatui.utils.errors import quote

Status = Literal["running", "paused", "finished", "stopped", "failed", "interrupted"]

LARGEST = 16 * 1024 * 1024
"""Bytes at the end of a journal that are read whole; a run of hours with a validation every moment writes more."""

FURTHEST = 1024 * 1024 * 1024
"""Bytes before the end in which `REMEMBERED` is looked for."""

REMEMBERED = re.compile(rb'"event":"(?:started|tweaked|undone|evaluated)"')
REGULAR = b'"regular":true'
MOST_REMEMBERED = 20_000
"""Lines, none of them longer than `LONGEST_LINE`."""

EARLIEST, LATEST = datetime(2, 1, 1, tzinfo=UTC), datetime(9998, 12, 31, tzinfo=UTC)
"""Limits of times that every time zone can represent. A wrong clock may give any year."""

_STATUS: Mapping[str, Status] = {
    "started": "running",
    "resumed": "running",
    "paused": "paused",
    "finished": "finished",
    "stopped": "stopped",
    "failed": "failed",
    "interrupted": "interrupted",
}


@dataclass(frozen=True)
class Entry:
    """One line of a journal."""

    time: datetime
    """UTC."""
    event: str
    """started, tweaked, paused, resumed, evaluated, warned, finished, stopped, failed or interrupted."""
    iteration: int
    """Meta-steps done when it happened."""
    details: Mapping[str, Any]


class JournalWriter:
    """Appends events."""

    def __init__(self, path: Path) -> None:
        self._lines = LinesWriter(path)

    def write(self, event: str, iteration: int, **details: Any) -> None:
        """The event is on disk when this returns. Raises WriteRefused; then the event is kept for the next `flush`."""
        self.append(event, iteration, **details)
        self.flush()

    def append(self, event: str, iteration: int, **details: Any) -> None:
        """Remembers an event of this moment for the next `flush`."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        self._lines.append({"time": now, "event": event, "iteration": iteration, **details})

    def flush(self) -> None:
        """Brings what is remembered to the disk. Raises WriteRefused."""
        self._lines.flush(sync=True)

    def close(self) -> None:
        self._lines.close()


def read_journal(path: Path) -> list[Entry]:
    """Every event that can be read, in order; empty where there is no journal. Of what stands before the last `LARGEST`
    bytes only how the run was begun and what it was told: it is resumed by that."""
    try:
        size = path.stat().st_size
    except (OSError, ValueError):
        return []
    kept: list[bytes] = []
    at, rest = max(0, size - FURTHEST), b""
    while at < size - LARGEST and len(kept) < MOST_REMEMBERED:
        data = read_range(path, at, min(CHUNK, size - LARGEST - at))
        if not data:
            break
        at += len(data)
        *lines, rest = (rest + data).split(b"\n")
        kept += [
            each for each in lines if len(each) <= LONGEST_LINE and REMEMBERED.search(each) and REGULAR not in each
        ]
        rest = rest[:CHUNK]
    at = max(at, size - LARGEST)
    text = b"\n".join([*kept, rest + read_range(path, at, LARGEST)])
    return [e for item in parse_lines(text) if (e := _entry(item)) is not None]


def check_journal(entries: Iterable[Entry], path: Path) -> None:
    """Raises BadInput where a newer metatui went on with the run, whose journal and metrics may say what this one does
    not understand."""
    for entry in entries:
        check_format(entry.details.get("format", FORMAT), quote(str(path), 200))


def effective_entries(entries: Iterable[Entry]) -> list[Entry]:
    """`entries` without those that a restart from an earlier checkpoint undid. Tweaks stay: they are made again."""
    kept: list[Entry] = []
    for entry in entries:
        if entry.event == "started":
            kept = [e for e in kept if e.iteration <= entry.iteration or e.event in ("started", "tweaked")]
        kept.append(entry)
    return kept


def last_status(entries: Iterable[Entry]) -> Status | None:
    """The status that the last event left the run in; None for a journal without any."""
    status: Status | None = None
    for entry in entries:
        status = _STATUS.get(entry.event, status)
    return status


def _entry(item: Mapping[str, Any]) -> Entry | None:
    time, event, iteration = item.get("time"), item.get("event"), item.get("iteration")
    if not (isinstance(time, str) and isinstance(event, str) and type(iteration) is int):
        return None
    try:
        when = datetime.fromisoformat(time)
    except ValueError:
        return None
    if when.tzinfo is None or not 0 <= iteration <= MOST:
        return None
    when = min(max(when, EARLIEST), LATEST).astimezone(UTC)
    details = {key: value for key, value in item.items() if key not in ("time", "event", "iteration")}
    if any(type(value) is int and abs(value) > MOST for value in details.values()):
        return None
    return Entry(when, event, iteration, details)
