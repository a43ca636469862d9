"""A data set plugin for metatui.

To train on it: metatui --plugin my_data.py run quick --set task.source=my_data
To load it in Python: metatui.load_plugin("my_data.py")
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from metatui.config.declarations import Group, setting
from metatui.config.settings import Settings
from metatui.learning.data.data_set import DataSet
from metatui.learning.data.episodes import Episodes, Split, TaskSource
from metatui.learning.data.random import keys, task_numbers, uniform


class MyData(DataSet):
    """Regression tasks: straight lines through the origin, with random slopes."""

    name = "my_data"  # the value of task.source
    title = "My data"  # the name in the app
    kind = "regression"

    class Options(Group):
        steepest: float = setting(2.0, "Steepest", "Largest slope.", gt=0, le=100)  # --set my_data.steepest=5

    @classmethod
    def load(cls, settings: Settings, device: torch.device) -> Lines:
        return Lines(settings.options_of(cls.name, cls.Options).steepest)


class Lines(TaskSource):
    """Tasks with one input and one target. Task i of a split depends only on (seed, split, i)."""

    kind = "regression"
    input_shape = (1,)
    targets = 1

    def __init__(self, steepest: float) -> None:
        self.steepest = steepest

    def episodes(
        self, split: Split, tasks: Sequence[int], *, seed: int, ways: int = 1, shots: int, queries: int
    ) -> Episodes:
        slope = self._slopes(split, tasks, seed).unsqueeze(-1)  # [tasks, 1, 1]
        numbers = task_numbers(tasks)

        def points(name: str, count: int) -> tuple[Tensor, Tensor]:
            # The name selects a stream of random numbers: support and query points have separate streams.
            x = 2 * uniform(keys(seed, f"my_data/{split}/{name}", numbers), count).unsqueeze(-1) - 1
            return x.float(), (slope * x).float()  # [tasks, count, 1]

        return Episodes(*points("support", shots), *points("query", queries))

    def describe(self, split: Split, task: int, *, seed: int, ways: int = 1) -> str:
        return f"slope {self._slopes(split, [task], seed).item():.2f}"

    def pooled_batch(self, batch: int, *, seed: int, size: int) -> tuple[Tensor, Tensor]:
        """Return a batch of examples from all training tasks together, for the baseline `pretrained`."""
        tasks = self.episodes("train", range(batch * size, (batch + 1) * size), seed=seed, shots=1, queries=1)
        return tasks.support_x.squeeze(1), tasks.support_y.squeeze(1)

    def _slopes(self, split: Split, tasks: Sequence[int], seed: int) -> Tensor:
        return self.steepest * (2 * uniform(keys(seed, f"my_data/{split}", task_numbers(tasks)), 1) - 1)
