"""A seeded sample of random modules, each on every engine."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
import torch

from tests.random_modules.case import make_case
from tests.random_modules.judge import Verdict, judge

pytestmark = pytest.mark.usefixtures("one_torch_thread")


@pytest.fixture(autouse=True)
def same_generators() -> Iterator[None]:
    """Restore the random generators, which each case seeds."""
    state = random.getstate()
    with torch.random.fork_rng(devices=[]):
        yield
    random.setstate(state)


@pytest.mark.parametrize("first", range(0, 100, 4))
def test_random_modules(first: int) -> None:
    """Judge the first hundred cases of `python -m tests.random_modules`, alternating between second and first order."""
    bad: list[Verdict] = []
    for seed in range(first, first + 4):
        bad += [verdict for verdict in judge(make_case(seed), orders=(seed % 2 == 1,)) if not verdict.ok]
    assert bad == []
