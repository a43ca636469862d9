"""Reptile.

Alex Nichol, Joshua Achiam and John Schulman, "On First-Order Meta-Learning Algorithms", 2018, Algorithm 2 (the
batched version). The inner optimiser is SGD or Adam with β1 = 0, the meta-step size ε is annealed by
`algorithm.outer_schedule = "linear"`, and mini-batches go round the support set as in the authors' code. Here each
task starts with a fresh optimiser; the authors' code carries Adam's second moments from task to task, and to test.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from metatui.config.settings import AlgorithmSettings
from metatui.learning.algorithms.base import Algorithm, MetaStep, PendingStep, check_finite
from metatui.learning.data.random import choose, keys
from metatui.learning.hardware.devices import moved
from metatui.learning.optim.inner import inner_loop
from metatui.learning.optim.outer import norm_of
from metatui.learning.training.experiment import Experiment


class Reptile(Algorithm):
    """Moves the initialisation towards the weights that each task ends up with."""

    def __init__(self, experiment: Experiment) -> None:
        super().__init__(experiment)
        self.graphs = self.graphed()

    def meta_step(self, tasks: range, algorithm: AlgorithmSettings, outer_lr: float) -> MetaStep | PendingStep:
        # Sample tasks τ_1 … τ_n.
        episodes = self.sample(tasks)
        if step := self.compiled_step(episodes, algorithm, outer_lr):
            return step  # what follows, as one graph
        # W_i = SGD(L_τi, θ, k): k steps from θ on each. The query set plays no part in it.
        order = self._mini_batches(tasks, algorithm, examples=episodes.support_x.shape[1])
        adapted, support_loss = self.adapted(episodes, inner_loop(algorithm), order)
        loss, outputs, judged = self.query_metrics(adapted, episodes)
        check_finite(loss)
        # θ ← θ + ε (1/n) Σ (W_i - θ)
        change = self.flat.flatten({name: stack.mean(0) for name, stack in adapted.items()}) - self.flat.vector
        norm = norm_of(change)
        self.flat.vector.add_(change, alpha=outer_lr)
        return self.record(judged, loss=loss, outputs=outputs, support_loss=support_loss, grad_norm=norm)

    def _mini_batches(self, tasks: range, algorithm: AlgorithmSettings, examples: int) -> Tensor | None:
        """Which examples each inner step takes, [T, steps, inner_batch]: round and round the support set, shuffled
        anew each time, as a pure function of the task's number. None takes all of them in every step."""
        if not algorithm.inner_batch or algorithm.inner_batch == examples:
            return None
        needed = algorithm.inner_steps * algorithm.inner_batch
        key = keys(self.experiment.settings.training.seed, "reptile/order", torch.tensor(tasks))
        rounds = [choose(key, examples, examples, offset=r * examples) for r in range(math.ceil(needed / examples))]
        order = moved(torch.cat(rounds, dim=1)[:, :needed], self.experiment.torch_device)
        return order.view(len(tasks), algorithm.inner_steps, algorithm.inner_batch)
