"""Sinusoid regression (Finn, Abbeel and Levine 2017, section 5.1).

A task is y = A sin(x - φ) with amplitude A from U(0.1, 5) and phase φ from U(0, π); x is drawn from U(-5, 5).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from metatui.learning.data.episodes import Episodes, Split, TaskSource
from metatui.learning.data.random import keys, task_numbers, uniform
from metatui.learning.data.wave_ranges import AMPLITUDE, PHASE, X


def _between(limits: tuple[float, float], u: Tensor) -> Tensor:
    low, high = limits
    return low + (high - low) * u


class SinusoidSource(TaskSource):
    """Tasks of sine waves, drawn on the CPU in float64 and rounded once, so that they are the same on every device."""

    kind = "regression"
    input_shape = (1,)

    def wave(self, split: Split, tasks: Sequence[int], *, seed: int) -> tuple[Tensor, Tensor]:
        """Return the amplitudes and phases of `tasks`, each float64 [T, 1]."""
        u = uniform(keys(seed, f"sinusoid/{split}", task_numbers(tasks)), 2)
        return _between(AMPLITUDE, u[:, :1]), _between(PHASE, u[:, 1:])

    def episodes(
        self, split: Split, tasks: Sequence[int], *, seed: int, ways: int = 1, shots: int, queries: int
    ) -> Episodes:
        """Return one episode for each task, with `shots` support points and `queries` query points of the task's wave.

        Support and query points come from separate random streams. With a different number of shots, a task keeps its
        query set, and the smaller support set is the beginning of the larger one.
        """
        amplitude, phase = self.wave(split, tasks, seed=seed)
        numbers = task_numbers(tasks)

        def points(name: str, count: int) -> tuple[Tensor, Tensor]:
            x = _between(X, uniform(keys(seed, f"sinusoid/{split}/{name}", numbers), count))
            y = amplitude * torch.sin(x - phase)
            return x.float().unsqueeze(-1), y.float().unsqueeze(-1)

        return Episodes(*points("support", shots), *points("query", queries))

    def describe(self, split: Split, task: int, *, seed: int, ways: int = 1) -> str:
        amplitude, phase = self.wave(split, [task], seed=seed)
        return f"A = {amplitude.item():.2f}, φ = {phase.item():.2f}"

    def pooled_batch(self, batch: int, *, seed: int, size: int) -> tuple[Tensor, Tensor]:
        """Return x and y, both float32 [size, 1], of `size` points, each from a different training wave."""
        tasks = range(batch * size, (batch + 1) * size)
        points = self.episodes("train", tasks, seed=seed, shots=1, queries=1)
        return points.support_x.squeeze(1), points.support_y.squeeze(1)
