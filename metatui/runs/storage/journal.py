"""Journal file `journal.jsonl`: the events of a run, each with its meta-step and time."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from metatui.config.format_version import FORMAT, check_format
from metatui.runs.storage.jsonl import LinesWriter, line, parse_lines
from metatui.runs.storage.metrics import CHUNK, MAX_LINE_BYTES, MAX_NUMBER
from metatui.utils.errors import BadInput, quote
from metatui.utils.files import open_regular, reason

Status = Literal["running", "paused", "finished", "stopped", "failed", "interrupted"]

TAIL_BYTES = 16 * 1024 * 1024
"""Number of bytes at the end of a journal that are read in full. Most journals are smaller than this."""

SEARCHED_BYTES = 1024 * 1024 * 1024
"""Number of bytes at the end of a journal that are searched for `ESSENTIAL` lines."""

ESSENTIAL = re.compile(rb'"event":"(?:started|tweaked|undone|evaluated)"')
REGULAR = b'"regular":true'
MAX_ESSENTIAL = 20_000
"""Maximum number of lines matching `ESSENTIAL` to keep. Lines longer than `MAX_LINE_BYTES` are dropped."""

EARLIEST, LATEST = datetime(2, 1, 1, tzinfo=UTC), datetime(9998, 12, 31, tzinfo=UTC)
"""Earliest and latest times that can be represented in every time zone. Times outside this range are clamped to it."""

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
    """Time of the event in UTC."""
    event: str
    """Kind of event: started, tweaked, undone, paused, resumed, evaluated, warned, hinted, noted, finished, stopped,
    failed or interrupted."""
    iteration: int
    """Number of completed meta-steps."""
    details: Mapping[str, Any]


class JournalWriter(LinesWriter):
    """Writer that appends events to a journal."""

    def record(self, event: str, iteration: int, **details: Any) -> None:
        """Append an event and sync it to disk. If WriteRefusedError is raised, the next `flush` writes the event."""
        self.append(event, iteration, **details)
        self.flush(sync=True)

    def append(self, event: str, iteration: int, **details: Any) -> None:
        """Buffer an event with the current time until the next `flush`."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        self.write(line({"time": now, "event": event, "iteration": iteration, **details}))


def read_journal(path: Path, *, whole: bool = False) -> list[Entry]:
    """Return every readable event of the journal in order; an empty list if the journal does not exist.

    The last `TAIL_BYTES` bytes are read completely. Of earlier events, only those that a resumed run needs are read:
    the start of the run, live changes and validations.

    Args:
        whole: whether to raise BadInput if an existing file cannot be read. By default, unreadable events are left out.
    """
    lines: list[bytes] = []
    try:
        with open_regular(path) as file:
            size = file.seek(0, os.SEEK_END)
            at = file.seek(max(0, size - SEARCHED_BYTES))
            while at < size - TAIL_BYTES and len(lines) < MAX_ESSENTIAL and (text := file.readline(CHUNK)):
                at += len(text)
                if len(text) <= MAX_LINE_BYTES and ESSENTIAL.search(text) and REGULAR not in text:
                    lines.append(text)
            start = file.seek(max(at, size - TAIL_BYTES))
            lines.append(file.read(max(0, size - start)))
    except (FileNotFoundError, ValueError):  # or a NUL in the name
        pass
    except OSError as error:
        if whole:
            raise BadInput(f"{quote(str(path), 200)} cannot be read: {reason(error)}") from None
    return [entry for item in parse_lines(b"".join(lines)) if (entry := _entry(item)) is not None]


def check_journal(entries: Iterable[Entry], path: Path) -> None:
    """Raise BadInput if a newer version of metatui resumed the run, because this version may misread its files."""
    for entry in entries:
        check_format(entry.details.get("format", FORMAT), quote(str(path), 200))


def effective_entries(entries: Iterable[Entry]) -> list[Entry]:
    """Return `entries` without those that were undone by resuming from an earlier checkpoint.

    Live changes are kept, because a resumed run repeats them.
    """
    kept: list[Entry] = []
    for entry in entries:
        if entry.event == "started":
            kept = [e for e in kept if e.iteration <= entry.iteration or e.event in ("started", "tweaked")]
        kept.append(entry)
    return kept


def ended_early(entries: Iterable[Entry], patience: int) -> bool:
    """Return whether early stopping has ended the training of a run with the given journal.

    Args:
        patience: the run's value of `training.early_stop`.
    """
    validations = [entry for entry in effective_entries(entries) if entry.event == "evaluated"]
    best = max((entry.iteration for entry in validations if entry.details.get("best") is True), default=-1)
    return 0 < patience <= len({entry.iteration for entry in validations if entry.iteration > best})


def last_status(entries: Iterable[Entry]) -> Status | None:
    """Return the status after the last event; None if the journal has no status."""
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
    if when.tzinfo is None or not 0 <= iteration <= MAX_NUMBER:
        return None
    when = min(max(when, EARLIEST), LATEST).astimezone(UTC)
    details = {key: value for key, value in item.items() if key not in ("time", "event", "iteration")}
    if any(type(value) is int and abs(value) > MAX_NUMBER for value in details.values()):
        return None
    return Entry(when, event, iteration, details)
