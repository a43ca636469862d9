"""Reptile.

Alex Nichol, Joshua Achiam and John Schulman, "On First-Order Meta-Learning Algorithms", 2018, Algorithm 2 (the
batched version). The inner optimiser is SGD or Adam with β1 = 0, `algorithm.outer_schedule = "linear"` anneals the
meta-step size ε, and mini-batches cycle through the support set as in the authors' code. Every task starts with
a fresh optimiser, whereas the authors' code carries Adam's second moments from task to task, and into the test.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from metatui.config.settings import AlgorithmSettings
from metatui.learning.algorithms.base import Algorithm, MetaStep, PendingStep, check_finite
from metatui.learning.data.random import choose, keys
from metatui.learning.experiment import Experiment
from metatui.learning.hardware.devices import moved
from metatui.learning.optim.inner import inner_loop
from metatui.learning.optim.outer import norm_of


class Reptile(Algorithm):
    """Moves the initialisation towards the adapted weights of each task."""

    def __init__(self, experiment: Experiment) -> None:
        super().__init__(experiment)
        self.graphs = self.make_graphs()

    def meta_step(self, tasks: range, algorithm: AlgorithmSettings, outer_lr: float) -> MetaStep | PendingStep:
        # Sample tasks τ_1, ..., τ_n.
        episodes = self.sample(tasks)
        if step := self.graph_step(episodes, algorithm, outer_lr):
            return step  # the lines below, as one graph
        # W_i = SGD(L_τi, θ, k): k inner steps from θ on the support set. The query set is only used for the metrics.
        order = self._mini_batches(tasks, algorithm, examples=episodes.support_x.shape[1])
        adapted, support_loss = self.adapt(episodes, inner_loop(algorithm), order)
        loss, outputs, queried = self.query_metrics(adapted, episodes)
        check_finite(loss)
        # θ ← θ + ε (1/n) Σ_i (W_i - θ)
        change = self.flat.flatten({name: stack.mean(0) for name, stack in adapted.items()}) - self.flat.vector
        norm = norm_of(change)
        self.flat.vector.add_(change, alpha=outer_lr)
        return self.step_metrics(queried, loss=loss, outputs=outputs, support_loss=support_loss, grad_norm=norm)

    def _mini_batches(self, tasks: range, algorithm: AlgorithmSettings, examples: int) -> Tensor | None:
        """Choose the examples of each inner step. Mini-batches cycle through the support set.

        The set is reshuffled for each cycle. A task's mini-batches depend only on the seed and the number of the task.

        Returns:
            int64 [T, steps, inner_batch]; None if every step uses all examples.
        """
        if not algorithm.inner_batch or algorithm.inner_batch == examples:
            return None
        needed = algorithm.inner_steps * algorithm.inner_batch
        key = keys(self.experiment.settings.training.seed, "reptile/order", torch.tensor(tasks))
        cycles = [choose(key, examples, examples, offset=c * examples) for c in range(math.ceil(needed / examples))]
        order = moved(torch.cat(cycles, dim=1)[:, :needed], self.experiment.torch_device)
        return order.view(len(tasks), algorithm.inner_steps, algorithm.inner_batch)
