"""Broken files of every kind: each is read or refused in one sentence, and does nothing else.

`python -m tests.fuzz` runs as many cases as one likes; here are some of each kind, the same every time.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz import runner
from tests.fuzz.targets import TARGETS

CASES = 12
"""Of each target."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("fuzz")
    runner.prepare(made)
    return made


@pytest.mark.parametrize("target", sorted(set(TARGETS) - {"app"}))
def test_what_is_broken_is_refused_in_a_sentence(folder: Path, target: str) -> None:
    found = list(runner.results(folder, 7, range(CASES), target))
    assert [result["case"] for result in found] == list(range(CASES))
    wrong = [result for result in found if result["outcome"] not in ("read", "refused")]
    assert not wrong, wrong


def test_a_child_that_dies_or_breaks_the_rules_is_told(tmp_path: Path) -> None:
    """The fuzzer itself: samples that are not there are a crash of the child, told once for each case."""
    (tmp_path / "samples").mkdir()
    found = list(runner.results(tmp_path, 1, range(2), "no such target"))
    assert [result["outcome"] for result in found] == ["crash", "crash"]
    assert "KeyError" in found[0]["detail"]
