"""The state of the outer loop, and the parts of a meta-step."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile

import torch
from torch import Tensor
from torch.func import functional_call

from metatui.learning.algorithm import Algorithm
from metatui.learning.data.episodes import Episodes
from metatui.learning.engines.base import MetaGradient, microbatches
from metatui.learning.engines.compiled.compiled_step import GraphedStep
from metatui.learning.engines.compiled.cuda_graph import CapturedStep, CaptureFailedError, captures
from metatui.learning.engines.second_order import gradients_of, leaves
from metatui.learning.experiment import Experiment
from metatui.learning.hardware.devices import to_device
from metatui.learning.hardware.memory import free_unused_memory
from metatui.learning.nn.layers import drop_blocks, dropping_blocks
from metatui.learning.optim.flat_params import FlatParams
from metatui.learning.optim.inner import Params
from metatui.learning.optim.losses import accuracy
from metatui.learning.optim.outer import DivergedError, OuterAdam, norm_of

METRIC_QUERIES_PER_CLASS = 2
"""Number of query images per class for the training metrics of algorithms that do not train on the query set."""


class StepsPendingError(Exception):
    """Raised if captured meta-steps must be read with `Learner.read` before a meta-step that is not captured.

    If a captured meta-step diverged, θ is still that of the last finite one, and the new meta-step would change it.
    """


@dataclass(frozen=True)
class PendingStep:
    """A meta-step that was queued on the device and may not have finished yet."""

    metrics: Tensor
    """The values of the fields of `MetaStep`, in the same order, [4].

    If this meta-step or an earlier one diverged, the metrics are not finite, and θ was left unchanged.
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


