"""Fuzz tests: metatui reads a damaged file or raises a one-sentence error, and has no side effects.

`python -m tests.fuzz` runs any number of cases. This module runs a few fixed cases of each target.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.fuzz import runner, samples
from tests.fuzz.targets import TARGETS

CASES = 4
"""Number of fuzz cases for each target."""


def test_damaged_files_are_read_or_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "samples"
    with monkeypatch.context() as patched:  # like runner.prepare, but in this process
        for name, value in samples.environment(home).items():
            patched.setenv(name, value)
        samples.make(home)
    targets = sorted(set(TARGETS) - {"app"})
    # Use one process for all targets, because starting it takes longer than running the cases.
    results = list(runner.results(tmp_path, 7, range(CASES * len(targets)), ",".join(targets)))
    assert Counter(result["target"] for result in results) == dict.fromkeys(targets, CASES)
    wrong = [result for result in results if result["outcome"] not in ("read", "refused")]
    assert not wrong, wrong


def test_crash_of_child_is_reported_for_each_case(tmp_path: Path) -> None:
    (tmp_path / "samples").mkdir()
    results = list(runner.results(tmp_path, 1, range(2), "no such target"))
    assert [result["outcome"] for result in results] == ["crash", "crash"]
    assert "KeyError" in results[0]["detail"]
