"""As many threads as a function is fastest with just now, of those that change no bit of what it computes."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Run = Callable[[list[Tensor]], Tensor]
"""The function's inputs, of the shapes that it was compiled for, to its output. Inputs it changes are changed."""

TRIED = 5
"""Calls with each number of threads in a trial."""

AGAIN = 2000
"""Calls from one trial to the next: other work on the cores comes and goes, and with it what is fastest. A few threads
that wait for each other at every operation stand still when anything else wants one of their cores."""

MOST = 8
"""Threads that are tried at most: the tensors are small."""


class FreeThreads:
    """A function that is called with the number of threads that was the fastest in the last trial."""

    def __init__(self, run: Run, most: int, repeats: Callable[[Run], Sequence[Tensor]]) -> None:
        """
        Args:
            most: threads that it may have.
            repeats: what some calls of a function leave behind, from the same inputs each time.
        """
        self._run = run
        expected = repeats(self._alone)
        self._counts = [1]
        for count in (2**n for n in range(1, MOST.bit_length()) if 2**n <= most):
            found = repeats(lambda inputs, count=count: self._with(count, inputs))  # type: ignore[misc]
            if all(map(torch.equal, found, expected)):
                self._counts.append(count)
        self._fastest = 1
        self._calls = 0
        self._took: dict[int, list[float]] = {}

    def __call__(self, inputs: list[Tensor]) -> Tensor:
        if len(self._counts) == 1:
            return self._alone(inputs)
        at, self._calls = self._calls % AGAIN, self._calls + 1
        if at >= TRIED * len(self._counts):
            return self._with(self._fastest, inputs)
        if at == 0:
            self._took = {count: [] for count in self._counts}
        count = self._counts[at % len(self._counts)]
        began = time.perf_counter()
        output = self._with(count, inputs)
        self._took[count].append(time.perf_counter() - began)
        self._fastest = min(self._took, key=lambda count: statistics.median(self._took[count] or [float("inf")]))
        return output

    def _alone(self, inputs: list[Tensor]) -> Tensor:
        return self._with(1, inputs)

    def _with(self, count: int, inputs: list[Tensor]) -> Tensor:
        before = torch.get_num_threads()
        torch.set_num_threads(count)
        try:
            return self._run(inputs)
        finally:
            torch.set_num_threads(before)
