"""Tests of the choice of the number of threads for a compiled meta-step."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from metatui.learning.engines.compiled.aot_package import Run
from metatui.learning.engines.compiled.compiled_step import TRIAL_CALLS, TRIAL_INTERVAL, ThreadTuner
from metatui.learning.engines.compiled.step_functions import length


class Function:
    """A fake function that takes a given time for each number of threads.

    If `differs` is true, the result depends on the number of threads too.
    """

    def __init__(self, takes: dict[int, float], *, differs: bool = False) -> None:
        self.takes, self.differs = takes, differs
        self.now = 0.0
        self.threads: list[int] = []

    def __call__(self, inputs: list[Tensor]) -> Tensor:
        count = torch.get_num_threads()
        self.threads.append(count)
        self.now += self.takes[count]
        return torch.tensor(float(count) if self.differs and count > 1 else 0.0)

    def clock(self) -> float:
        return self.now


def repeats(run: Run) -> Sequence[Tensor]:
    return [run([])]


def make_tuner(monkeypatch: pytest.MonkeyPatch, function: Function, most: int) -> ThreadTuner:
    monkeypatch.setattr("metatui.learning.engines.compiled.compiled_step.time.perf_counter", function.clock)
    free = ThreadTuner(function, most, repeats)
    function.threads.clear()
    return free


def test_thread_trials_repeat(monkeypatch: pytest.MonkeyPatch) -> None:
    function = Function({1: 3.0, 2: 2.0, 4: 5.0})
    free, before = make_tuner(monkeypatch, function, 7), torch.get_num_threads()
    for _ in range(TRIAL_INTERVAL):
        free([])
    trial = 3 * TRIAL_CALLS
    assert sorted(function.threads[:trial]) == [1] * TRIAL_CALLS + [2] * TRIAL_CALLS + [4] * TRIAL_CALLS
    assert function.threads[trial:] == [2] * (TRIAL_INTERVAL - trial)
    function.takes[2] = 9.0  # another process needs a core
    function.threads.clear()
    for _ in range(TRIAL_INTERVAL):
        free([])
    assert function.threads[trial:] == [1] * (TRIAL_INTERVAL - trial)
    assert torch.get_num_threads() == before


def test_thread_counts_that_change_bits_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    function = Function({1: 3.0, 2: 2.0}, differs=True)
    free = make_tuner(monkeypatch, function, 2)
    for _ in range(5):
        free([])
    assert function.threads == [1] * 5


def test_failing_function_restores_thread_count() -> None:
    before = torch.get_num_threads()

    def fails(inputs: list[Tensor]) -> Tensor:
        if inputs:
            raise ValueError("no")
        return torch.zeros(1)

    with pytest.raises(ValueError, match="no"):
        ThreadTuner(fails, 1, repeats)([torch.zeros(1)])
    assert torch.get_num_threads() == before


@settings(deadline=None)
@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=100))
def test_length_is_the_norm(numbers: list[float]) -> None:
    vector = torch.tensor(numbers, dtype=torch.float64)
    torch.testing.assert_close(length(vector), torch.linalg.vector_norm(vector), rtol=1e-12, atol=1e-150)
