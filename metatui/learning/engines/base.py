"""What an engine is: a way to compute inner loops and meta-gradients.

Engines differ in speed and memory only; all give the same numbers. In the shape descriptions T is the number of
tasks and B the number of examples of one task. A *stack* is a dict of parameters with a leading task axis.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar, TypeVar

import torch
from torch import Tensor, nn
from torch.autograd import grad
from torch.func import functional_call

from metatui.learning.episodes import Episodes
from metatui.learning.inner import InnerLoop, Params
from metatui.learning.losses import Loss

R = TypeVar("R")


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

    def __init__(self, model: nn.Module, loss: Loss) -> None:
        self.model = model
        self.loss = loss

    @abstractmethod
    def meta_gradient(self, theta: Params, episodes: Episodes, inner: InnerLoop, *, first_order: bool) -> MetaGradient:
        """The gradient of the mean query loss after `inner.steps` steps of adaptation from `theta`.

        With `first_order` the inner gradients count as constants (Finn et al. 2017, section 5.2), which is the mean
        over tasks of the query gradient at the adapted parameters.
        """

    @abstractmethod
    def adapt(
        self, theta: Params, x: Tensor, y: Tensor, inner: InnerLoop, order: Tensor | None = None
    ) -> Iterator[Adaptation]:
        """Adapt from `theta` to each task's support set, without a graph, yielding steps 0 to `inner.steps`.

        Args:
            x: [T, B, ...]. y: [T, B, ...].
            order: int64 [T, steps, b], which of the B examples each step takes; None takes all in every step.
        """

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


def task_of(stack: Params, task: int) -> Params:
    """One task's parameters out of a stack."""
    return {name: p[task] for name, p in stack.items()}


def gradients_of(loss: Tensor, params: Params, *, create_graph: bool = False) -> Params:
    """The gradient of a scalar `loss` with respect to each of `params`; zeros for one that it does not depend on."""
    found = grad(loss, list(params.values()), create_graph=create_graph, materialize_grads=True)
    return dict(zip(params, found, strict=True))


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
