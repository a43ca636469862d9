"""The plain engine: one task after another, the way the papers write it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import torch
from torch import Tensor, nn

from metatui.learning.data.episodes import Episodes
from metatui.learning.engines.base import (
    Adaptation,
    Engine,
    MetaGradient,
    R,
    SecondOrder,
    repeated,
    stacked,
    step_batch,
    task_of,
)
from metatui.learning.engines.differentiation import GradientResult, Objective, gradients_of, leaves
from metatui.learning.engines.functional_module import FunctionalModule
from metatui.learning.engines.layers.double_backward import write_out_second_derivatives
from metatui.learning.engines.layers.fused_bn_pool import fuse_pooling
from metatui.learning.engines.layers.memory_format import channels_last
from metatui.learning.optim.inner import InnerLoop, Params
from metatui.learning.optim.losses import Loss


class LoopEngine(Engine):
    """Each task with its own graph. Fastest where one task's arithmetic fills the machine.

    Tasks may be spread over `workers` threads. A task's numbers do not depend on the thread that computes them and
    are added up in the order of the tasks, so the result is the same, bit for bit, for any number of workers.
    """

    name = "loop"

    def __init__(
        self,
        model: nn.Module,
        loss: Loss,
        *,
        workers: int = 1,
        second_order: SecondOrder = "auto",
        native: bool = False,
    ) -> None:
        """
        Args:
            native: whether compiled code of our own is used where it is faster, on a CPU.
        """
        super().__init__(model, loss, second_order)
        self._twice = FunctionalModule(model, partial(write_out_second_derivatives, winograd=native))
        self._once = FunctionalModule(model, partial(fuse_pooling, native_code=native))
        self._own = threading.local()
        self._pool: ThreadPoolExecutor | None = None
        if workers > 1:
            # Parameters are written into a module for the call, so threads cannot share one. The copies are made here,
            # because a thread may begin while others do something with the model.
            copies = [(self._twice.another(), self._once.another()) for _ in range(workers)]
            self._pool = ThreadPoolExecutor(workers, initializer=self._take_own, initargs=(copies,))

    def _take_own(self, copies: list[tuple[FunctionalModule, FunctionalModule]]) -> None:
        self._own.twice, self._own.once = copies.pop()
        torch.set_num_threads(1)

    def forward(self, params: Params, x: Tensor) -> Tensor:
        if not torch.is_grad_enabled():
            return self.forward_once(params, x)
        return self.forward_twice(params, x)

    def forward_twice(self, params: Params, x: Tensor) -> Tensor:
        """Predictions of one task's parameters, differentiable twice."""
        return getattr(self._own, "twice", self._twice)(params, channels_last(x))

    def forward_once(self, params: Params, x: Tensor) -> Tensor:
        """Predictions of one task's parameters, differentiable once."""
        return getattr(self._own, "once", self._once)(params, channels_last(x))

    def each(self, one: Callable[[int], R], tasks: int) -> list[R]:
        return super().each(one, tasks) if self._pool is None else list(self._pool.map(one, range(tasks)))

    def meta_gradient(self, theta: Params, episodes: Episodes, inner: InnerLoop, *, first_order: bool) -> MetaGradient:
        def one(t: int) -> GradientResult:
            def support(params: Params) -> Tensor:
                return self.loss.one(self.forward(params, episodes.support_x[t]), episodes.support_y[t])

            def support_once(params: Params) -> Tensor:
                return self.loss.one(self.forward_once(params, episodes.support_x[t]), episodes.support_y[t])

            def query(params: Params) -> tuple[Tensor, Tensor]:
                predicted = self.forward_once(params, episodes.query_x[t])
                return self.loss.one(predicted, episodes.query_y[t]), predicted

            start = {name: channels_last(p) for name, p in theta.items()}
            return self.differentiate(Objective(support, support_once, query), start, episodes, inner, first_order)

        found = self.each(one, len(episodes))
        return MetaGradient(
            loss=torch.stack([task.loss for task in found]),
            gradients={name: _mean([task.gradients[name] for task in found]) for name in theta},
            outputs=torch.stack([task.outputs for task in found]),
            support_loss=torch.stack([task.support_loss for task in found]),
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

    def reached(
        self, theta: Params, x: Tensor, y: Tensor, inner: InnerLoop, order: Tensor | None = None
    ) -> tuple[Params, Tensor]:
        def one(t: int) -> tuple[Params, Tensor]:  # its whole inner loop, so that no task waits for another
            mine = slice(t, t + 1)
            params, update, losses = {name: channels_last(p) for name, p in theta.items()}, inner.start(), []
            for step in range(inner.steps):
                step_x, step_y = step_batch(x[mine], y[mine], None if order is None else order[mine], step)
                gradients, loss = self._support_gradient(params, step_x[0], step_y[0])
                params = update(params, gradients)
                losses.append(loss)
            return params, losses[0]

        params, losses = zip(*self.each(one, len(x)), strict=True)
        return stacked(list(params)), torch.stack(losses)

    def _support_gradient(self, params: Params, x: Tensor, y: Tensor) -> tuple[Params, Tensor]:
        """One task's gradient at its own parameters, and its loss."""
        fast = leaves(params)
        loss = self.loss.one(self.forward_once(fast, x), y)
        return gradients_of(loss, fast), loss.detach()

    def _support_gradients(self, stack: Params, x: Tensor, y: Tensor) -> tuple[Params, Tensor]:
        """Each task's gradient at its own parameters, as a stack, and its loss [T]."""

        def one(t: int) -> tuple[Params, Tensor]:
            return self._support_gradient(task_of(stack, t), x[t], y[t])

        gradients, losses = zip(*self.each(one, len(x)), strict=True)
        return stacked(list(gradients)), torch.stack(losses)


def _mean(tensors: list[Tensor]) -> Tensor:
    """Added up one after the other, so that no threads' order shows in the last bits."""
    total = tensors[0].clone()
    for tensor in tensors[1:]:
        total += tensor
    return total.div_(len(tensors))
