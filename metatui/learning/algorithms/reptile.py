"""Reptile.

Alex Nichol, Joshua Achiam and John Schulman, "On First-Order Meta-Learning Algorithms", 2018, Algorithm 2 (the batched
version). The inner optimiser is SGD or Adam with β1 = 0, `algorithm.outer_schedule = "linear"` anneals the meta-step
size ε, and mini-batches cycle through the support set as in the authors' code. Every task starts with a fresh
optimiser, whereas the authors' code carries Adam's second moments from task to task, even into the evaluation.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

from metatui.config.registry import Usual
from metatui.learning.algorithm import INNER_STEPS, OUTER_LOOP, GradientBased
from metatui.learning.explanations import (
    NICHOL,
    Explanation,
    inner_cost,
    inner_gradients,
    inner_steps,
    loss,
    outer_loop,
    outer_lr,
    support,
)
from metatui.utils.text import format_count

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from metatui.config.settings import Settings
    from metatui.learning.training.learner import Learner, MetaStep, PendingStep


class Reptile(GradientBased):
    """Movement of the initialisation towards the adapted weights of each task."""

    name = "reptile"
    title = "Reptile"
    uses = OUTER_LOOP | INNER_STEPS | {
        "algorithm.inner_steps", "algorithm.inner_batch", "algorithm.train_shots", "algorithm.adapt",
        "algorithm.freeze",
    }  # fmt: skip
    compiles = True
    timed = "adaptation"
    usual: ClassVar[Usual] = {
        "regression": {
            "algorithm.inner_lr": 0.01, "algorithm.inner_steps": 5, "algorithm.inner_optimizer": "sgd",
            "algorithm.inner_clip": 0.0, "algorithm.inner_batch": 0, "algorithm.train_shots": 0,
            "algorithm.outer_lr": 0.1, "algorithm.outer_schedule": "constant", "evaluation.inner_steps": 10,
        },
        "classification": {
            "algorithm.inner_lr": 0.001, "algorithm.inner_steps": 5, "algorithm.inner_optimizer": "adam",
            "algorithm.inner_clip": 0.0, "algorithm.inner_batch": 10, "algorithm.train_shots": 10,
            "algorithm.outer_lr": 1.0, "algorithm.outer_schedule": "linear", "algorithm.outer_lr_final": 0.0,
            "evaluation.inner_steps": 20,
        },
    }  # fmt: skip

    def meta_step(self, learner: Learner, tasks: range, outer_lr: float) -> MetaStep | PendingStep:
        # Sample tasks τ_1, ..., τ_n.
        episodes = learner.sample(tasks)
        if step := learner.graph_step(episodes, outer_lr):
            return step  # one graph computed all lines below
        # θ'_i = SGD(L_τi, θ, k): k inner steps from θ on the support set. The query set is only used for the metrics.
        order = self.mini_batches(tasks, examples=episodes.support_x.shape[1])
        adapted, support_loss = learner.adapt(episodes, order)
        query_loss, outputs, queried = learner.query_metrics(adapted, episodes)
        # θ ← θ + ε (1/n) Σ_i (θ'_i - θ)
        norm = learner.move_towards({name: stack.mean(0) for name, stack in adapted.items()}, outer_lr)
        return learner.step_metrics(
            queried, loss=query_loss, outputs=outputs, support_loss=support_loss, grad_norm=norm
        )

    def mini_batches(self, tasks: range, examples: int) -> Tensor | None:
        """Choose the examples of each inner step. Mini-batches cycle through the support set.

        The support set is shuffled again for each cycle. A task's mini-batches depend only on the seed and the index
        of the task.

        Returns:
            int64 [T, steps, inner_batch], or None if every step uses all examples.
        """
        import torch

        from metatui.learning.data.random import choose, keys

        algorithm = self.settings.algorithm
        if not algorithm.inner_batch or algorithm.inner_batch == examples:
            return None
        needed = algorithm.inner_steps * algorithm.inner_batch
        key = keys(self.settings.training.seed, "reptile/order", torch.tensor(tasks))
        cycles = [choose(key, examples, examples, offset=c * examples) for c in range(math.ceil(needed / examples))]
        order = torch.cat(cycles, dim=1)[:, :needed]
        return order.view(len(tasks), algorithm.inner_steps, algorithm.inner_batch)

    @classmethod
    def violations(cls, settings: Settings) -> Iterator[tuple[str, str]]:
        ways = settings.ways_in_training[0] if settings.is_classification else 1
        examples = settings.shots_in_training[0] * ways
        if settings.algorithm.inner_batch > examples:
            yield "algorithm.inner_batch", f"at most {examples}, the number of support examples in a training episode"

    @classmethod
    def explain(cls, settings: Settings) -> Explanation:
        algorithm = settings.algorithm
        steps, batch = algorithm.inner_steps, algorithm.inner_batch
        return Explanation(
            title="Reptile",
            idea=(
                "Train on a task for a few steps, then move the initialisation towards the result. Over many tasks, θ "
                "comes close to the solutions of all of them. With several inner steps, θ also moves to where the "
                "gradients of one task agree with each other, although Reptile uses neither second derivatives nor a "
                "query set."
            ),
            rule=("θ'_i = k steps from θ on L_i(D_i)", "θ ← θ + ε mean_i (θ'_i − θ)"),
            symbols=(
                f"k: inner steps, {steps}, at learning rate {algorithm.inner_lr:g}. ε: meta-step size (outer learning "
                f"rate), {outer_lr(settings)}. D_i: training examples of task i. L: {loss(settings)}."
            ),
            code=(
                *outer_loop(settings),
                f"    for each of {format_count(algorithm.meta_batch, 'sampled task')}:",
                f"        D ← {support(settings)}",
                *inner_steps(settings, steps, indent=8, batch=batch),
                f"    θ ← θ + ε (mean over tasks of θ' − θ), ε = {outer_lr(settings)}",
            ),
            costs=(
                inner_cost(settings, "training"),
                "No second derivatives and no gradient of a query loss; the query loss is only computed to plot "
                "training curves.",
                "Memory does not grow with the number of inner steps.",
            ),
            gradients=inner_gradients(settings),
            paper=(f"{NICHOL} Algorithm 2, the batched version.",),
        )
