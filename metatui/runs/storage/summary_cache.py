"""A cache on disk of summaries of runs that are over. Listing ten thousand runs without it takes ten times as long."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing, suppress
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

import metatui
from metatui.runs.storage.run_folder import RunFolder
from metatui.runs.storage.summary import RunSummary, summarise
from metatui.utils import paths

_SUMMARY = TypeAdapter(RunSummary)


class SummaryCache:
    """Summaries of the runs in one folder.

    A cached summary is used as long as time, size and inode of the files it was made from are the same. Without a
    database (a read-only cache folder, a broken file), every run is read.
    """

    def __init__(self, root: Path) -> None:
        self._root = str(root)
        self._known: dict[str, tuple[str, RunSummary]] | None = None

    def summaries(self, runs: Sequence[RunFolder]) -> list[RunSummary]:
        """Summarise `runs`, in their order."""
        if self._known is None:
            self._known = dict(self._load())
        fresh: dict[str, tuple[str, RunSummary]] = {}
        found = []
        for run in runs:
            signature = _signature(run)
            kept = self._known.get(run.path.name)
            if kept and kept[0] == signature:
                found.append(kept[1])
                continue
            summary = summarise(run)
            found.append(summary)
            if summary.status not in ("running", "paused"):
                fresh[run.path.name] = signature, summary
        gone = self._known.keys() - {run.path.name for run in runs}
        self._known = {name: kept for name, kept in self._known.items() if name not in gone} | fresh
        if fresh or gone:
            self._store(fresh, gone)
        return found

    def _load(self) -> Iterable[tuple[str, tuple[str, RunSummary]]]:
        rows: list[tuple[str, str, bytes]] = []
        with suppress(sqlite3.Error, OSError), closing(self._connect()) as database:
            rows = database.execute(
                "SELECT name, signature, summary FROM summaries WHERE root = ?", (self._root,)
            ).fetchall()
        for name, signature, summary in rows:
            with suppress(ValidationError):
                yield name, (signature, _SUMMARY.validate_json(summary))

    def _store(self, fresh: dict[str, tuple[str, RunSummary]], gone: Iterable[str]) -> None:
        rows = []
        for name, (signature, summary) in fresh.items():
            with suppress(ValueError):  # a name that is not Unicode
                name.encode()
                rows.append((self._root, name, signature, _SUMMARY.dump_json(summary)))
        with suppress(sqlite3.Error, OSError), closing(self._connect()) as database, database:
            database.executemany("DELETE FROM summaries WHERE root = ? AND name = ?", [(self._root, n) for n in gone])
            database.executemany("INSERT OR REPLACE INTO summaries VALUES (?, ?, ?, ?)", rows)

    def _connect(self) -> sqlite3.Connection:
        path = paths.summaries_file()
        path.parent.mkdir(parents=True, exist_ok=True)
        database = sqlite3.connect(path, timeout=1)
        database.execute(
            "CREATE TABLE IF NOT EXISTS summaries"
            " (root TEXT, name TEXT, signature TEXT, summary BLOB, PRIMARY KEY (root, name))"
        )
        return database


FILES = ("journal.jsonl", "metrics.jsonl", "evaluation.json")
"""Files of a run that a summary is made from, other than settings.toml, which is written once."""


def _signature(run: RunFolder) -> str:
    """Identify the contents of the files that a summary is made from."""
    folder = str(run.path)
    parts = [metatui.__version__]
    for name in FILES:
        try:
            found = os.stat(f"{folder}/{name}")
        except (OSError, ValueError):
            parts.append("none")
        else:
            parts.append(f"{found.st_mtime_ns} {found.st_size} {found.st_ino}")
    return ", ".join(parts)
