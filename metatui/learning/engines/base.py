"""The base class of engines, which compute inner loops and meta-gradients.

Engines differ only in speed and memory; all compute the same numbers. In shapes, T is the number of tasks and B the
number of examples of one task. A *stack* is a dict of parameters with a leading task axis.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal, TypeVar

import torch
from torch import Tensor, nn
from torch.func import functional_call

from metatui.learning.data.episodes import Episodes
from metatui.learning.engines.second_order import GradientResult, Objective, first_order, recomputed, unrolled
from metatui.learning.engines.sequential import is_chain, is_perceptron
from metatui.learning.optim.inner import InnerLoop, Params
from metatui.learning.optim.losses import Loss

R = TypeVar("R")

SecondOrder = Literal["auto", "unrolled", "recomputed"]

GRAPH_OF_GRADIENT = 3
"""Memory of the graph of a gradient, in multiples of that of a prediction: forward, backward, and backward of both."""


@dataclass(frozen=True)
class MetaGradient:
    """The gradient of the meta-loss, with the losses and predictions behind it. All tensors are detached."""

    loss: Tensor
    """[T], query loss of each task after adaptation; the meta-loss is its mean."""
    gradients: Params
    """Gradient of the meta-loss for each meta-parameter, in its shape."""
    outputs: Tensor
    """[T, B, ...], predictions for the query set after adaptation."""
    support_loss: Tensor
    """[T], support loss before adaptation."""

    @classmethod
    def of_tasks(cls, tasks: list[GradientResult], gradients: Params) -> MetaGradient:
        """Combine the results of single tasks, whose mean gradients are `gradients`."""
        return cls(
            loss=torch.stack([task.loss for task in tasks]),
            gradients=gradients,
            outputs=torch.stack([task.outputs for task in tasks]),
            support_loss=torch.stack([task.support_loss for task in tasks]),
        )


@dataclass(frozen=True)
class Adaptation:
    """The state of the inner loop after one step."""

    params: Params
    """A stack: each task's parameters after this inner step."""
    support_loss: Tensor | None
    """[T], loss on this step's examples before the step; None at step 0."""


