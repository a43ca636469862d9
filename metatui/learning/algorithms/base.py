"""What an algorithm is: how a batch of tasks moves the meta-parameters θ."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from itertools import takewhile
from typing import ClassVar

import torch
from torch import Tensor

from metatui.config.settings import AlgorithmSettings
from metatui.learning.data.episodes import Episodes
from metatui.learning.engines.base import MetaGradient, microbatches
from metatui.learning.engines.compiled.compiled_step import GraphedStep
from metatui.learning.engines.compiled.cuda_graph import CapturedStep, CaptureFailed
from metatui.learning.hardware.memory import free_unused_memory
from metatui.learning.optim.flat_params import FlatParams
from metatui.learning.optim.inner import InnerLoop, Params
from metatui.learning.optim.losses import accuracy
from metatui.learning.optim.outer import Diverged, OuterAdam
from metatui.learning.training.experiment import Experiment

METRIC_QUERIES_PER_CLASS = 2
"""Query images of each class that an algorithm is judged by while it trains, if it does not train on them."""


@dataclass(frozen=True)
class PendingStep:
    """A meta-step that was given to the device, and has perhaps not been taken yet."""

    figures: Tensor
    """[4], the figures of a `MetaStep`; not finite where θ was not moved, nor by any meta-step after it."""


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
        self.captures: CapturedStep | None = None
        """Meta-steps as CUDA graphs, where the device has them."""

    @abstractmethod
    def meta_step(self, tasks: range, algorithm: AlgorithmSettings, outer_lr: float) -> MetaStep | PendingStep:
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

    def compiled_step(
        self, episodes: Episodes, algorithm: AlgorithmSettings, outer_lr: float
    ) -> MetaStep | PendingStep | None:
        """A whole meta-step as one graph, compiled or captured, where there is one for its kind. Raises Diverged."""
        at_once = self.experiment.settings.compute.tasks_at_once
        if self.captures is not None and self.captures.has(episodes, algorithm, at_once=at_once):
            return PendingStep(self.captures(episodes, algorithm, outer_lr, at_once=at_once))
        if self.graphs is None or not self.graphs.has(episodes, algorithm):
            return None
        seen = self.graphs(episodes, algorithm, outer_lr)
        return MetaStep(seen.meta_loss, None, seen.support_loss, seen.grad_norm)

    def capture(self, tasks: range, algorithm: AlgorithmSettings) -> bool:
        """Capture the kind of meta-step that comes next, if the device has graphs and none of this kind is captured.

        Returns:
            Whether a graph was captured.

        Raises:
            CaptureFailed: no graph can be captured; meta-steps stay eager from then on.
            RuntimeError: the device is out of memory, see `is_out_of_memory`.
        """
        if self.captures is None:
            return False
        episodes, at_once = self.sample(tasks), self.experiment.settings.compute.tasks_at_once
        if self.captures.has(episodes, algorithm, at_once=at_once):
            return False
        try:
            self.captures.capture(episodes, algorithm, at_once=at_once)
        except CaptureFailed:
            self.captures.release()
            self.captures = None
            raise
        return True

    def free_memory(self) -> None:
        """Return unused memory, including that of captured graphs, to the device."""
        if self.captures is not None:
            self.captures.release()
        free_unused_memory(self.experiment.torch_device)

    def read(self, steps: list[PendingStep]) -> list[MetaStep]:
        """Wait for meta-steps, and bring their figures to the CPU together.

        Raises:
            Diverged: where the first of them is not finite. Where a later one is, those before it are returned.
        """
        assert self.captures is not None
        rows = torch.stack([step.figures for step in steps]).tolist()
        fine = list(takewhile(lambda row: all(map(math.isfinite, row)), rows))
        if not fine:
            self.captures.rollback(len(rows))
            raise Diverged("gradient" if math.isfinite(rows[0][0]) else "meta-loss")
        classifies = self.experiment.source.kind == "classification"
        return [MetaStep(loss, hit if classifies else None, before, norm) for loss, hit, before, norm in fine]

    def sample(self, tasks: range) -> Episodes:
        """The training episodes numbered `tasks`."""
        return self.experiment.training_episodes(tasks)

    def tensors(self) -> Params:
        """What the algorithm remembers besides θ."""
        return {}

    def load(self, tensors: Params) -> None:
        """Go on from what `tensors` returned."""
        assert not tensors

    def meta_gradient(self, episodes: Episodes, inner: InnerLoop, *, first_order: bool) -> MetaGradient:
        """The engine's meta-gradient at θ, in as many parts as memory asks for."""
        at_once = self.experiment.settings.compute.tasks_at_once
        return self.engine.meta_gradient_in_parts(self.theta, episodes, inner, first_order=first_order, at_once=at_once)

    def adapted(self, episodes: Episodes, inner: InnerLoop, order: Tensor | None = None) -> tuple[Params, Tensor]:
        """Adapt to each task without a graph: the stack of parameters reached, and support loss [T] before it."""
        parts = []
        for rows, part in microbatches(episodes, self.experiment.settings.compute.tasks_at_once):
            taken = None if order is None else order[rows.start : rows.stop]
            parts.append(self.engine.adapt_final(self.theta, part.support_x, part.support_y, inner, taken))
        if len(parts) == 1:
            return parts[0]
        stacks = [stack for stack, _ in parts]
        return {n: torch.cat([s[n] for s in stacks]) for n in stacks[0]}, torch.cat([before for _, before in parts])

    def query_metrics(self, stack: Params, episodes: Episodes) -> tuple[Tensor, Tensor, Episodes]:
        """Query loss [T] and predictions [T, B, ...] of adapted parameters, and the queries they are of: for the
        record, where the algorithm has no use for the query set. Of images a few in each class, because predicting all
        of them would take half as long as the training."""
        if self.experiment.source.kind == "classification":
            episodes = episodes.with_queries(METRIC_QUERIES_PER_CLASS, self.experiment.settings.task.ways)
        outputs = self.engine.outputs(stack, episodes.query_x)
        return self.experiment.loss.each(outputs, episodes.query_y), outputs, episodes

    def record(
        self, episodes: Episodes, *, loss: Tensor, outputs: Tensor, support_loss: Tensor, grad_norm: Tensor
    ) -> MetaStep:
        """The figures of a meta-step, brought to the CPU together."""
        classifies = self.experiment.source.kind == "classification"
        hits = accuracy(outputs, episodes.query_y) if classifies else torch.zeros_like(grad_norm)
        # float64 adds no rounding error, but mps does not have it.
        precision = torch.float32 if loss.device.type == "mps" else torch.float64
        seen = [t.mean().to(precision) for t in (loss, hits, support_loss, grad_norm)]
        meta_loss, hit, support, norm = torch.stack(seen).tolist()
        return MetaStep(meta_loss, hit if classifies else None, support, norm)


def check_finite(loss: Tensor) -> None:
    """Raises Diverged where a loss is not finite."""
    if not torch.isfinite(loss).all():
        raise Diverged("meta-loss")
