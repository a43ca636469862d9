"""Tests of the log file: its lines, its size, and logs that cannot be written."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from metatui.utils import logs, paths
from metatui.utils.logs import open_log, write_log


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the path of the log, in a folder that does not exist yet."""
    path = tmp_path / "state" / "metatui" / "metatui.log"
    monkeypatch.setattr(paths, "log_file", lambda: path)
    return path


def test_each_text_is_one_line(log: Path) -> None:
    write_log("a run failed\nin line 3\x1b")
    write_log("x" * 5000)
    first, second = log.read_text().splitlines()
    assert first.endswith(f"Z process {os.getpid()}: a run failed in line 3�")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ process \d+: x{3999}…", second)


def test_output_is_in_the_log_at_once(log: Path) -> None:
    with open_log() as (file, problem):
        file.write(b"a library says something\n")
        write_log("a run failed")
        assert len(log.read_text().splitlines()) == 2
    assert problem == ""
    assert file.closed


@pytest.mark.parametrize(("more", "left"), [(0, logs.MAX_BYTES), (1, 0)])
def test_log_is_renamed_above_its_largest_size(more: int, left: int, log: Path) -> None:
    log.parent.mkdir(parents=True)
    old = log.with_name("metatui.old.log")
    old.write_text("older")
    log.touch()
    os.truncate(log, logs.MAX_BYTES + more)
    with open_log():
        assert log.stat().st_size == left
    assert old.stat().st_size == (logs.MAX_BYTES + 1 if more else len("older"))


def test_log_that_cannot_be_renamed_is_continued(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "MAX_BYTES", 10)
    (log.with_name("metatui.old.log") / "folder").mkdir(parents=True)
    log.write_text("a large log\n")
    write_log("a run failed")
    assert len(log.read_text().splitlines()) == 2


def test_log_that_cannot_be_written_is_ignored(log: Path, tmp_path: Path) -> None:
    (tmp_path / "state").touch()
    write_log("a run failed")
    with open_log() as (file, problem):
        file.write(b"a library says something\n")
    assert problem == f"There is no log: '{log}' cannot be written (not a directory)"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
def test_full_disk_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "log_file", lambda: Path("/dev/full"))
    write_log("a run failed")
