"""Meta-SGD: MAML with a learned inner learning rate for every parameter.

Zhenguo Li, Fengwei Zhou, Fei Chen and Hang Li, "Meta-SGD: Learning to Learn Quickly for Few-Shot Learning", 2017,
Algorithm 1. The rates α have the shape of θ, so they change the direction of a step as well as its length; they may
become negative.

Every rate starts at `algorithm.inner_lr`, whereas the paper draws random initial values. The paper takes one inner
step. Here, any number of steps is possible, in training and on held-out tasks, and all steps share the rates. Rates
that are learned for one step may be too large for several steps, and large initial rates are unstable.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from metatui.config.registry import Usual
from metatui.learning.algorithm import RATE, RATE_IS_LEARNED
from metatui.learning.algorithms.maml import MAML
from metatui.learning.explanations import Explanation, Rates, gradient_based, inner_gradients
from metatui.utils.text import format_count

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from metatui.config.settings import Settings
    from metatui.learning.data.episodes import TaskSource
    from metatui.learning.engines.task import Task
    from metatui.learning.optim.inner import Params


class MetaSGD(MAML):
    """MAML that also learns one inner learning rate for each element of the adapted parameters."""

    name = "meta_sgd"
    title = "Meta-SGD"
    uses = MAML.uses - {"compute.second_order"}
    compiles = False
    published_batch_norm = None
    usual: ClassVar[Usual] = {kind: values | {"evaluation.inner_steps": 1} for kind, values in MAML.usual.items()}

    @classmethod
    def fixed(cls, settings: Settings) -> Mapping[str, str]:
        return RATE_IS_LEARNED

    def meta_parameters(self, params: Params, source: TaskSource) -> Params:
        # Line 1: initialise θ and α.
        rate = self.settings.algorithm.inner_lr
        return params | {RATE + name: params[name].new_full(params[name].shape, rate) for name in self.adapted}

    def adapt(self, task: Task, meta: Params, steps: int) -> Iterator[Params]:
        update = self.inner.start(stacked=task.is_stack)
        rates = {name: meta[RATE + name] for name in self.adapted}
        params = self.start(task, meta)
        yield params
        for _ in range(steps):
            # Lines 5 and 6: θ'_i = θ - α ∘ ∇L_i(θ) on the support set, with the elementwise product ∘.
            gradient = task.gradient(params, self.adapted)
            params = params | update({name: params[name] for name in self.adapted}, gradient, rates)
            yield params

    # Line 9: (θ, α) ← (θ, α) - β ∇_(θ,α) Σ_i L_i(θ'_i) on the query sets, with Adam, is `meta_step` of MAML.

    @classmethod
    def explain(cls, settings: Settings) -> Explanation:
        rate = settings.algorithm.inner_lr
        return gradient_based(
            settings,
            title="Meta-SGD: a learned learning rate for every parameter",
            idea=(
                "MAML that also learns the inner learning rate: α has one rate for each element of the adapted "
                "parameters. So the outer loop learns where the inner steps start, how long they are and in which "
                "direction they go."
            ),
            inner_rule="θ'_i = θ − α ∘ ∇L_i(D_i; θ)",
            outer_rule="(θ, α) ← (θ, α) − β d/d(θ, α) mean_i L_i(D'_i; θ'_i)",
            outer_gradient="g ← d/d(θ, α) of the mean over tasks of L(D'; θ'), through the inner steps",
            learned="(θ, α)",
            rates=Rates(
                f"inner learning rates, with the shapes of the adapted parameters, initially {rate:g}; ∘: "
                "elementwise product",
                f"α ← {rate:g} for every element of the adapted parameters",
                "α ∘",
            ),
            costs=(
                f"{format_count(inner_gradients(settings), 'Hessian-vector product')}, one for each inner step of each "
                "task.",
                "Twice as many meta-parameters as MAML, if all parameters are adapted. Memory grows with the number of "
                "inner steps, because the graph of every inner step is kept.",
            ),
            hessian_products=inner_gradients(settings),
            paper=(
                "Zhenguo Li, Fengwei Zhou, Fei Chen and Hang Li: Meta-SGD: Learning to Learn Quickly for Few-Shot "
                "Learning. 2017. Algorithm 1.",
            ),
        )
