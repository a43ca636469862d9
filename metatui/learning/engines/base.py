"""What an engine is: a way to compute inner loops and meta-gradients.

Engines differ in speed and memory only; all give the same numbers. In the shape descriptions T is the number of
tasks and B the number of examples of one task. A *stack* is a dict of parameters with a leading task axis.
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
from metatui.learning.engines.batched_forward import is_perceptron
from metatui.learning.engines.chain import is_chain
from metatui.learning.engines.differentiation import GradientResult, Objective, first_order, recomputed, unrolled
from metatui.learning.optim.inner import InnerLoop, Params
from metatui.learning.optim.losses import Loss

R = TypeVar("R")

SecondOrder = Literal["auto", "unrolled", "recomputed"]

GRAPH_OF_GRADIENT = 3
"""Memory that the graph of a gradient takes, in graphs of the prediction alone: forward, backward, and the backward
of both."""


@dataclass(frozen=True)
class MetaGradient:
    """The gradient of the meta-loss, and what was seen on the way to it. Nothing here carries a graph."""

    loss: Tensor
    """[T], query loss of each task after adaptation; the meta-loss is its mean."""
    gradients: Params
    """Of the meta-loss with respect to each meta-parameter, in its shape."""
    outputs: Tensor
    """[T, B, ...], predictions for the query set after adaptation."""
    support_loss: Tensor
    """[T], support loss before adaptation."""


@dataclass(frozen=True)
class Adaptation:
    """Where the inner loop has got to."""

    params: Params
    """A stack: each task's parameters after this inner step."""
    support_loss: Tensor | None
    """[T], loss on what this step descended on, before it; None at step 0."""


class Engine(ABC):
    """Computes on one model and one loss. Parameters that do not require gradients stay as they are."""

    name: ClassVar[str]
    capturable: ClassVar[bool] = True
    """Whether `meta_gradient` can be captured as a CUDA graph: it never waits for the device, and accepts a learning
    rate that is a tensor on the device."""

    def __init__(self, model: nn.Module, loss: Loss, second_order: SecondOrder = "auto") -> None:
        self.model = model
        self.loss = loss
        self.second_order = second_order
        self.is_chain = is_chain(model)
        self.is_perceptron = self.is_chain and is_perceptron(model)

    @abstractmethod
    def meta_gradient(self, theta: Params, episodes: Episodes, inner: InnerLoop, *, first_order: bool) -> MetaGradient:
        """The gradient of the mean query loss after `inner.steps` steps of adaptation from `theta`.

        With `first_order` the inner gradients count as constants (Finn et al. 2017, section 5.2), which is the mean
        over tasks of the query gradient at the adapted parameters.
        """

    def meta_gradient_in_parts(
        self, theta: Params, episodes: Episodes, inner: InnerLoop, *, first_order: bool, at_once: int
    ) -> MetaGradient:
        """The same as `meta_gradient`, with at most `at_once` tasks in memory together (0: all of them)."""
        parts = [
            (len(tasks), self.meta_gradient(theta, part, inner, first_order=first_order))
            for tasks, part in microbatches(episodes, at_once)
        ]
        if len(parts) == 1:
            return parts[0][1]
        weights = [count / len(episodes) for count, _ in parts]
        found = [part for _, part in parts]
        return MetaGradient(
            loss=torch.cat([part.loss for part in found]),
            gradients={
                name: torch.stack([w * part.gradients[name] for w, part in zip(weights, found, strict=True)]).sum(0)
                for name in theta
            },
            outputs=torch.cat([part.outputs for part in found]),
            support_loss=torch.cat([part.support_loss for part in found]),
        )

    def differentiate(
        self, task: Objective, start: Params, episodes: Episodes, inner: InnerLoop, first: bool
    ) -> GradientResult:
        """The meta-gradient of one task, or of a stack of them: first order, or second order the way that is set."""
        if first:
            return first_order(task, start, inner)
        return recomputed(task, start, inner) if self.recomputes(episodes, inner) else unrolled(task, start, inner)

    def recomputes(self, episodes: Episodes, inner: InnerLoop) -> bool:
        """Whether second-order gradients are computed by Hessian-vector products instead of through a stored graph.

        The products evaluate each inner step twice, so they are only right for plain chains, whose forward pass has
        neither state nor randomness. With `auto`, the graph of the inner steps is stored if it takes no more memory
        than that of the query set, which is stored in any case.
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
            x: [T, B, ...]. y: [T, B, ...].
            order: int64 [T, steps, b], which of the B examples each step takes; None takes all in every step.
        """

    def reached(
        self, theta: Params, x: Tensor, y: Tensor, inner: InnerLoop, order: Tensor | None = None
    ) -> tuple[Params, Tensor]:
        """Where `adapt` ends: a stack of parameters, and each task's support loss [T] before the first step."""
        first: Tensor | None = None
        for step in self.adapt(theta, x, y, inner, order):
            first = step.support_loss if first is None else first
        assert first is not None
        return step.params, first

    def outputs(self, stack: Params, x: Tensor) -> Tensor:
        """Predictions [T, B, ...] of each task's parameters for its x [T, B, ...], without a graph."""

        @torch.no_grad()
        def one(t: int) -> Tensor:
            return self.forward(task_of(stack, t), x[t])

        return torch.stack(self.each(one, len(x)))

    def each(self, one: Callable[[int], R], tasks: int) -> list[R]:
        """What `one` returns for each of the tasks 0 to `tasks` - 1, in this order."""
        return [one(t) for t in range(tasks)]

    def forward(self, params: Params, x: Tensor) -> Tensor:
        """Predictions of one task's parameters."""
        predicted: Tensor = functional_call(self.model, params, (x,))
        return predicted


def microbatches(episodes: Episodes, at_once: int) -> Iterator[tuple[range, Episodes]]:
    """The episodes, at most `at_once` together (0: all), with the numbers of their rows."""
    tasks = len(episodes)
    for start in range(0, tasks, at_once or tasks):
        rows = range(start, min(start + (at_once or tasks), tasks))
        yield rows, episodes.chunk(rows.start, rows.stop)


def task_of(stack: Params, task: int) -> Params:
    """One task's parameters out of a stack."""
    return {name: p[task] for name, p in stack.items()}


def stacked(tasks: list[Params]) -> Params:
    """A stack of several tasks' parameters."""
    return {name: torch.stack([params[name] for params in tasks]) for name in tasks[0]}


def repeated(theta: Params, tasks: int) -> Params:
    """`theta` as the start of every task: a stack of views that share its memory."""
    return {name: p.detach().expand(tasks, *p.shape) for name, p in theta.items()}


def step_batch(x: Tensor, y: Tensor, order: Tensor | None, step: int) -> tuple[Tensor, Tensor]:
    """What inner step `step` descends on: [T, b, ...] twice, by `order` [T, steps, b] or everything."""
    if order is None:
        return x, y
    rows = torch.arange(len(x), device=x.device).unsqueeze(1)
    return x[rows, order[:, step]], y[rows, order[:, step]]


def meta_parameters(model: nn.Module) -> Params:
    """The parameters of `model` that adaptation moves, as leaves that share its memory."""
    return {name: p for name, p in model.named_parameters() if p.requires_grad}
