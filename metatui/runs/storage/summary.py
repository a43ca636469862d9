"""Summaries of runs, and a cache on disk that makes listing 10,000 runs ten times as fast as without it."""

from __future__ import annotations

import os
import socket
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

import metatui
from metatui.config.schedule import PlannedChange
from metatui.config.settings import Settings
from metatui.config.toml import read_tables
from metatui.events import Evaluation, Progress
from metatui.runs.storage.commands import live_change, merge_commands
from metatui.runs.storage.journal import Entry, Status, check_journal, ended_early
from metatui.runs.storage.metrics import last_progress
from metatui.runs.storage.result_files import EvaluationRecord
from metatui.runs.storage.run_folder import RunFolder, end_reason, has_died, lost_metrics, status_of
from metatui.utils import paths
from metatui.utils.errors import BadInput, quote
from metatui.utils.files import reason
from metatui.utils.text import sanitize


@dataclass(frozen=True)
class RunSummary:
    """Summary of one run."""

    __pydantic_config__: ClassVar = ConfigDict(ser_json_inf_nan="strings")

    run: RunFolder
    status: Status
    started: datetime
    """Start time in UTC."""
    preset: str | None
    settings: Settings | None
    """Settings of the run; None if settings.toml is invalid. In this case, `problem` contains the reason."""
    seed: int | None
    """Seed in settings.toml, even if other settings need a plugin that is not loaded; None if it cannot be read."""
    progress: Progress | None
    """Metrics of the last meta-step; None before the first meta-step, and for the algorithm `scratch`."""
    best: Evaluation | None
    """Result of the best validation; None if there is none."""
    test: Evaluation | None
    """Result of the final test; None if there was no test yet, or if the run was resumed after the test."""
    problem: str | None
    iterations: int | None
    """Total number of meta-steps to train, after live changes to this number; None if `settings` is None."""
    pid: int | None
    """ID of the process that last started or resumed the run."""
    host: str | None
    """Name of the machine on which the process `pid` was started."""
    died: bool
    """Whether the process `pid` ended without recording the end of the run, for example because it was killed."""
    validation: Evaluation | None = None
    """Result of the last validation, which is not necessarily the best one; None if there is none."""
    warning: str | None = None
    """Reason why the result of a finished run is not usable (`Finished.warning`); None if the result is usable."""
    reason: str | None = None
    """Reason why the run failed or was interrupted; None for other statuses, or if the journal contains no reason."""
    changed_live: bool = False
    """Whether a setting was changed during training. Scheduled changes do not count, but undone changes do."""
    ended_early: bool = False
    """Whether early stopping has ended the training."""

    @property
    def id(self) -> str:
        return self.run.id

    @property
    def iteration(self) -> int:
        """Number of finished meta-steps."""
        return self.progress.iteration if self.progress else 0

    @property
    def is_trained(self) -> bool:
        """Whether the training is complete: all its meta-steps are done, or early stopping has ended it."""
        return self.ended_early or (self.iterations is not None and self.iteration >= self.iterations)

    @property
    def is_untested(self) -> bool:
        """Whether the run is fully trained and saved, but was stopped or interrupted before the end of its test."""
        return self.is_trained and self.status in ("stopped", "interrupted") and not self.died

    @property
    def activity(self) -> str:
        """Activity of a run after its training: `validating`, `testing`, or `training complete, not tested`.

        The last of these texts describes a run that has ended without a test. If none of the three texts applies, this
        is an empty string.
        """
        if self.is_untested:
            return "training complete, not tested"
        if self.status != "running" or not self.is_trained:
            return ""
        return "testing" if self.validation and self.validation.iteration == self.iteration else "validating"

    @property
    def process(self) -> str:
        """Process that is training the run or, if this process has died, was training it, such as `process 4211`.

        For other runs, this is an empty string.
        """
        if self.pid is None or not (self.died or self.status in ("running", "paused")):
            return ""
        return f"process {self.pid}{f' on {self.host}' if self.host and self.host != socket.gethostname() else ''}"


def summarise(run: RunFolder) -> RunSummary:
    """Return a summary of `run`, without raising errors. Its `problem` describes anything that cannot be read."""
    settings, records, problem = None, EvaluationRecord(), None
    live = run.is_live()  # read before the journal, so that a run that ends in between does not look interrupted
    entries = run.journal()
    try:
        records = run.evaluation()
        settings = run.settings()
        check_journal(entries, run.journal_path)
    except BadInput as error:
        problem = str(error)
    except OSError as error:  # deleted in the meantime
        problem = f"{quote(run.id)} cannot be read: {reason(error)}"
    first = next((entry for entry in entries if entry.event == "started"), None)
    last = next((entry for entry in reversed(entries) if entry.event == "started"), None)
    preset = first.details.get("preset") if first else None
    pid, host = (last.details.get(key) if last else None for key in ("pid", "host"))
    status = status_of(entries, live=live)
    progress = last_progress(run.metrics_path)
    reached = max([progress.iteration if progress else 0, *(entry.iteration for entry in entries[-1:])])
    problem = problem or _lost(run, entries, progress, status)
    records = records.holding(reached, finished=status == "finished")
    return RunSummary(
        run=run,
        status=status,
        started=first.time if first else _created(run),
        preset=sanitize(preset) if isinstance(preset, str) else None,
        settings=settings,
        seed=settings.training.seed if settings else _saved_seed(run),
        progress=progress,
        best=records.best,
        test=records.test,
        problem=problem,
        iterations=_iterations(settings, entries) if settings else None,
        pid=pid if type(pid) is int else None,
        host=sanitize(host, limit=80) if isinstance(host, str) else None,
        died=has_died(entries, status),
        validation=records.validation,
        warning=_warning(entries),
        reason=end_reason(run, entries, status),
        changed_live=_changed_live(run, entries),
        ended_early=settings is not None and ended_early(entries, settings.training.early_stop),
    )


