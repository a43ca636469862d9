"""Short version of `python -m tests.survival`: killed and resumed runs have the results of uninterrupted ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.survival.cases import CASES, Case
from tests.survival.killing import survive
from tests.survival.nursery import Nursery


@pytest.fixture(scope="module")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        with Nursery() as nursery:
            yield nursery


@pytest.mark.parametrize("case", [CASES[0], CASES[8]], ids=lambda case: f"{case.algorithm}-{case.engine}")
def test_killed_run_has_the_results_of_an_uninterrupted_one(case: Case, tmp_path: Path, nursery: Nursery) -> None:
    short = replace(case, having={**case.having, "training.iterations": 40})
    chain = survive(short, tmp_path / "runs", nursery, kills=2, seed=5)
    assert chain.kills
    assert chain.differences == []
