"""Pretrained, a reference: ordinary training on all tasks together, then the same adaptation.

For sinusoids as in Finn et al. 2017, section 5.1 ("pretraining on all of the tasks"): one network regresses the
points of all waves at once. For images as in the baseline of Chen et al. 2019 ("A Closer Look at Few-shot
Classification"): one network tells all training classes apart; its features are kept, and the head for N ways stays
at its initialisation. A meta-step takes as many examples as the meta-batch's episodes hold.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.func import functional_call

from metatui.config.settings import AlgorithmSettings
from metatui.learning.algorithms.base import Algorithm, MetaStep, check_finite
from metatui.learning.data import random
from metatui.learning.hardware.devices import moved
from metatui.learning.optim.flat_params import FlatParams
from metatui.learning.optim.inner import Params, inner_loop
from metatui.learning.optim.outer import OuterAdam
from metatui.learning.training.experiment import Experiment


class Pretrained(Algorithm):
    """One network for all tasks, trained without any adaptation."""

    def __init__(self, experiment: Experiment) -> None:
        super().__init__(experiment)
        head = self._wide_head() if experiment.source.pooled_classes else {}
        wide = FlatParams({**self.theta, **head})
        self.wide = wide.views
        self.head = {name: self.wide[name] for name in head}
        # The features are θ's own tensors, so training the wide network trains them.
        self.theta = {name: p if name in head else self.wide[name] for name, p in self.theta.items()}
        self.outer = OuterAdam(wide)

    def meta_step(self, tasks: range, algorithm: AlgorithmSettings, outer_lr: float) -> MetaStep:
        # For the record only: what the others report, the query loss after adaptation.
        episodes = self.sample(tasks)
        adapted, support_loss = self.adapted(episodes, inner_loop(algorithm))
        loss, outputs, judged = self.query_metrics(adapted, episodes)
        check_finite(loss)
        # Ordinary training: a mini-batch of all tasks together, and Adam.
        size = len(tasks) * (episodes.support_x.shape[1] + episodes.query_x.shape[1])
        x, y = self.experiment.source.pooled_batch(tasks.start, seed=self.experiment.settings.training.seed, size=size)
        gradients = self._gradients(x, y)
        norm = self.outer.step(gradients, lr=outer_lr, clip=algorithm.grad_clip)
        return self.record(judged, loss=loss, outputs=outputs, support_loss=support_loss, grad_norm=norm)

    def _gradients(self, x: Tensor, y: Tensor) -> Params:
        where, dtype = self.experiment.torch_device, self.experiment.dtype
        wide = {name: p.detach().requires_grad_() for name, p in self.wide.items()}
        predicted = functional_call(self.experiment.model, wide, (moved(x, where, dtype),))
        y = moved(y, where, dtype if y.is_floating_point() else None)
        found = torch.autograd.grad(self.experiment.loss.one(predicted, y), list(wide.values()))
        return dict(zip(wide, found, strict=True))

    def _wide_head(self) -> Params:
        """The last linear layer, for all training classes."""
        *_, (name, last) = [(n, m) for n, m in self.experiment.model.named_modules() if isinstance(m, nn.Linear)]
        with random.seeded(self.experiment.settings.training.seed):
            wide = nn.Linear(last.in_features, self.experiment.source.pooled_classes)
        wide.to(self.experiment.torch_device, self.experiment.dtype)
        return {f"{name}.{key}": p.detach() for key, p in wide.named_parameters()}

    def tensors(self) -> Params:
        return {**self.outer.tensors(), **{f"head/{name}": p for name, p in self.head.items()}}

    def load(self, tensors: Params) -> None:
        for name, p in self.head.items():
            p.copy_(tensors[f"head/{name}"])
        self.outer.load(tensors)
