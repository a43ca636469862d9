"""Tests of suites that run in the background: starting, status and stopping."""

from __future__ import annotations

import errno
import json
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from metatui.cli import main
from metatui.config.settings import Settings
from metatui.runs.execution.control import start_detached
from metatui.runs.storage.lock import RunLock
from metatui.runs.storage.store import RunStore
from metatui.runs.suites import (
    Suite,
    SuiteManifest,
    SuiteMonitor,
    SuiteStatus,
    background,
    read,
    user,
    user_dir,
)
from metatui.runs.suites.status import comparable, describe_status
from metatui.utils import paths
from metatui.utils.errors import BadInput, MetatuiError
from tests.cli.test_suite import ENDLESS, TINY

TIMEOUT = 120.0
"""Maximum number of seconds to wait for a status of a suite."""


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    return RunStore(tmp_path / "runs")


def write_suite(folder: Path, text: str) -> Suite:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "tiny.toml"
    path.write_text(text)
    return read(path)


def wait_for_status(monitor: SuiteMonitor, reached: Callable[[SuiteStatus], bool]) -> SuiteStatus:
    """Read the status of a suite repeatedly until `reached` returns true for it, and return the status."""
    end = time.monotonic() + TIMEOUT
    while not reached(status := monitor.read()):
        assert time.monotonic() < end, status
        time.sleep(0.05)
    return status


def test_suite_in_the_background(tmp_path: Path, store: RunStore) -> None:
    failing = TINY[TINY.index("[[compare]]") :].replace("waves", "failing").replace('"cpu"', '"cuda:77"')
    text = TINY.replace('["maml", "scratch"]', '["scratch"]') + failing.replace('["maml", "scratch"]', '["maml"]')
    suite = write_suite(tmp_path, text)
    monitor = SuiteMonitor(SuiteManifest(suite, store))
    before = monitor.read()
    assert [run.status for run in before.runs] == ["waiting", "waiting"]
    assert (before.running, before.share, describe_status(before)) == (False, 0.0, "0 of 2 runs finished")
    background.start(suite, store)
    assert monitor.read().running
    with pytest.raises(BadInput, match="suite 'tiny' is being run by process"):
        background.start(suite, store)
    after = wait_for_status(monitor, lambda now: not now.running)
    finished, failed = after.runs
    assert (after.finished, after.share, after.is_complete) == (1, 0.5, False)
    assert finished.test
    assert [folder.id for folder in comparable(suite.comparisons[0], after)] == [finished.folder and finished.folder.id]
    assert (failed.status, failed.folder) == ("failed", None)
    assert (failed.problem or "").startswith("compute.device is 'cuda:77'")
    assert describe_status(after) == "1 of 2 runs finished, 1 failed"


def test_stopping_saves_the_run(tmp_path: Path, store: RunStore) -> None:
    suite = write_suite(tmp_path, ENDLESS)
    manifest = SuiteManifest(suite, store)
    monitor = SuiteMonitor(manifest)
    background.start(suite, store)
    try:
        running = wait_for_status(monitor, lambda now: now.runs[0].status == "running" and now.runs[0].iteration > 0)
    finally:
        background.stop(manifest)
    assert describe_status(running) == "0 of 2 runs finished, 1 training"
    stopped = wait_for_status(monitor, lambda now: not now.running)
    assert [run.status for run in stopped.runs] == ["interrupted", "waiting"]
    assert 0 < stopped.share < 1
    assert len(store.runs()) == 1
    with pytest.raises(BadInput, match="the suite is not running"):
        background.stop(manifest)


def test_suite_of_another_machine_is_not_stopped(
    tmp_path: Path, store: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = SuiteManifest(write_suite(tmp_path, TINY), store)
    manifest.folder.mkdir(parents=True)
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr("socket.gethostname", lambda: "far")
        lock = RunLock(manifest.lock_path)
    with pytest.raises(BadInput, match="on 'far': stop it there"):
        background.stop(manifest)
    lock.release()


def test_lock_file_cannot_make_stop_signal_other_processes(
    tmp_path: Path, store: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = SuiteManifest(write_suite(tmp_path, TINY), store)
    killed: list[int] = []
    monkeypatch.setattr("os.kill", lambda pid, number: killed.append(pid))
    with manifest:
        for pid in (-1, 0, 1, True):  # -1: all processes of the user
            manifest.lock_path.write_text(json.dumps({"pid": pid, "host": socket.gethostname()}))
            with pytest.raises(BadInput, match=r"is being trained by process .*: stop it there"):
                background.stop(manifest)
    assert not killed


def test_start_with_invalid_file_is_refused(tmp_path: Path, store: RunStore) -> None:
    suite = write_suite(tmp_path, TINY)
    assert suite.path is not None
    suite.path.write_text("compare = 3")
    with pytest.raises(BadInput, match="compare is 3, but must be"):
        background.start(suite, store)
    assert not SuiteManifest(suite, store).is_held()


def test_process_that_cannot_be_started_is_reported(
    tmp_path: Path, store: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))  # the user has too many processes

    monkeypatch.setattr("subprocess.Popen", refused)
    sentence = "a process of metatui cannot be started: resource temporarily unavailable"
    with pytest.raises(MetatuiError, match=sentence):
        background.start(write_suite(tmp_path, TINY), store)
    with pytest.raises(MetatuiError, match=sentence):
        start_detached(Settings(), runs_dir=store.root)


def test_own_suites_and_problems_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert user() == ([], [])
    suite = write_suite(user_dir(), TINY)
    (user_dir() / "bad.toml").write_text("compare = [{}]\n[suite]\nname = 3\n")
    (own,), (problem,) = user()
    assert own.path == suite.path
    assert "suite.name" in problem
    assert main(["suite"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("tiny (2 runs)  Tiny\n")
    assert f"warning: {problem}" in out
    assert main(["suite", "tiny", "--list"]) == 0
    assert "waves" in capsys.readouterr().out
    assert paths.user_presets_dir() == user_dir().parent
