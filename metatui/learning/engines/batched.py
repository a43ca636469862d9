"""The batched engine: all tasks at once, each with its own weights.

Tasks do not touch each other, so the gradient of the *sum* of their losses with respect to a stack of weights is
the stack of their gradients, and one backward pass serves every task. The cost of dispatching operations, which is
what small networks cost, is paid once for all of them.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from metatui.learning.data.episodes import Episodes
from metatui.learning.engines.base import Adaptation, Engine, MetaGradient, SecondOrder, repeated, step_batch
from metatui.learning.engines.batched_forward import stacked_forward
from metatui.learning.engines.differentiation import Objective, gradients_of, leaves
from metatui.learning.engines.layers.im2col import with_unfolded_convolutions
from metatui.learning.optim.inner import InnerLoop, Params
from metatui.learning.optim.losses import Loss


class BatchedEngine(Engine):
    """Every operation on all tasks together."""

    name = "batched"

    def __init__(
        self, model: nn.Module, loss: Loss, second_order: SecondOrder = "auto", *, unfold: bool = False
    ) -> None:
        """
        Args:
            unfold: whether convolutions are computed as matrix products of unfolded images.
        """
        super().__init__(model, loss, second_order)
        if unfold:
            self.model = with_unfolded_convolutions(model)
        self.forward_each = stacked_forward(self.model, perceptron=self.is_perceptron)

    def meta_gradient(self, theta: Params, episodes: Episodes, inner: InnerLoop, *, first_order: bool) -> MetaGradient:
        def support(stack: Params) -> Tensor:
            return self.loss.each(self.forward_each(stack, episodes.support_x), episodes.support_y)

        def query(stack: Params) -> tuple[Tensor, Tensor]:
            predicted = self.forward_each(stack, episodes.query_x)
            return self.loss.each(predicted, episodes.query_y), predicted

        start = repeated(theta, len(episodes))
        found = self.differentiate(Objective(support, support, query), start, episodes, inner, first_order)
        return MetaGradient(
            loss=found.loss,
            gradients={name: g.mean(0) for name, g in found.gradients.items()},
            outputs=found.outputs,
            support_loss=found.support_loss,
        )

    def adapt(
        self, theta: Params, x: Tensor, y: Tensor, inner: InnerLoop, order: Tensor | None = None
    ) -> Iterator[Adaptation]:
        stack, update = repeated(theta, len(x)), inner.start()
        yield Adaptation(stack, None)
        for step in range(inner.steps):
            fast, (step_x, step_y) = leaves(stack), step_batch(x, y, order, step)
            losses = self.loss.each(self.forward_each(fast, step_x), step_y)
            stack = update(stack, gradients_of(losses.sum(), fast))
            yield Adaptation(stack, losses.detach())

    def outputs(self, stack: Params, x: Tensor) -> Tensor:
        with torch.no_grad():
            return self.forward_each(stack, x)
