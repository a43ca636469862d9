"""The plain engine: one task after another, the way the papers write it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.func import functional_call

from metatui.learning.engines.base import (
    Adaptation,
    Engine,
    MetaGradient,
    R,
    gradients_of,
    repeated,
    stacked,
    step_batch,
    task_of,
)
from metatui.learning.episodes import Episodes
from metatui.learning.inner import InnerLoop, Params
from metatui.learning.losses import Loss


class LoopEngine(Engine):
    """Each task with its own graph. Fastest where one task's arithmetic fills the machine.

    Tasks may be spread over `workers` threads. A task's numbers do not depend on the thread that computes them and
    are added up in the order of the tasks, so the result is the same, bit for bit, for any number of workers.
    """

    name = "loop"

    def __init__(self, model: nn.Module, loss: Loss, *, workers: int = 1) -> None:
        super().__init__(model, loss)
        self._own = threading.local()
        self._pool = ThreadPoolExecutor(workers, initializer=self._make_own) if workers > 1 else None

    def _make_own(self) -> None:
        # functional_call writes the parameters into the module for the time of the call, so threads cannot share one.
        self._own.model = deepcopy(self.model)
        torch.set_num_threads(1)

    def forward(self, params: Params, x: Tensor) -> Tensor:
        predicted: Tensor = functional_call(getattr(self._own, "model", self.model), params, (x,))
        return predicted

    def each(self, one: Callable[[int], R], tasks: int) -> list[R]:
        return super().each(one, tasks) if self._pool is None else list(self._pool.map(one, range(tasks)))

    def meta_gradient(self, theta: Params, episodes: Episodes, inner: InnerLoop, *, first_order: bool) -> MetaGradient:
        def one(t: int) -> tuple[Tensor, Params, Tensor, Tensor]:
            start = {name: p.detach().requires_grad_() for name, p in theta.items()}
            fast, update, support_loss = start, inner.start(), torch.empty(0)
            for step in range(inner.steps):
                loss = self.loss.one(self.forward(fast, episodes.support_x[t]), episodes.support_y[t])
                if step == 0:
                    support_loss = loss.detach()
                fast = update(fast, gradients_of(loss, fast, create_graph=not first_order))
            predicted = self.forward(fast, episodes.query_x[t])
            query_loss = self.loss.one(predicted, episodes.query_y[t])
            return query_loss.detach(), gradients_of(query_loss, start), predicted.detach(), support_loss

        losses, gradients, outputs, support_losses = zip(*self.each(one, len(episodes)), strict=True)
        return MetaGradient(
            loss=torch.stack(losses),
            gradients={name: sum(g[name] for g in gradients) / len(episodes) for name in theta},
            outputs=torch.stack(outputs),
            support_loss=torch.stack(support_losses),
        )

    def adapt(
        self, theta: Params, x: Tensor, y: Tensor, inner: InnerLoop, order: Tensor | None = None
    ) -> Iterator[Adaptation]:
        stack, update = repeated(theta, len(x)), inner.start()
        yield Adaptation(stack, None)
        for step in range(inner.steps):
            gradients, losses = self._support_gradients(stack, *step_batch(x, y, order, step))
            stack = update(stack, gradients)
            yield Adaptation(stack, losses)

    def _support_gradients(self, stack: Params, x: Tensor, y: Tensor) -> tuple[Params, Tensor]:
        """Each task's gradient at its own parameters, as a stack, and its loss [T]."""

        def one(t: int) -> tuple[Params, Tensor]:
            fast = {name: p.detach().requires_grad_() for name, p in task_of(stack, t).items()}
            loss = self.loss.one(self.forward(fast, x[t]), y[t])
            return gradients_of(loss, fast), loss.detach()

        gradients, losses = zip(*self.each(one, len(x)), strict=True)
        return stacked(list(gradients)), torch.stack(losses)
