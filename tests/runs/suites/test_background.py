"""Suites made in the background: begun, watched, stopped by anybody, gone on with."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from metatui.cli import main
from metatui.runs.storage.lock import RunLock
from metatui.runs.storage.store import RunStore
from metatui.runs.suites import (
    Suite,
    SuiteManifest,
    SuiteMonitor,
    SuiteStanding,
    background,
    problems,
    read,
    user,
    user_dir,
)
from metatui.runs.suites.status import comparable, words
from metatui.utils import paths
from metatui.utils.errors import BadInput
from tests.cli.test_suite import ENDLESS, TINY

PATIENCE = 120.0
"""Seconds after which a test gives up."""


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    return RunStore(tmp_path / "runs")


def written(folder: Path, text: str) -> Suite:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "tiny.toml"
    path.write_text(text)
    return read(path)


def until(watch: SuiteMonitor, reached: Callable[[SuiteStanding], bool]) -> SuiteStanding:
    """Looks until it is so: nothing tells when a file changes."""
    end = time.monotonic() + PATIENCE
    while not reached(standing := watch.read()):
        assert time.monotonic() < end, standing
        time.sleep(0.05)
    return standing


def training_beyond(iteration: int) -> Callable[[SuiteStanding], bool]:
    return lambda now: now.runs[0].status == "running" and now.runs[0].iteration > iteration


def test_a_suite_is_made_without_whoever_began_it(tmp_path: Path, store: RunStore) -> None:
    suite = written(tmp_path, TINY)
    watch = SuiteMonitor(SuiteManifest(suite, store))
    before = watch.read()
    assert [run.status for run in before.runs] == ["waiting", "waiting"]
    assert (before.running, before.share, words(before)) == (False, 0.0, "0 of 2 runs finished")
    background.start(suite, store)
    assert watch.read().running
    with pytest.raises(BadInput, match="suite 'tiny' is being run by process"):
        background.start(suite, store)
    after = until(watch, lambda now: not now.running)
    assert (after.finished, after.share, after.whole) == (2, 1.0, True)
    assert after.runs[0].progress is not None
    assert all(run.test for run in after.runs)
    assert [folder.id for folder in comparable(suite.comparisons[0], after)] == [
        run.folder.id for run in after.runs if run.folder
    ]


def test_it_is_stopped_saved_and_gone_on_with(tmp_path: Path, store: RunStore) -> None:
    suite = written(tmp_path, ENDLESS)
    ledger = SuiteManifest(suite, store)
    watch, reached = SuiteMonitor(ledger), 0
    for _ in range(2):
        background.start(suite, store)
        try:
            running = until(watch, training_beyond(reached))
        finally:
            background.stop(ledger)
        assert words(running) == "0 of 2 runs finished, 1 training"
        stopped = until(watch, lambda now: not now.running)
        assert [run.status for run in stopped.runs] == ["interrupted", "waiting"]
        assert 0 < stopped.share < 1
        reached = stopped.runs[0].iteration
    assert len(store.runs()) == 1
    with pytest.raises(BadInput, match="the suite is not running"):
        background.stop(ledger)


def test_why_a_run_failed_is_known_where_it_has_no_folder(tmp_path: Path, store: RunStore) -> None:
    suite = written(tmp_path, TINY.replace('device = "cpu"', 'device = "cuda:77"'))
    watch = SuiteMonitor(SuiteManifest(suite, store))
    background.start(suite, store)
    after = until(watch, lambda now: not now.running)
    assert [(run.status, run.folder) for run in after.runs] == [("failed", None), ("failed", None)]
    assert all((run.problem or "").startswith("compute.device is 'cuda:77'") for run in after.runs)
    assert words(after) == "0 of 2 runs finished, 2 failed"


def test_a_suite_that_another_machine_runs_is_not_stopped(
    tmp_path: Path, store: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = SuiteManifest(written(tmp_path, TINY), store)
    ledger.folder.mkdir(parents=True)
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr("socket.gethostname", lambda: "far")
        lock = RunLock(ledger.lock_path)
    with pytest.raises(BadInput, match="on 'far': stop it there"):
        background.stop(ledger)
    lock.release()


def test_a_file_that_is_no_suite_any_more_is_said_to_whoever_begins_it(tmp_path: Path, store: RunStore) -> None:
    suite = written(tmp_path, TINY)
    assert suite.path is not None
    suite.path.write_text("compare = 3")
    with pytest.raises(BadInput, match="compare is 3, but must be"):
        background.start(suite, store)
    assert not SuiteManifest(suite, store).is_held()


def test_own_suites_are_found_by_name_and_problems_are_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert (user(), problems()) == ([], [])
    suite = written(user_dir(), TINY)
    (user_dir() / "bad.toml").write_text("[suite]\nname = 3\n")
    assert [each.path for each in user()] == [suite.path]
    (problem,) = problems()
    assert "suite.name" in problem
    assert main(["suite"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("tiny (2 runs)  Tiny\n")
    assert f"cannot be used: {problem}" in out
    assert main(["suite", "tiny", "--list"]) == 0
    assert "waves" in capsys.readouterr().out
    assert paths.user_presets_dir() == user_dir().parent
