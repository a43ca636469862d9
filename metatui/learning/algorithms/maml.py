"""MAML: model-agnostic meta-learning.

Chelsea Finn, Pieter Abbeel and Sergey Levine, "Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks",
ICML 2017. Algorithm 1 is the general form. Algorithms 2 and 3, for regression and classification, differ only in the
loss. The outer update uses Adam, as in section 5.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from metatui.config.constraints import has_plain_steps
from metatui.config.registry import Usual
from metatui.learning.algorithm import INNER_STEPS, META_GRADIENT, GradientBased
from metatui.learning.explanations import FINN, Explanation, gradient_based, inner_gradients
from metatui.utils.text import format_count

if TYPE_CHECKING:
    from collections.abc import Iterator

    from metatui.config.settings import Settings
    from metatui.learning.training.learner import Learner, MetaStep, PendingStep


class MAML(GradientBased):
    """Minimisation of the query loss *after* adaptation, with gradients through the inner steps (second order)."""

    name = "maml"
    title = "MAML"
    uses = META_GRADIENT | INNER_STEPS | {
        "algorithm.inner_steps", "algorithm.adapt", "compute.second_order", "compute.cuda_graphs",
    }  # fmt: skip
    compiles = True
    captured = True
    published_batch_norm: ClassVar[Literal["transductive", "per_example"] | None] = "transductive"
    usual: ClassVar[Usual] = {
        "regression": {
            "algorithm.inner_lr": 0.01, "algorithm.inner_steps": 1, "algorithm.inner_optimizer": "sgd",
            "algorithm.inner_clip": 0.0, "algorithm.outer_lr": 0.001, "algorithm.outer_schedule": "constant",
            "evaluation.inner_steps": 10,
        },
        "classification": {
            "algorithm.inner_lr": 0.4, "algorithm.inner_steps": 1, "algorithm.inner_optimizer": "sgd",
            "algorithm.inner_clip": 0.0, "algorithm.outer_lr": 0.003, "algorithm.outer_schedule": "cosine",
            "algorithm.outer_lr_final": 0.0, "evaluation.inner_steps": 3,
        },
    }  # fmt: skip

    @classmethod
    def violations(cls, settings: Settings) -> Iterator[tuple[str, str]]:
        is_plain = has_plain_steps(settings) and (cls.adapts or settings.algorithm.adapt) == "all"
        if settings.compute.second_order == "recomputed" and "compute.second_order" in cls.uses and not is_plain:
            yield (
                "compute.second_order",
                "auto or unrolled, because only steps of plain SGD on all parameters can be recomputed",
            )

    def meta_step(self, learner: Learner, tasks: range, outer_lr: float) -> MetaStep | PendingStep:
        # Line 3: sample a batch of tasks; lines 5 and 8: their support points D and query points D'.
        episodes = learner.sample(tasks)
        if step := learner.graph_step(episodes, outer_lr):
            return step  # one graph computed all lines below
        # Lines 4-7: θ'_i = θ - α ∇_θ L_i(f_θ) on D_i, repeated for several inner steps (`adapt`).
        # Line 10: the gradient ∇_θ Σ_i L_i(f_θ'_i) on D'_i, as a mean over tasks instead of a sum.
        result = learner.meta_gradient(episodes)
        # Line 10: θ ← θ - β ∇_θ Σ_i L_i(f_θ'_i), with Adam.
        norm = learner.descend(result.gradients, outer_lr)
        return learner.step_metrics(
            episodes, loss=result.loss, outputs=result.outputs, support_loss=result.support_loss, grad_norm=norm
        )

    @classmethod
    def explain(cls, settings: Settings) -> Explanation:
        memory = {
            "unrolled": "Memory grows with the number of inner steps, because the graph of every inner step is kept.",
            "recomputed": "To save memory, only the graph of one inner step and the parameters after every inner step "
            "are kept, and the gradient of each inner step is computed twice.",
            "auto": "If the graph of all inner steps is small, it is kept in memory; otherwise, only the graph of one "
            "inner step and the parameters after every inner step are kept.",
        }
        return gradient_based(
            settings,
            title="MAML: model-agnostic meta-learning",
            idea=(
                "Learn an initialisation θ from which a few gradient steps adapt the model well to a new task. MAML "
                "minimises the query loss after adaptation: the gradient of this loss is backpropagated through the "
                "inner steps to θ. So θ moves to where the inner steps help most."
            ),
            outer_rule="θ ← θ − β d/dθ mean_i L_i(D'_i; θ'_i)",
            outer_gradient="g ← d/dθ of the mean over tasks of L(D'; θ'), through the inner steps",
            costs=(
                f"{format_count(inner_gradients(settings), 'Hessian-vector product')}, one for each inner step of each "
                "task. Each takes a backward pass through the gradient of a support loss.",
                memory[settings.compute.second_order],
            ),
            hessian_products=inner_gradients(settings),
            paper=(f"{FINN} Algorithms 2 and 3.",),
        )
