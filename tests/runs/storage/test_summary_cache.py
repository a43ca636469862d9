"""Tests of the cache of run summaries."""

from __future__ import annotations

import dataclasses
import math
import os
import shutil
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from metatui.config.settings import Settings
from metatui.learning.training.trainer_state import TrainerState
from metatui.runs.storage import summary
from metatui.runs.storage.checkpoints import save_checkpoint
from metatui.runs.storage.journal import JournalWriter
from metatui.runs.storage.lock import RunLock
from metatui.runs.storage.run_folder import RunFolder
from metatui.runs.storage.store import RunStore
from metatui.runs.storage.summary import RunSummary, SummaryCache, summarise
from metatui.utils import paths
from tests.tui.fakes import saved_run


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that collects the names of the runs whose folders are read during the test."""
    names: list[str] = []

    def counted(run: RunFolder) -> RunSummary:
        names.append(run.id)
        return summarise(run)

    monkeypatch.setattr(summary, "summarise", counted)
    return names


def test_unchanged_runs_are_read_once(tmp_path: Path, read: list[str]) -> None:
    for name in ("a", "b"):
        saved_run(tmp_path, Settings(), name=name)
    first = RunStore(tmp_path).summaries()
    assert sorted(read) == ["a", "b"]
    assert RunStore(tmp_path).summaries() == first
    assert len(read) == 2


def test_files_of_killed_runs_are_opened_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    count = 3
    killed = saved_run(tmp_path, Settings(), name="0", test=False)
    killed.journal_path.write_bytes(killed.journal_path.read_bytes().splitlines(keepends=True)[0])
    save_checkpoint(killed.checkpoints_path, "last", TrainerState(tensors={}, values={"iteration": 40}))
    for name in range(1, count):
        shutil.copytree(killed.path, tmp_path / str(name))
    opened: Counter[str] = Counter()

    def counted(path: str | Path, *arguments: Any, **more: Any) -> int:
        opened[Path(path).name] += tmp_path in Path(path).parents
        return real(path, *arguments, **more)

    real = os.open
    monkeypatch.setattr(os, "open", counted)
    first = RunStore(tmp_path).summaries()
    reason = "the process was killed or crashed, and its newest checkpoint is from meta-step 40"
    assert {run.reason for run in first} == {reason}
    assert opened["journal.jsonl"] == count
    assert opened["last.safetensors"] == 2 * count  # the length of the header, and the header
    opened.clear()
    assert RunStore(tmp_path).summaries() == first
    assert opened.total() == 0


def test_changed_and_deleted_runs_are_detected(tmp_path: Path, read: list[str]) -> None:
    changed, deleted = (saved_run(tmp_path, Settings(), name=name) for name in ("changed", "deleted"))
    store = RunStore(tmp_path)
    store.summaries()
    with changed.metrics_path.open("ab") as file:
        file.write(
            changed.metrics_path.read_bytes().splitlines()[-1].replace(b'"iteration":50', b'"iteration":51') + b"\n"
        )
    store.delete(deleted)
    read.clear()
    for reader in (store, RunStore(tmp_path)):
        assert [(run.id, run.iteration) for run in reader.summaries()] == [("changed", 51)]
    assert read == ["changed"]
    for name in ("journal.jsonl", "metrics.jsonl", "evaluation.json", "lock"):
        (changed.path / name).touch()
        os.utime(changed.path / name, ns=(1, 1))
        read.clear()
        store.summaries()
        assert read == ["changed"], name


def test_live_runs_are_read_every_time(tmp_path: Path, read: list[str]) -> None:
    run = saved_run(tmp_path, Settings(), name="live", test=False)
    run.journal_path.write_bytes(run.journal_path.read_bytes().splitlines(keepends=True)[0])
    lock = RunLock(run.lock_path)
    store = RunStore(tmp_path)
    assert [store.summaries()[0].status for _ in range(2)] == ["running", "running"]
    assert len(read) == 2
    lock.release()
    assert store.summaries()[0].status == "interrupted"


def test_run_that_is_being_resumed_is_running(tmp_path: Path, read: list[str]) -> None:
    run = saved_run(tmp_path, Settings(), name="resumed", test=False)
    run.journal_path.write_bytes(run.journal_path.read_bytes().splitlines(keepends=True)[0])
    store = RunStore(tmp_path)
    assert store.summaries()[0].status == "interrupted"
    lock = RunLock(run.lock_path)  # the process is still loading the data, so the journal has not changed
    assert store.summaries()[0].status == "running"
    lock.release()
    assert [store.summaries()[0].status for _ in range(2)] == ["interrupted"] * 2
    assert len(read) == 3


def test_lost_files_are_reported(tmp_path: Path) -> None:
    run = saved_run(tmp_path, Settings(), name="a")
    assert summarise(run).problem is None
    lines = run.metrics_path.read_bytes().splitlines(keepends=True)
    for damaged in (b"", b"\x8f\xff\n\x00", b"no JSON\n"):
        run.metrics_path.write_bytes(damaged)
        problem = "'a' reached meta-step 50, but its metrics.jsonl is missing, empty or damaged"
        assert summarise(run).problem == problem
    run.metrics_path.write_bytes(b"no JSON\n" + b"".join(lines[30:]))
    assert summarise(run).problem == "'a' has a metrics.jsonl that starts at meta-step 31"
    run.metrics_path.write_bytes(b"x" * 20_000 + b"\n" + b"".join(lines[30:]))
    assert summarise(run).problem == "'a' has a metrics.jsonl that is damaged at its start"
    run.metrics_path.write_bytes(b"".join(lines[:20]))
    assert summarise(run).problem == "'a' reached meta-step 50, but its metrics.jsonl ends at 20"
    stopped = saved_run(tmp_path, Settings(), name="b", test=False)
    stopped.metrics_path.write_bytes(b"".join(lines[:20]))
    assert summarise(stopped).problem == "'b' reached meta-step 50, but its metrics.jsonl ends at 20"
    run.journal_path.unlink()
    found = summarise(run)
    assert (found.status, found.reason) == ("interrupted", None)
    assert found.problem == "'a' has no readable journal.jsonl, so its status is unknown"


def test_run_that_has_no_metrics_yet_has_lost_none(tmp_path: Path) -> None:
    run = RunStore(tmp_path).create(Settings())
    os.utime(run.path, (0, 1e9))
    assert summarise(run).started == datetime.fromtimestamp(1e9, UTC), "the time at which the folder was created"
    assert summarise(run).problem is None
    lock = RunLock(run.lock_path)
    journal = JournalWriter(run.journal_path)
    journal.record("started", 0)
    assert summarise(run).problem is None
    journal.record("interrupted", 0)
    lock.release()
    assert summarise(run).problem is None
    journal.record("interrupted", 30)
    assert summarise(run).problem is not None
    lock = RunLock(run.lock_path)  # the run is being resumed from the start, because it has no checkpoint
    assert summarise(run).problem is None
    lock.release()
    journal.close()


def test_broken_database_is_not_needed(tmp_path: Path) -> None:
    saved_run(tmp_path, Settings(), name="a")
    paths.summaries_file().parent.mkdir(parents=True, exist_ok=True)
    paths.summaries_file().write_bytes(b"not a database" * 100)
    assert [run.id for run in RunStore(tmp_path).summaries()] == ["a"]


def test_names_that_are_not_unicode_are_not_cached(tmp_path: Path, read: list[str]) -> None:
    odd = Path(os.fsdecode(b"\xff"))
    for root in (tmp_path / "runs", tmp_path / odd):
        run = saved_run(root, Settings(), name="a")
        run.path.rename(root / odd)
        store = RunStore(root)
        saved_run(root, Settings(), name="b")
        assert len(store.summaries()) == 2
        shutil.rmtree(root / odd)
        for reader in (store, RunStore(root)):
            assert [summary.id for summary in reader.summaries()] == ["b"]
    assert read.count("b") == 3  # cached only in the folder whose name is Unicode


def test_summaries_survive_unusual_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = saved_run(tmp_path, Settings(), name="a")
    found = summarise(run)
    assert found.progress is not None
    unusual = dataclasses.replace(found, progress=dataclasses.replace(found.progress, grad_norm=math.inf), warning="x")
    monkeypatch.setattr(summary, "summarise", lambda run: unusual)
    SummaryCache(tmp_path).summaries([run])
    monkeypatch.setattr(summary, "summarise", None)
    assert SummaryCache(tmp_path).summaries([run]) == [unusual]
