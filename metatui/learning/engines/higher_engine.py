"""The reference engine: the `higher` library (Grefenstette et al. 2019), used as in the library's examples.

The results and the speed of the other engines are compared with those of this engine. Development of the library ended
in 2021.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import higher
import torch
from torch import Tensor, nn
from torch.autograd import grad

from metatui.learning.algorithm import Algorithm
from metatui.learning.data.episodes import Episodes
from metatui.learning.engines.base import Adaptation, Engine, MetaGradient, expand_params, stack_params, step_batch
from metatui.learning.optim.inner import InnerLoop, Params
from metatui.learning.optim.losses import Loss
from metatui.utils.errors import BadInput


class HigherEngine(Engine):
    """Engine that adapts to one task after another, using `higher.innerloop_ctx` and SGD."""

    name = "higher"
    capturable = False  # its optimiser reads the learning rate as a number, which a CUDA graph would not update

    def __init__(self, model: nn.Module, loss: Loss) -> None:
        # higher reads the meta-parameters from a module, so they are written into a private copy.
        super().__init__(deepcopy(model), loss)

    def unsupported(self, algorithm: Algorithm) -> str | None:
        if len(algorithm.parameters) < len(list(self.model.parameters())):
            return "the library 'higher' also adapts frozen parameters if it does not differentiate through inner steps"
        if algorithm.plain is None or not algorithm.plain.is_sgd:
            return "the library 'higher' only supports SGD steps on all parameters"
        return None

    def meta_gradient(self, theta: Params, episodes: Episodes, inner: InnerLoop, *, first_order: bool) -> MetaGradient:
        self._write(theta)
        total = {name: torch.zeros_like(p) for name, p in theta.items()}
        losses, outputs, support_losses = [], [], []
        for t in range(len(episodes)):
            with self._inner_loop(inner, track=not first_order) as (fast, optimizer):
                for step in range(inner.steps):
                    loss = self.loss.one(fast(episodes.support_x[t]), episodes.support_y[t])
                    if step == 0:
                        support_losses.append(loss.detach())
                    optimizer.step(loss)
                predicted = fast(episodes.query_x[t])
                query_loss = self.loss.one(predicted, episodes.query_y[t])
                # Without tracking, the fast weights are leaves, so the gradient is taken at the adapted parameters.
                start = fast.parameters() if first_order else fast.parameters(time=0)
                adapted = [p for p in start if p.requires_grad]
                gradients = grad(query_loss, adapted, materialize_grads=True)
            for name, g in zip(theta, gradients, strict=True):
                total[name] += g.detach()
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
        self._write(theta)
        yield Adaptation(expand_params(theta, len(x)), None)
        paths = [self._path(theta, x[t : t + 1], y[t : t + 1], inner, order, t) for t in range(len(x))]
        for tasks in zip(*paths, strict=True):
            yield Adaptation(stack_params([params for params, _ in tasks]), torch.stack([loss for _, loss in tasks]))

    def _path(
        self, theta: Params, x: Tensor, y: Tensor, inner: InnerLoop, order: Tensor | None, t: int
    ) -> list[tuple[Params, Tensor]]:
        """Return, for each inner step of one task, the parameters after the step and the loss before it."""
        row, path = None if order is None else order[t : t + 1], []
        with self._inner_loop(inner, track=False) as (fast, optimizer):
            for step in range(inner.steps):
                step_x, step_y = step_batch(x, y, row, step)
                loss = self.loss.one(fast(step_x[0]), step_y[0])
                optimizer.step(loss)
                params = [p.detach().clone() for p in fast.parameters() if p.requires_grad]
                path.append((dict(zip(theta, params, strict=True)), loss.detach()))
        return path

    def _inner_loop(self, inner: InnerLoop, *, track: bool) -> Any:
        if not inner.is_sgd:
            raise BadInput("compute.engine is 'higher', but must be another engine: 'higher' only supports SGD steps")
        optimizer = torch.optim.SGD(self.model.parameters(), lr=inner.lr)
        return higher.innerloop_ctx(self.model, optimizer, copy_initial_weights=False, track_higher_grads=track)

    def _write(self, theta: Params) -> None:
        with torch.no_grad():
            own = dict(self.model.named_parameters())
            for name, p in theta.items():
                own[name].copy_(p)
