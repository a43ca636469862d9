"""The plain engine: one task after another, the way the papers write it."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.autograd import grad

from metatui.learning.engines.base import (
    Adaptation,
    Engine,
    MetaGradient,
    repeated,
    stacked,
    step_batch,
    task_of,
)
from metatui.learning.episodes import Episodes
from metatui.learning.inner import InnerLoop, Params


class LoopEngine(Engine):
    """Tasks in a Python loop, each with its own graph. Fastest where one task's arithmetic fills the machine."""

    name = "loop"

    def meta_gradient(self, theta: Params, episodes: Episodes, inner: InnerLoop, *, first_order: bool) -> MetaGradient:
        total = {name: torch.zeros_like(p) for name, p in theta.items()}
        losses, outputs, support_losses = [], [], []
        for t in range(len(episodes)):
            start = {name: p.detach().requires_grad_() for name, p in theta.items()}
            fast, update = start, inner.start()
            for step in range(inner.steps):
                loss = self.loss.one(self.forward(fast, episodes.support_x[t]), episodes.support_y[t])
                if step == 0:
                    support_losses.append(loss.detach())
                fast = update(fast, self._gradients(loss, fast, create_graph=not first_order))
            predicted = self.forward(fast, episodes.query_x[t])
            query_loss = self.loss.one(predicted, episodes.query_y[t])
            for name, g in self._gradients(query_loss, start).items():
                total[name] += g
            losses.append(query_loss.detach())
            outputs.append(predicted.detach())
        return MetaGradient(
            loss=torch.stack(losses),
            gradients={name: g / len(episodes) for name, g in total.items()},
            outputs=torch.stack(outputs),
            support_loss=torch.stack(support_losses),
        )

    def adapt(
        self, theta: Params, x: Tensor, y: Tensor, inner: InnerLoop, order: Tensor | None = None
    ) -> Iterator[Adaptation]:
        stack, update = repeated(theta, len(x)), inner.start()
        yield Adaptation(stack, None)
        for step in range(inner.steps):
            step_x, step_y = step_batch(x, y, order, step)
            losses, gradients = [], []
            for t in range(len(x)):
                fast = {name: p.detach().requires_grad_() for name, p in task_of(stack, t).items()}
                loss = self.loss.one(self.forward(fast, step_x[t]), step_y[t])
                gradients.append(self._gradients(loss, fast))
                losses.append(loss.detach())
            stack = update(stack, stacked(gradients))
            yield Adaptation(stack, torch.stack(losses))

    @staticmethod
    def _gradients(loss: Tensor, params: Params, *, create_graph: bool = False) -> Params:
        found = grad(loss, list(params.values()), create_graph=create_graph, materialize_grads=True)
        return dict(zip(params, found, strict=True))
