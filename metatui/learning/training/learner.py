"""Base class of the algorithms: how a batch of tasks updates the meta-parameters θ."""

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
from metatui.learning.experiment import Experiment
from metatui.learning.hardware.memory import free_unused_memory
from metatui.learning.optim.flat_params import FlatParams
from metatui.learning.optim.inner import InnerLoop, Params
from metatui.learning.optim.losses import accuracy
from metatui.learning.optim.outer import Diverged, OuterAdam

METRIC_QUERIES_PER_CLASS = 2
"""Query images per class for the training metrics of algorithms that do not train on the query set."""


@dataclass(frozen=True)
class PendingStep:
    """A meta-step that was queued on the device and may not have finished yet."""

    metrics: Tensor
    """[4], the fields of `MetaStep` in order.

    They are not finite if this meta-step or an earlier one diverged, so that θ was left unchanged.
    """


@dataclass(frozen=True)
class MetaStep:
    """Metrics of one meta-step, defined identically for every algorithm, so that their curves can be compared."""

    meta_loss: float
    """Mean query loss after adaptation, before the outer update."""
    accuracy: float | None
    support_loss: float
    """Mean support loss before adaptation."""
    grad_norm: float


class Algorithm(ABC):
    """Owns the meta-parameters `theta` and updates them in place."""

    trains: ClassVar[bool] = True
    """False for an algorithm without an outer loop."""

    def __init__(self, experiment: Experiment) -> None:
        self.experiment = experiment
        self.engine = experiment.engine
        self.flat = FlatParams(experiment.theta())
        self.theta = self.flat.views
        self.graphs: GraphedStep | None = None
        """Compiled meta-steps, if the settings ask for them and the algorithm supports them."""
        self.captures: CapturedStep | None = None
        """Meta-steps captured as CUDA graphs, if the device supports them."""

    @abstractmethod
    def meta_step(self, tasks: range, algorithm: AlgorithmSettings, outer_lr: float) -> MetaStep | PendingStep:
        """Make one outer update on the training tasks numbered `tasks`.

        Args:
            algorithm: the current settings, which may change between meta-steps.

        Raises:
            Diverged: if a loss or gradient is not finite. θ is unchanged.
        """

    def sample(self, tasks: range) -> Episodes:
        """Return the training episodes numbered `tasks`."""
        return self.experiment.training_episodes(tasks)

    def tensors(self) -> Params:
        """Return the state besides θ, for a checkpoint."""
        return {}

    def load(self, tensors: Params) -> None:
        """Restore the state that `tensors` returned."""
        assert not tensors

    # Parts of a meta-step

    def meta_gradient(self, episodes: Episodes, inner: InnerLoop, *, first_order: bool) -> MetaGradient:
        """Compute the meta-gradient at θ, with at most `compute.tasks_at_once` tasks in memory."""
        at_once = self.experiment.settings.compute.tasks_at_once
        return self.engine.meta_gradient_in_parts(self.theta, episodes, inner, first_order=first_order, at_once=at_once)

    def adapt(self, episodes: Episodes, inner: InnerLoop, order: Tensor | None = None) -> tuple[Params, Tensor]:
        """Adapt to each task without a graph.

        Args:
            order: int64 [T, steps, b], the support examples that each inner step uses; None uses all of them.

        Returns:
            The stack of adapted parameters, and the support loss [T] before adaptation.
        """
        results = []
        for rows, part in microbatches(episodes, self.experiment.settings.compute.tasks_at_once):
            part_order = None if order is None else order[rows.start : rows.stop]
            results.append(self.engine.adapt_final(self.theta, part.support_x, part.support_y, inner, part_order))
        if len(results) == 1:
            return results[0]
        stacks = [stack for stack, _ in results]
        return {n: torch.cat([s[n] for s in stacks]) for n in stacks[0]}, torch.cat([loss for _, loss in results])

    def query_metrics(self, stack: Params, episodes: Episodes) -> tuple[Tensor, Tensor, Episodes]:
        """Evaluate adapted parameters on the query set, for an algorithm that does not train on it.

        Images are limited to `METRIC_QUERIES_PER_CLASS` per class: predicting all of them would take half as long
        as the training itself.

        Returns:
            Query loss [T], predictions [T, B, ...], and the episodes with the query examples that were used.
        """
        if self.experiment.settings.is_classification:
            episodes = episodes.with_queries(METRIC_QUERIES_PER_CLASS, self.experiment.settings.task.ways)
        outputs = self.engine.outputs(stack, episodes.query_x)
        return self.experiment.loss.each(outputs, episodes.query_y), outputs, episodes

    def step_metrics(
        self, episodes: Episodes, *, loss: Tensor, outputs: Tensor, support_loss: Tensor, grad_norm: Tensor
    ) -> MetaStep:
        """Average the metrics over the tasks and copy them to the CPU, all in one transfer."""
        is_classification = self.experiment.settings.is_classification
        hits = accuracy(outputs, episodes.query_y) if is_classification else torch.zeros_like(grad_norm)
        # float64 avoids rounding errors, but mps does not support it.
        precision = torch.float32 if loss.device.type == "mps" else torch.float64
        means = [t.mean().to(precision) for t in (loss, hits, support_loss, grad_norm)]
        return self._meta_step_of(*torch.stack(means).tolist())

    def _meta_step_of(self, meta_loss: float, hits: float, support_loss: float, grad_norm: float) -> MetaStep:
        return MetaStep(
            meta_loss, hits if self.experiment.settings.is_classification else None, support_loss, grad_norm
        )

    # Whole meta-steps as one graph

    def make_graphs(self, outer: OuterAdam | None = None) -> GraphedStep | None:
        """Create the compiled meta-steps if `compute.engine` is `compiled`."""
        settings = self.experiment.settings
        if settings.compute.engine != "compiled":
            return None
        return GraphedStep(settings.algorithm.name, self.engine, self.flat, outer, settings.compute.threads)

    def graph_step(
        self, episodes: Episodes, algorithm: AlgorithmSettings, outer_lr: float
    ) -> MetaStep | PendingStep | None:
        """Make a meta-step with a captured or compiled graph; return None if there is no graph for its kind.

        Raises:
            Diverged: if a loss or gradient is not finite. For a captured graph, `read` raises it later.
        """
        at_once = self.experiment.settings.compute.tasks_at_once
        if self.captures is not None and self.captures.has(episodes, algorithm, at_once=at_once):
            return PendingStep(self.captures(episodes, algorithm, outer_lr, at_once=at_once))
        if self.graphs is None or not self.graphs.has(episodes, algorithm):
            return None
        metrics = self.graphs(episodes, algorithm, outer_lr)
        return MetaStep(metrics.meta_loss, None, metrics.support_loss, metrics.grad_norm)

    def capture(self, tasks: range, algorithm: AlgorithmSettings) -> bool:
        """Capture the next kind of meta-step as a CUDA graph, if the device supports it and it is not captured yet.

        Returns:
            Whether a graph was captured.

        Raises:
            CaptureFailed: if no graph can be captured; all later meta-steps are eager.
            RuntimeError: if the device is out of memory, see `is_out_of_memory`.
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
        """Wait for meta-steps and copy their metrics to the CPU, all in one transfer.

        Returns:
            The metrics up to the first meta-step that diverged.

        Raises:
            Diverged: if the first meta-step diverged.
        """
        assert self.captures is not None
        rows = torch.stack([step.metrics for step in steps]).tolist()
        finite = list(takewhile(lambda row: all(map(math.isfinite, row)), rows))
        if not finite:
            self.captures.rollback(len(rows))
            raise Diverged("gradient" if math.isfinite(rows[0][0]) else "meta-loss")
        return [self._meta_step_of(*row) for row in finite]


def check_finite(loss: Tensor) -> None:
    """Raise `Diverged` if a loss is not finite."""
    if not torch.isfinite(loss).all():
        raise Diverged("meta-loss")
