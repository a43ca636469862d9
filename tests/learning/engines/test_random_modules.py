"""Tests of every engine on random modules, which are generated from fixed seeds."""

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
    """Restore the states of the random generators after a test, because each case seeds them."""
    state = random.getstate()
    with torch.random.fork_rng(devices=[]):
        yield
    random.setstate(state)


@pytest.mark.parametrize("first", range(0, 100, 4))
def test_random_modules(first: int) -> None:
    """Check all engines on the random cases with seeds `first` to `first + 3`.

    The cases of even seeds use second-order gradients, and those of odd seeds first-order gradients.
    """
    bad: list[Verdict] = []
    for seed in range(first, first + 4):
        bad += [verdict for verdict in judge(make_case(seed), orders=(seed % 2 == 1,)) if not verdict.ok]
    assert bad == []
