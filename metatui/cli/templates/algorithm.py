"""An algorithm plugin for metatui.

To train with it: metatui --plugin my_algorithm.py run quick --set algorithm.name=my_algorithm
To check its meta-gradient: metatui --plugin my_algorithm.py check
To load it in Python: metatui.load_plugin("my_algorithm.py")
"""

from __future__ import annotations

from collections.abc import Iterator

from metatui.config.declarations import Group, setting
from metatui.learning.algorithm import META_GRADIENT, GradientBased
from metatui.learning.engines.task import Task
from metatui.learning.optim.inner import Params


class MyAlgorithm(GradientBased):
    """MAML with an inner learning rate that decays from step to step."""

    name = "my_algorithm"  # the value of algorithm.name
    title = "My algorithm"  # the name in the app

    class Options(Group):
        decay: float = setting(
            0.9, "Decay", "Factor by which the inner learning rate is multiplied after each inner step.", gt=0, le=1
        )

    options: Options  # --set my_algorithm.decay=0.5
    uses = META_GRADIENT | {  # the common settings that it reads
        "algorithm.inner_lr", "algorithm.inner_steps", "algorithm.adapt", "evaluation.inner_steps",
    }  # fmt: skip

    def adapt(self, task: Task, meta: Params, steps: int) -> Iterator[Params]:
        """Yield the parameters before the first inner step and after each one."""
        params = self.start(task, meta)
        yield params
        rate = self.inner.lr
        for _ in range(steps):
            gradient = task.gradient(params, self.adapted)  # of the support loss, with a graph for the meta-gradient
            params = params | {name: params[name] - rate * gradient[name] for name in self.adapted}
            yield params
            rate = self.options.decay * rate
