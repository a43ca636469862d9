"""Example of a data set plugin."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from metatui.config.declarations import Group, setting
from metatui.config.settings import Settings
from metatui.learning.data.data_set import DataSet
from metatui.learning.data.episodes import Episodes, Split, TaskSource
from metatui.learning.data.random import keys, normal, task_numbers, uniform


class Polynomials(DataSet):
    """Regression data set of polynomials with normally distributed coefficients."""

    name = "polynomials"
    title = "Polynomials"
    kind = "regression"

    class Options(Group):
        degree: int = setting(2, "Degree", "Degree of the polynomials.", ge=0, le=8)

    @classmethod
    def load(cls, settings: Settings, device: torch.device) -> PolynomialSource:
        options = settings.options_of(cls.name, cls.Options)
        return PolynomialSource(options.degree)


class PolynomialSource(TaskSource):
    kind = "regression"
    input_shape = (1,)

    def __init__(self, degree: int) -> None:
        self.degree = degree

    def episodes(
        self, split: Split, tasks: Sequence[int], *, seed: int, ways: int = 1, shots: int, queries: int
    ) -> Episodes:
        numbers = task_numbers(tasks)
        coefficients = normal(keys(seed, f"polynomials/{split}", numbers), self.degree + 1).unsqueeze(1)
        points = []
        for name, count in (("support", shots), ("query", queries)):
            x = 2 * uniform(keys(seed, f"polynomials/{split}/{name}", numbers), count).unsqueeze(-1) - 1
            y = (coefficients * x ** torch.arange(self.degree + 1)).sum(-1, keepdim=True)
            points += [x.float(), y.float()]
        return Episodes(*points)

    def describe(self, split: Split, task: int, *, seed: int, ways: int = 1) -> str:
        return f"polynomial {task} of degree {self.degree}"

    def pooled_batch(self, batch: int, *, seed: int, size: int) -> tuple[Tensor, Tensor]:
        tasks = self.episodes("train", range(batch * size, (batch + 1) * size), seed=seed, shots=1, queries=1)
        return tasks.support_x.squeeze(1), tasks.support_y.squeeze(1)
