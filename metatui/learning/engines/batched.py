"""The batched engine: all tasks at once, each with its own weights.

Tasks do not touch each other, so the gradient of the *sum* of their losses with respect to a stack of weights is
the stack of their gradients, and one backward pass serves every task. The cost of dispatching operations, which is
what small networks cost, is paid once for all of them.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from metatui.learning.engines.base import Adaptation, Engine, MetaGradient, gradients_of, repeated, step_batch
from metatui.learning.engines.stacked_layers import stacked_forward
from metatui.learning.episodes import Episodes
from metatui.learning.inner import InnerLoop, Params
from metatui.learning.losses import Loss


class BatchedEngine(Engine):
    """Every operation on all tasks together."""

    name = "batched"

    def __init__(self, model: nn.Module, loss: Loss) -> None:
        super().__init__(model, loss)
        self.forward_each = stacked_forward(model)

    def meta_gradient(self, theta: Params, episodes: Episodes, inner: InnerLoop, *, first_order: bool) -> MetaGradient:
        tasks = len(episodes)
        start = {name: p.detach().requires_grad_() for name, p in theta.items()}
        fast: Params = {name: p.expand(tasks, *p.shape) for name, p in start.items()}
        update, support_loss = inner.start(), torch.empty(0)
        for step in range(inner.steps):
            losses = self.loss.each(self.forward_each(fast, episodes.support_x), episodes.support_y)
            if step == 0:
                support_loss = losses.detach()
            fast = update(fast, gradients_of(losses.sum(), fast, create_graph=not first_order))
        predicted = self.forward_each(fast, episodes.query_x)
        losses = self.loss.each(predicted, episodes.query_y)
        return MetaGradient(
            loss=losses.detach(),
            gradients=gradients_of(losses.mean(), start),
            outputs=predicted.detach(),
            support_loss=support_loss,
        )

    def adapt(
        self, theta: Params, x: Tensor, y: Tensor, inner: InnerLoop, order: Tensor | None = None
    ) -> Iterator[Adaptation]:
        stack, update = repeated(theta, len(x)), inner.start()
        yield Adaptation(stack, None)
        for step in range(inner.steps):
            fast = {name: p.detach().requires_grad_() for name, p in stack.items()}
            losses = self.loss.each(self.forward_each(fast, (batch := step_batch(x, y, order, step))[0]), batch[1])
            stack = update(stack, gradients_of(losses.sum(), fast))
            yield Adaptation(stack, losses.detach())

    def outputs(self, stack: Params, x: Tensor) -> Tensor:
        with torch.no_grad():
            return self.forward_each(stack, x)