class Engine(ABC):
    """A way to compute inner loops and meta-gradients of one model and one loss.

    Parameters that do not require gradients are not adapted.
    """

    name: ClassVar[str]
    capturable: ClassVar[bool] = True
    """True if `meta_gradient` can be captured as a CUDA graph: it never waits for the device, and accepts a learning
    rate that is a tensor on the device."""

    def __init__(self, model: nn.Module, loss: Loss, second_order: SecondOrder = "auto") -> None:
        self.model = model
        self.loss = loss
        self.second_order = second_order
        self.is_chain = is_chain(model)
        self.is_perceptron = self.is_chain and is_perceptron(model)

    @abstractmethod
    def meta_gradient(self, theta: Params, episodes: Episodes, inner: InnerLoop, *, first_order: bool) -> MetaGradient:
        """Compute the gradient of the mean query loss after `inner.steps` steps of adaptation from `theta`.

        With `first_order`, inner gradients are treated as constants (Finn et al. 2017, section 5.2). The result is then
        the mean over tasks of the query gradient at the adapted parameters.
        """

    def meta_gradient_in_parts(
        self, theta: Params, episodes: Episodes, inner: InnerLoop, *, first_order: bool, at_once: int
    ) -> MetaGradient:
        """Compute `meta_gradient` with at most `at_once` tasks in memory together (0: all of them)."""
        parts = [
            (len(tasks), self.meta_gradient(theta, part, inner, first_order=first_order))
            for tasks, part in microbatches(episodes, at_once)
        ]
        if len(parts) == 1:
            return parts[0][1]
        weights = [count / len(episodes) for count, _ in parts]
        results = [result for _, result in parts]
        return MetaGradient(
            loss=torch.cat([result.loss for result in results]),
            gradients={
                name: torch.stack([w * r.gradients[name] for w, r in zip(weights, results, strict=True)]).sum(0)
                for name in theta
            },
            outputs=torch.cat([result.outputs for result in results]),
            support_loss=torch.cat([result.support_loss for result in results]),
        )

    def differentiate(
        self, task: Objective, start: Params, episodes: Episodes, inner: InnerLoop, first: bool
    ) -> GradientResult:
        """Compute the meta-gradient of one task or of a stack of tasks.

        Args:
            first: whether to use the first-order approximation instead of the configured second-order method.
        """
        if first:
            return first_order(task, start, inner)
        return recomputed(task, start, inner) if self.recomputes(episodes, inner) else unrolled(task, start, inner)

    def recomputes(self, episodes: Episodes, inner: InnerLoop) -> bool:
        """Return whether to use Hessian-vector products for second-order gradients instead of a stored graph.

        The products evaluate each inner step twice, which is correct only for plain chains: their forward pass has
        neither state nor randomness. With `auto`, the graph of the inner steps is stored if it needs no more memory
        than the graph of the query set, which is always stored.
        """
        if not self.is_chain:
            return False
        if self.second_order != "auto":
            return self.second_order == "recomputed"
        graph = GRAPH_OF_GRADIENT * inner.steps * episodes.support_x.shape[1]
        return inner.steps > 1 and graph > episodes.query_x.shape[1] and not self.is_perceptron

    @abstractmethod
    def adapt(
        self, theta: Params, x: Tensor, y: Tensor, inner: InnerLoop, order: Tensor | None = None
    ) -> Iterator[Adaptation]:
        """Adapt from `theta` to each task's support set, without a graph, yielding steps 0 to `inner.steps`.

        Args:
            x: inputs [T, B, ...].
            y: targets [T, B, ...].
            order: int64 [T, steps, b], indices of the examples of each step; None uses all examples in every step.
        """

    def adapt_final(
        self, theta: Params, x: Tensor, y: Tensor, inner: InnerLoop, order: Tensor | None = None
    ) -> tuple[Params, Tensor]:
        """Return the stack of parameters after the last step of `adapt`, and the support losses [T] before any step."""
        first: Tensor | None = None
        for step in self.adapt(theta, x, y, inner, order):
            first = step.support_loss if first is None else first
        assert first is not None
        return step.params, first

    def outputs(self, stack: Params, x: Tensor) -> Tensor:
        """Return the predictions [T, B, ...] made with each task's parameters on its x [T, B, ...], without a graph."""

        @torch.no_grad()
        def one(t: int) -> Tensor:
            return self.forward(task_of(stack, t), x[t])

        return torch.stack(self.map_tasks(one, len(x)))

    def map_tasks(self, one: Callable[[int], R], tasks: int) -> list[R]:
        """Call `one` with 0 to `tasks` - 1. Returns the results in this order."""
        return [one(t) for t in range(tasks)]

    def forward(self, params: Params, x: Tensor) -> Tensor:
        """Return the predictions made with one task's parameters."""
        predicted: Tensor = functional_call(self.model, params, (x,))
        return predicted


def microbatches(episodes: Episodes, at_once: int) -> Iterator[tuple[range, Episodes]]:
    """Split episodes into parts of at most `at_once` tasks (0: one part), each with the indices of its tasks."""
    tasks = len(episodes)
    for start in range(0, tasks, at_once or tasks):
        rows = range(start, min(start + (at_once or tasks), tasks))
        yield rows, episodes.chunk(rows.start, rows.stop)


def task_of(stack: Params, task: int) -> Params:
    """Return one task's parameters from a stack."""
    return {name: p[task] for name, p in stack.items()}


def stacked(tasks: list[Params]) -> Params:
    """Stack the parameters of several tasks."""
    return {name: torch.stack([params[name] for params in tasks]) for name in tasks[0]}


def repeated(theta: Params, tasks: int) -> Params:
    """Return a stack in which every task has the parameters `theta`, as views that share its memory."""
    return {name: p.detach().expand(tasks, *p.shape) for name, p in theta.items()}


def step_batch(x: Tensor, y: Tensor, order: Tensor | None, step: int) -> tuple[Tensor, Tensor]:
    """Select the examples of one inner step.

    Args:
        order: int64 [T, steps, b], see `Engine.adapt`.

    Returns:
        Inputs and targets [T, b, ...].
    """
    if order is None:
        return x, y
    rows = torch.arange(len(x), device=x.device).unsqueeze(1)
    return x[rows, order[:, step]], y[rows, order[:, step]]


def meta_parameters(model: nn.Module) -> Params:
    """Return the parameters of `model` that require gradients, by name."""
    return {name: p for name, p in model.named_parameters() if p.requires_grad}
