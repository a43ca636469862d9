"""Fuzz tests: metatui reads a damaged file or raises a one-sentence error, and has no side effects.

`python -m tests.fuzz` runs any number of cases. This module runs a few fixed cases of each target.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.fuzz import runner, samples
from tests.fuzz.targets import TARGETS
from tests.fuzz.watch import Watch

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


def violations(home: Path, action: tuple[Any, ...]) -> list[str]:
    """Return the violations that an audit event with its arguments causes.

    No audit hook is added, because it could not be removed.
    """
    watch = Watch.__new__(Watch)
    watch._home = os.path.realpath(home)
    found: list[str] = []
    watch._violations = found
    watch._audit(action[0], action[1:])
    return found


def test_forbidden_actions_are_noticed(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "link").symlink_to(tmp_path / "outside")
    inside, outside, link = str(home / "file"), str(tmp_path / "outside"), str(home / "link")
    outer = os.open(tmp_path, os.O_RDONLY)
    allowed: list[tuple[Any, ...]] = [
        ("open", inside, "w", 0), ("open", outside, "r", os.O_RDONLY), ("open", "/dev/null", "w", 0),
        ("os.rename", inside, inside, -1, -1), ("os.link", outside, inside, -1, -1),
        ("os.symlink", outside, inside, -1), ("os.remove", link, -1), ("os.mkdir", inside, 511, -1),
        ("ctypes.dlopen", "libnvidia-ml.so.1"),
    ]  # fmt: skip
    forbidden: list[tuple[Any, ...]] = [
        ("open", outside, "w", 0), ("open", outside, None, os.O_WRONLY), ("open", link, "a", 0),
        ("os.rename", inside, outside, -1, -1), ("os.rename", outside, inside, -1, -1),
        ("os.rename", inside, "outside", -1, outer), ("os.link", inside, outside, -1, -1),
        ("os.symlink", inside, outside, -1), ("os.remove", outside, -1), ("os.remove", "outside", outer),
        ("os.rmdir", outside, -1), ("os.mkdir", outside, 511, -1), ("os.mkdir", "outside", 511, outer),
        ("os.truncate", link, 0), ("os.chmod", link, 511, -1), ("shutil.rmtree", outside),
        ("os.system", "true"), ("subprocess.Popen", "true", ["true"], None, None),
        ("pickle.find_class", "os", "system"), ("ctypes.dlopen", "/tmp/x.so"), ("os.fork",),
    ]  # fmt: skip
    assert [action for action in allowed if violations(home, action)] == []
    assert [action for action in forbidden if not violations(home, action)] == []
    os.close(outer)
