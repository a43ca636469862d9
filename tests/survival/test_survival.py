"""A little of `python -m tests.survival`, for every day."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.survival.cases import CASES, Case
from tests.survival.killing import survive
from tests.survival.nursery import Nursery


@pytest.mark.parametrize("case", [CASES[0], CASES[8]], ids=lambda case: f"{case.algorithm}-{case.engine}")
def test_a_run_that_is_killed_is_the_run_that_is_not(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    short = replace(case, having={**case.having, "training.iterations": 50})
    with Nursery() as nursery:
        chain = survive(short, tmp_path / "runs", nursery, kills=3, seed=5)
    assert chain.kills
    assert chain.differences == []
