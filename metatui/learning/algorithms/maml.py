"""MAML: model-agnostic meta-learning.

Chelsea Finn, Pieter Abbeel and Sergey Levine, "Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks",
ICML 2017. Algorithm 1 in general; Algorithms 2 and 3 for regression and classification, which differ only in the loss.
The outer update uses Adam, as in section 5.
"""

from __future__ import annotations

from typing import ClassVar

from metatui.config.settings import AlgorithmSettings
from metatui.learning.algorithms.base import Algorithm, MetaStep, PendingStep, check_finite
from metatui.learning.engines.compiled.cuda_graph import CapturedStep, captures
from metatui.learning.experiment import Experiment
from metatui.learning.optim.inner import Params, inner_loop
from metatui.learning.optim.outer import OuterAdam


class MAML(Algorithm):
    """Minimises the query loss *after* adaptation, differentiating through the inner steps (second order)."""

    first_order: ClassVar[bool] = False

    def __init__(self, experiment: Experiment) -> None:
        super().__init__(experiment)
        self.outer = OuterAdam(self.flat)
        self.graphs = self.make_graphs(self.outer)
        if captures(experiment.settings, self.engine, experiment.torch_device):
            self.captures = CapturedStep(self.engine, self.flat, self.outer, first_order=self.first_order)

    def meta_step(self, tasks: range, algorithm: AlgorithmSettings, outer_lr: float) -> MetaStep | PendingStep:
        # Line 3: sample a batch of tasks; lines 5 and 8: their support points D and query points D'.
        episodes = self.sample(tasks)
        if step := self.graph_step(episodes, algorithm, outer_lr):
            return step  # the lines below, as one graph
        # Lines 4-7: θ'_i = θ - α ∇_θ L_i(f_θ) on D_i, repeated for several inner steps.
        # Line 10: the gradient ∇_θ Σ_i L_i(f_θ'_i) on D'_i, as a mean over tasks instead of a sum.
        result = self.meta_gradient(episodes, inner_loop(algorithm), first_order=self.first_order)
        check_finite(result.loss)
        # Line 10: θ ← θ - β ∇_θ Σ_i L_i(f_θ'_i), with Adam.
        norm = self.outer.step(result.gradients, lr=outer_lr, clip=algorithm.grad_clip)
        return self.step_metrics(
            episodes, loss=result.loss, outputs=result.outputs, support_loss=result.support_loss, grad_norm=norm
        )

    def tensors(self) -> Params:
        return self.outer.tensors()

    def load(self, tensors: Params) -> None:
        self.outer.load(tensors)
