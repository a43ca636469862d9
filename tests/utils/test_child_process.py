"""Tests of child processes."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from metatui.utils import child_process


class BusyFile:
    """Fake file whose first writes raise the given errors."""

    def __init__(self, *errors: type[OSError]) -> None:
        self._errors = list(errors)
        self.texts: list[str] = []

    def write_text(self, text: str) -> None:
        if self._errors:
            raise self._errors.pop(0)
        self.texts.append(text)


@pytest.mark.parametrize(
    ("own", "processors", "errors", "written"),
    [
        (10, 1, [], ["10"]),
        (10, 2, [], ["7"]),
        (10, 8, [], ["1"]),
        (10, 16, [], []),
        (19, 1, [BlockingIOError, BlockingIOError], ["19"]),
        (19, 1, [BlockingIOError] * child_process.ATTEMPTS, []),
        (10, 1, [FileNotFoundError], []),
        (0, 1, [], []),
    ],
)
def test_lower_priority(
    own: int, processors: int, errors: list[type[OSError]], written: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = BusyFile(*errors)
    monkeypatch.setattr(child_process, "AUTOGROUP", file)
    monkeypatch.setattr(os, "getpriority", lambda kind, who: own - 5)
    monkeypatch.setattr(os, "setpriority", lambda kind, who, niceness: None)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(processors)), raising=False)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    child_process.lower_priority(5)
    assert file.texts == written


@pytest.mark.skipif(not child_process.AUTOGROUP.exists(), reason="this system compares the niceness of all processes")
def test_niceness_of_a_session() -> None:
    code = "from metatui.utils.child_process import *; lower_priority(99); print(AUTOGROUP.read_text().split()[-1])"
    found = subprocess.run([sys.executable, "-c", code], start_new_session=True, capture_output=True, text=True)
    assert int(found.stdout) == child_process.session_niceness(19)
