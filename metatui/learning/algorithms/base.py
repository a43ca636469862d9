"""What an algorithm is: how a batch of tasks moves the meta-parameters θ."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from metatui.learning.episodes import Episodes
from metatui.learning.experiment import Experiment
from metatui.learning.flat import FlatParams
from metatui.learning.graphs.step import Figures, GraphedStep
from metatui.learning.inner import InnerLoop, Params
from metatui.learning.losses import accuracy
from metatui.learning.outer import Diverged, OuterAdam
from metatui.settings import AlgorithmSettings


@dataclass(frozen=True)
class MetaStep:
    """What one meta-step saw, the same for every algorithm, so that their curves can lie over each other."""

    meta_loss: float
    """Mean query loss after adaptation, before the outer update."""
    accuracy: float | None
    support_loss: float
    """Mean support loss before adaptation."""
    grad_norm: float


class Algorithm(ABC):
    """Holds the meta-parameters and moves them."""

    trains: ClassVar[bool] = True
    """Whether there is an outer loop at all."""

    def __init__(self, experiment: Experiment) -> None:
        self.experiment = experiment
        self.engine = experiment.engine
        self.flat = FlatParams(experiment.theta())
        self.theta = self.flat.views
        self.graphs: GraphedStep | None = None
        """Compiled meta-steps, where settings ask for them and the algorithm has them."""

    @abstractmethod
    def meta_step(self, tasks: range, algorithm: AlgorithmSettings, outer_lr: float) -> MetaStep:
        """Train on the tasks numbered `tasks`: one outer update, with the settings as they are now.

        Raises:
            Diverged: where a loss or gradient is not finite; θ is then as before.
        """

    def graphed(self, outer: OuterAdam | None = None) -> GraphedStep | None:
        """What compiled meta-steps are made with, where settings ask for them."""
        settings = self.experiment.settings
        if settings.compute.engine != "compiled":
            return None
        return GraphedStep(settings.algorithm.name, self.engine, self.flat, outer, settings.compute.threads)

    def compiled(self, episodes: Episodes, algorithm: AlgorithmSettings, outer_lr: float) -> MetaStep | None:
        """A meta-step by its compiled function, where there is one for its kind. Raises Diverged."""
        if self.graphs is None or not self.graphs.has(episodes, algorithm):
            return None
        seen: Figures = self.graphs(episodes, algorithm, outer_lr)
        return MetaStep(seen.meta_loss, None, seen.support_loss, seen.grad_norm)

    def sample(self, tasks: range) -> Episodes:
        """The training episodes numbered `tasks`."""
        return self.experiment.training_episodes(tasks)

    def tensors(self) -> Params:
        """What the algorithm remembers besides θ."""
        return {}

    def load(self, tensors: Params) -> None:
        """Go on from what `tensors` returned."""
        assert not tensors

    def adapted(
        self, episodes: Episodes, inner: InnerLoop, order: Tensor | None = None
    ) -> tuple[Params, Tensor, Tensor, Tensor]:
        """Adapt to each task without a graph: the stack of parameters reached, and then, for the record, query loss
        [T] and predictions [T, B, ...] after it and support loss [T] before it."""
        support_loss = None
        for reached in self.engine.adapt(self.theta, episodes.support_x, episodes.support_y, inner, order):
            if support_loss is None:
                support_loss = reached.support_loss
        outputs = self.engine.outputs(reached.params, episodes.query_x)
        assert support_loss is not None
        return reached.params, self.experiment.loss.each(outputs, episodes.query_y), outputs, support_loss

    def record(
        self, episodes: Episodes, *, loss: Tensor, outputs: Tensor, support_loss: Tensor, grad_norm: Tensor
    ) -> MetaStep:
        """The figures of a meta-step, brought to the CPU together."""
        classifies = self.experiment.source.kind == "classification"
        hits = accuracy(outputs, episodes.query_y).mean() if classifies else torch.zeros(())
        seen = [t.mean().to("cpu", torch.float64) for t in (loss, hits, support_loss, grad_norm)]
        meta_loss, hit, support, norm = torch.stack(seen).tolist()
        return MetaStep(meta_loss, hit if classifies else None, support, norm)


def finite(loss: Tensor) -> None:
    """Raises Diverged where a loss is not finite."""
    if not torch.isfinite(loss).all():
        raise Diverged("meta-loss")