class Learner:
    """Owns the meta-parameters `theta` and the state of the outer loop."""

    def __init__(self, experiment: Experiment) -> None:
        self.experiment = experiment
        self.engine = experiment.engine
        self.flat = FlatParams(experiment.theta())
        self.theta = self.flat.views
        self._drop_blocks = drop_blocks(experiment.model)
        self.progress = 0.0
        """Completed fraction of the training, from 0 to 1; set before each meta-step."""
        self.graphs = self._make_graphs()
        """Compiled meta-steps; None if the engine is not `compiled`."""
        self.captures = self._make_captures()
        """Meta-steps captured as CUDA graphs; None if the device, engine or algorithm does not support them."""
        self._has_pending = False
        """Whether there are captured meta-steps that have not been read."""

    @cached_property
    def outer(self) -> OuterAdam:
        """The outer optimiser. It is created when it is first used, because not every algorithm uses it."""
        return OuterAdam(self.flat)

    @property
    def algorithm(self) -> Algorithm:
        """The algorithm with the current settings, at the current point in training."""
        algorithm = self.experiment.algorithm
        return algorithm.at(self.progress) if algorithm.annealed else algorithm

    def meta_step(self, tasks: range, outer_lr: float) -> MetaStep | PendingStep:
        """Update the meta-parameters once, on the training tasks numbered `tasks`.

        Raises:
            DivergedError: if a loss or gradient is not finite. The meta-parameters are unchanged.
            StepsPendingError: if earlier meta-steps must be read first. The meta-parameters are unchanged.
        """
        seed = self.experiment.settings.training.seed + tasks.start
        with dropping_blocks(self._drop_blocks, seed):
            return self.algorithm.meta_step(self, tasks, outer_lr)

    def tensors(self) -> Params:
        """Return the state of the outer loop without the meta-parameters, for a checkpoint."""
        return self.outer.tensors() if "outer" in vars(self) else {}

    def load(self, tensors: Params) -> None:
        """Restore the state that the method `tensors` returned."""
        if tensors:
            self.outer.load(tensors)

    # Parts of a meta-step

    def sample(self, tasks: range) -> Episodes:
        """Return the training episodes numbered `tasks`."""
        return self.experiment.training_episodes(tasks)

    def meta_gradient(self, episodes: Episodes) -> MetaGradient:
        """Compute the meta-gradient at θ, with at most `compute.tasks_at_once` tasks in memory.

        Raises:
            DivergedError: if a query loss is not finite.
        """
        at_once = self.experiment.settings.compute.tasks_at_once
        result = self.engine.meta_gradient_of(self.algorithm, self.theta, episodes, at_once=at_once)
        check_finite(result.loss)
        return result

    def descend(self, gradients: Params, outer_lr: float) -> Tensor:
        """Update the meta-parameters with Adam, after clipping. Returns the norm of the gradient before clipping.

        Raises:
            DivergedError: if the gradient is not finite. In that case, nothing is updated.
        """
        return self.outer.step(gradients, lr=outer_lr, clip=self.experiment.settings.algorithm.grad_clip)

    def move_towards(self, target: Params, share: float) -> Tensor:
        """Move the meta-parameters towards `target`, by the fraction `share` of the distance between them.

        Returns:
            The distance before the move.

        Raises:
            DivergedError: if this distance is not finite. In that case, nothing is updated.
        """
        change = self.flat.flatten(target) - self.flat.vector
        norm = norm_of(change)
        self.flat.vector.add_(change, alpha=share)
        return norm

    def pooled_batch(self, batch: int, size: int) -> tuple[Tensor, Tensor]:
        """Return batch number `batch` of ordinary training: `size` examples from the data of all training tasks."""
        experiment, device = self.experiment, self.experiment.torch_device
        x, y = experiment.source.pooled_batch(batch, seed=experiment.settings.training.seed, size=size)
        return (
            to_device(x, device, experiment.dtype),
            to_device(y, device, experiment.dtype if y.is_floating_point() else None),
        )

    def gradient(self, params: Params, x: Tensor, y: Tensor) -> Params:
        """Return the gradient of the loss on the batch `x`, `y` with respect to `params`, without any adaptation."""
        fast = leaves(params)
        outputs = functional_call(self.experiment.model, fast, (x,))
        return gradients_of(self.experiment.loss.one(outputs, y), fast)

    def adapt(self, episodes: Episodes, order: Tensor | None = None) -> tuple[Params, Tensor]:
        """Adapt to each task without recording an autograd graph of the adaptation.

        Args:
            order: indices of the support examples that each inner step uses, int64 [T, steps, b]; None to use all
                examples.

        Returns:
            The stack of adapted parameters, and the support loss [T] before adaptation.
        """
        order = None if order is None else to_device(order, self.experiment.torch_device)
        results = []
        for rows, part in microbatches(episodes, self.experiment.settings.compute.tasks_at_once):
            part_order = None if order is None else order[rows.start : rows.stop]
            results.append(self.engine.adapted(self.algorithm, self.theta, part, part_order))
        if len(results) == 1:
            return results[0]
        stacks = [stack for stack, _ in results]
        return {n: torch.cat([s[n] for s in stacks]) for n in stacks[0]}, torch.cat([loss for _, loss in results])

    def query_metrics(self, stack: Params, episodes: Episodes) -> tuple[Tensor, Tensor, Episodes]:
        """Evaluate adapted parameters on the query set, for an algorithm that does not train on it.

        At most `METRIC_QUERIES_PER_CLASS` images per class are used: predicting all images would take half as much
        time as the training itself.

        Returns:
            Query loss [T], predictions [T, B, ...], and the episodes with the query examples that were used.

        Raises:
            DivergedError: if a query loss is not finite.
        """
        if self.experiment.settings.is_classification:
            ways = episodes.query_y.shape[1] // self.experiment.settings.task.queries
            episodes = episodes.with_queries(METRIC_QUERIES_PER_CLASS, ways)
        outputs = self.engine.predictions(self.algorithm, stack, episodes, episodes.query_x)
        loss = self.experiment.loss.each(outputs, episodes.query_y)
        check_finite(loss)
        return loss, outputs, episodes

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

    def _make_graphs(self) -> GraphedStep | None:
        settings = self.experiment.settings
        if settings.compute.engine != "compiled":
            return None
        outer = self.outer if self.algorithm.timed == "meta_gradient" else None
        return GraphedStep(settings.algorithm.name, self.engine, self.flat, outer, settings.compute.threads)

    def _make_captures(self) -> CapturedStep | None:
        if not captures(self.algorithm, self.engine, self.experiment.torch_device):
            return None
        return CapturedStep(self.engine, self.flat, self.outer)

    def graph_step(self, episodes: Episodes, outer_lr: float) -> MetaStep | PendingStep | None:
        """Take a meta-step with a captured or compiled graph; return None if there is no suitable graph.

        Raises:
            DivergedError: if a loss or gradient is not finite. For a captured graph, `read` raises this error later.
            StepsPendingError: if there is no captured graph, but earlier captured meta-steps have not been read.
        """
        settings = self.experiment.settings
        at_once = settings.compute.tasks_at_once
        if self.captures is not None and self.captures.has(episodes, settings.algorithm, at_once=at_once):
            step = PendingStep(self.captures(episodes, settings.algorithm, outer_lr, at_once=at_once))
            self._has_pending = True  # not earlier: if memory runs out, there is no meta-step to read
            return step
        if self._has_pending:
            raise StepsPendingError
        if self.graphs is None or not self.graphs.has(episodes, settings.algorithm):
            return None
        meta_loss, support_loss, norm = self.graphs(episodes, settings.algorithm, outer_lr)
        return MetaStep(meta_loss, None, support_loss, norm)

    def capture(self, tasks: range) -> bool:
        """Capture a CUDA graph for meta-steps of the same kind as the next one, unless there is one already.

        Returns:
            Whether a graph was captured.

        Raises:
            CaptureFailedError: if no graph can be captured; all later meta-steps are eager.
            RuntimeError: if the device is out of memory, see `is_out_of_memory`.
        """
        if self.captures is None:
            return False
        settings, episodes = self.experiment.settings, self.sample(tasks)
        at_once = settings.compute.tasks_at_once
        if self.captures.has(episodes, settings.algorithm, at_once=at_once):
            return False
        try:
            self.captures.capture(episodes, self.algorithm, at_once=at_once)
        except CaptureFailedError:
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
        """Wait for meta-steps and copy their metrics to the CPU, all in one transfer if there is memory for that.

        Returns:
            The metrics of the meta-steps before the first one that diverged.

        Raises:
            DivergedError: if the first meta-step diverged.
        """
        assert self.captures is not None
        self._has_pending = False
        metrics = [step.metrics for step in steps]
        try:
            rows = torch.stack(metrics).tolist()
        except torch.OutOfMemoryError:
            rows = [each.tolist() for each in metrics]
        finite = list(takewhile(lambda row: all(map(math.isfinite, row)), rows))
        if not finite:
            self.captures.rollback(len(rows))
            raise DivergedError("gradient" if math.isfinite(rows[0][0]) else "meta-loss")
        return [self._meta_step_of(*row) for row in finite]


def check_finite(loss: Tensor) -> None:
    """Raise `DivergedError` if a loss is not finite."""
    if not torch.isfinite(loss).all():
        raise DivergedError("meta-loss")
