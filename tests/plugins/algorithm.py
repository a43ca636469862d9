"""Example of an algorithm plugin."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from metatui.config.declarations import Group, setting
from metatui.config.settings import Settings
from metatui.learning.algorithm import META_GRADIENT, RATE_IS_LEARNED, GradientBased
from metatui.learning.data.episodes import TaskSource
from metatui.learning.engines.task import Task
from metatui.learning.optim.inner import Params

RATE = "inner_lr/all"


class LearnedRate(GradientBased):
    """MAML with one learned inner learning rate for all parameters. The rate decays from one inner step to the next."""

    name = "learned_rate"
    title = "MAML with a learned rate"

    class Options(Group):
        decay: float = setting(
            0.9, "Decay", "Factor by which the learned rate is multiplied after each inner step.", gt=0, le=1
        )

    options: Options
    uses = META_GRADIENT | {
        "algorithm.inner_lr", "algorithm.inner_steps", "evaluation.inner_steps", "algorithm.adapt",
    }  # fmt: skip

    @classmethod
    def fixed(cls, settings: Settings) -> Mapping[str, str]:
        return RATE_IS_LEARNED

    def meta_parameters(self, params: Params, source: TaskSource) -> Params:
        parameter = next(iter(params.values()))  # for its dtype and device
        return params | {RATE: parameter.new_tensor(self.settings.algorithm.inner_lr)}

    def adapt(self, task: Task, meta: Params, steps: int) -> Iterator[Params]:
        params = self.start(task, meta)
        yield params
        rate = meta[RATE]
        for _ in range(steps):
            gradient = task.gradient(params, self.adapted)
            change = task.scaled(rate, gradient)
            params = params | {name: params[name] - change[name] for name in self.adapted}
            rate = self.options.decay * rate
            yield params