def _saved_seed(run: RunFolder) -> int | None:
    try:
        training = read_tables(run.settings_path).get("training")
    except (BadInput, OSError):
        return None
    seed = training.get("seed") if isinstance(training, dict) else None
    return seed if type(seed) is int else None


def _changed_live(run: RunFolder, entries: Iterable[Entry]) -> bool:
    changes = [change for entry in entries if entry.event == "tweaked" if (change := live_change(entry))]
    if not changes:
        return False
    try:
        planned = run.changes()
    except (BadInput, OSError):
        planned = ()
    return any(change not in planned for change in changes)


def _lost(run: RunFolder, entries: list[Entry], progress: Progress | None, status: Status) -> str | None:
    """Return a message if the journal or metrics are missing from the run folder, otherwise None."""
    if progress and not entries:
        return f"{quote(run.id)} has no readable {run.journal_path.name}, so its status is unknown"
    lost = lost_metrics(run, entries, progress, status)
    return f"{quote(run.id)} {lost}" if lost else None


def _iterations(settings: Settings, entries: Iterable[Entry]) -> int:
    """Return the number of meta-steps to train, according to `settings` and the live changes that were not undone."""
    path = "training.iterations"
    about = (entry for entry in entries if entry.event == "started" or entry.details.get("path") == path)
    made = [c.planned.value for c in merge_commands((), about) if isinstance(c.planned, PlannedChange)]
    return next((value for value in reversed(made) if type(value) is int), settings.training.iterations)


def _warning(entries: list[Entry]) -> str | None:
    text = entries[-1].details.get("warning") if entries and entries[-1].event == "finished" else None
    return sanitize(text, limit=400) if isinstance(text, str) else None


def _created(run: RunFolder) -> datetime:
    try:
        return datetime.fromtimestamp(run.path.stat().st_mtime, UTC)
    except (OSError, ValueError, OverflowError):
        return datetime.fromtimestamp(0, UTC)


_SUMMARY = TypeAdapter(RunSummary)


class SummaryCache:
    """Cache of the summaries of the runs in one folder.

    A cached summary is valid while the time, size and inode of its source files are unchanged. If the database cannot
    be used, for example because its folder is read-only or its file is corrupt, all run folders are read.
    """

    def __init__(self, root: Path) -> None:
        self._root = str(root)
        self._known: dict[str, tuple[str, RunSummary]] | None = None

    def summaries(self, runs: Sequence[RunFolder]) -> list[RunSummary]:
        """Return summaries of `runs` in the given order."""
        if self._known is None:
            self._known = dict(self._load())
        fresh: dict[str, tuple[str, RunSummary]] = {}
        summaries = []
        for run in runs:
            signature = _signature(run)
            kept = self._known.get(run.path.name)
            if kept and kept[0] == signature:
                summaries.append(kept[1])
                continue
            summary = summarise(run)
            summaries.append(summary)
            if summary.status not in ("running", "paused"):
                fresh[run.path.name] = signature, summary
        gone = self._known.keys() - {run.path.name for run in runs}
        self._known = {name: kept for name, kept in self._known.items() if name not in gone} | fresh
        # A run that cannot be read now, because a plugin is missing, may be readable the next time.
        fresh = {name: kept for name, kept in fresh.items() if not kept[1].problem}
        if fresh or gone:
            self._store(fresh, gone)
        return summaries

    def _load(self) -> Iterable[tuple[str, tuple[str, RunSummary]]]:
        rows: list[tuple[str, str, bytes]] = []
        # A folder with a name that is not Unicode has no rows.
        with suppress(sqlite3.Error, OSError, UnicodeError), closing(self._connect()) as database:
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
                rows.append((self._root, name, signature, _SUMMARY.dump_json(summary)))
        with suppress(sqlite3.Error, OSError), closing(self._connect()) as database, database:
            for name in gone:
                with suppress(UnicodeError):
                    database.execute("DELETE FROM summaries WHERE root = ? AND name = ?", (self._root, name))
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


VERSION = 5
"""Version of the contents of a summary. Increase it when `summarise` returns additional data or problems."""

FILES = ("journal.jsonl", "metrics.jsonl", "evaluation.json", "lock")
"""Source files of a summary. When a run is resumed, the lock file is written long before the journal. settings.toml is
left out, because it never changes."""


def _signature(run: RunFolder) -> str:
    """Return a string that identifies the contents of the source files of a summary."""
    folder = str(run.path)
    parts = [f"{metatui.__version__} {VERSION}"]
    for name in FILES:
        try:
            status = os.stat(f"{folder}/{name}")
        except (OSError, ValueError):
            parts.append("none")
        else:
            parts.append(f"{status.st_mtime_ns} {status.st_size} {status.st_ino}")
    return ", ".join(parts)
