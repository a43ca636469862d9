"""Pretrained: ordinary training on all tasks together, a baseline.

Sinusoids follow Finn, Abbeel and Levine 2017, section 5.1 ("pretraining on all of the tasks"): one network regresses
the points of all waves together. Images follow the baseline of Chen et al. 2019 ("A Closer Look at Few-shot
Classification"): one network classifies all training classes. Its features are kept, while the head for N ways stays
at its initialisation. A meta-step uses as many examples as the episodes of a meta-batch hold.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.func import functional_call

from metatui.config.settings import AlgorithmSettings
from metatui.learning.algorithms.base import Algorithm, MetaStep, check_finite
from metatui.learning.data import random
from metatui.learning.experiment import Experiment
from metatui.learning.hardware.devices import moved
from metatui.learning.optim.flat_params import FlatParams
from metatui.learning.optim.inner import Params, inner_loop
from metatui.learning.optim.outer import OuterAdam


class Pretrained(Algorithm):
    """One network for all tasks, trained without any adaptation."""

    def __init__(self, experiment: Experiment) -> None:
        super().__init__(experiment)
        head = self._wide_head() if experiment.source.pooled_classes else {}
        trained = FlatParams({**self.theta, **head})
        self._trained = trained.views
        """Parameters of the network that is trained: θ, with a head for all training classes."""
        self._head = {name: self._trained[name] for name in head}
        # θ shares the tensors of the features, so training this network also trains θ.
        self.theta = {name: p if name in head else self._trained[name] for name, p in self.theta.items()}
        self.outer = OuterAdam(trained)

    def meta_step(self, tasks: range, algorithm: AlgorithmSettings, outer_lr: float) -> MetaStep:
        # Only for the metrics: the query loss after adaptation, as for the other algorithms.
        episodes = self.sample(tasks)
        adapted, support_loss = self.adapt(episodes, inner_loop(algorithm))
        loss, outputs, queried = self.query_metrics(adapted, episodes)
        check_finite(loss)
        # Ordinary training with Adam on a mini-batch from all tasks together.
        size = len(tasks) * (episodes.support_x.shape[1] + episodes.query_x.shape[1])
        x, y = self.experiment.source.pooled_batch(tasks.start, seed=self.experiment.settings.training.seed, size=size)
        norm = self.outer.step(self._gradients(x, y), lr=outer_lr, clip=algorithm.grad_clip)
        return self.step_metrics(queried, loss=loss, outputs=outputs, support_loss=support_loss, grad_norm=norm)

    def _gradients(self, x: Tensor, y: Tensor) -> Params:
        device, dtype = self.experiment.torch_device, self.experiment.dtype
        params = {name: p.detach().requires_grad_() for name, p in self._trained.items()}
        outputs = functional_call(self.experiment.model, params, (moved(x, device, dtype),))
        y = moved(y, device, dtype if y.is_floating_point() else None)
        gradients = torch.autograd.grad(self.experiment.loss.one(outputs, y), list(params.values()))
        return dict(zip(params, gradients, strict=True))

    def _wide_head(self) -> Params:
        """Initialise a last linear layer with an output for every training class."""
        *_, (name, last) = [(n, m) for n, m in self.experiment.model.named_modules() if isinstance(m, nn.Linear)]
        with random.seeded(self.experiment.settings.training.seed):
            wide = nn.Linear(last.in_features, self.experiment.source.pooled_classes)
        wide.to(self.experiment.torch_device, self.experiment.dtype)
        return {f"{name}.{key}": p.detach() for key, p in wide.named_parameters()}

    def tensors(self) -> Params:
        return {**self.outer.tensors(), **{f"head/{name}": p for name, p in self._head.items()}}

    def load(self, tensors: Params) -> None:
        for name, p in self._head.items():
            p.copy_(tensors[f"head/{name}"])
        self.outer.load(tensors)
