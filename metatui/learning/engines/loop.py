"""The loop engine, which computes one task after another and replaces layers with faster ones."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from functools import partial

import torch
from torch import Tensor, nn

from metatui.learning.data.episodes import Episodes
from metatui.learning.engines.base import (
    Engine,
    MetaGradient,
    R,
    SecondOrder,
    mean,
    stack_params,
    step_batch,
    task_of,
)
from metatui.learning.engines.layers.rewrite import channels_last, fuse_pooling, write_out_second_derivatives
from metatui.learning.engines.second_order import GradientResult, Objective, gradients_of, leaves
from metatui.learning.engines.task import Forward, Network
from metatui.learning.optim.inner import InnerLoop, Params
from metatui.learning.optim.losses import Loss


class FunctionalModule:
    """A private copy of a module that is called with given parameters.

    This is faster than torch.func.functional_call, because the copy keeps the parameters of the last call.
    """

    def __init__(self, model: nn.Module, rewrite: Callable[[nn.Module], nn.Module]) -> None:
        """Copy `model`.

        Args:
            rewrite: function that replaces layers of the copy. It may rename parameters, but must keep their tensors.
        """
        self._source = model, rewrite
        copy = deepcopy(model)
        names = {id(p): name for name, p in copy.named_parameters()}
        self._model = rewrite(copy)
        # A shared parameter has several slots.
        self._slots: dict[str, list[tuple[dict[str, Tensor | None], str]]] = {name: [] for name in names.values()}
        for module in self._model.modules():
            for key, p in module._parameters.items():
                if p is not None:
                    self._slots[names[id(p)]].append((module._parameters, key))  # type: ignore[arg-type]

    @property
    def names(self) -> Iterable[str]:
        """Names of the parameters."""
        return self._slots

    def clone(self) -> FunctionalModule:
        """Return a `FunctionalModule` on another copy of the module, for use in another thread."""
        return FunctionalModule(*self._source)

    def __call__(self, params: Params, x: Tensor) -> Tensor:
        """Return the module's output for x.

        Parameters that have not been passed in any call have the module's own values.
        """
        for name, p in params.items():
            for parameters, key in self._slots[name]:
                parameters[key] = p
        predicted: Tensor = self._model(x)
        return predicted


def _start_thread(thread: threading.local, copies: list[tuple[FunctionalModule, FunctionalModule]]) -> None:
    """Prepare a thread of a `LoopEngine`.

    The thread has no reference to the engine, so it ends when the engine is deleted.
    """
    thread.twice, thread.once = copies.pop()
    torch.set_num_threads(1)


class LoopEngine(Engine):
    """Engine that computes each task with its own autograd graph.

    It is the fastest engine if the arithmetic of one task keeps the machine busy.

    Tasks may be spread over `workers` threads. The result is the same, bit for bit, for any number of workers: the
    result of a task does not depend on the thread that computes it, and sums are computed in the order of the tasks.
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
        """Create the engine.

        Args:
            workers: number of threads that share the tasks.
            native: whether to use metatui's own C functions on a CPU, where they are faster.
        """
        super().__init__(model, loss, second_order)
        self._rewrite_once = partial(fuse_pooling, native_code=native)
        self._rewrite_twice = partial(write_out_second_derivatives, winograd=native)
        self._twice = FunctionalModule(model, self._rewrite_twice)
        self._once = FunctionalModule(model, self._rewrite_once)
        self._thread = threading.local()
        self._copying = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None
        if workers > 1:
            # Threads cannot share a module, because a call writes parameters into it. Copy here rather than in the
            # threads, which may start while the model is in use.
            copies = [(self._twice.clone(), self._once.clone()) for _ in range(workers)]
            self._pool = ThreadPoolExecutor(workers, initializer=_start_thread, initargs=(self._thread, copies))

    def forward(self, params: Params, x: Tensor) -> Tensor:
        if not torch.is_grad_enabled():
            return self.forward_once(params, x)
        return self.forward_twice(params, x)

    def forward_twice(self, params: Params, x: Tensor) -> Tensor:
        """Return the predictions made with one task's parameters. They can be differentiated twice."""
        return getattr(self._thread, "twice", self._twice)(params, channels_last(x))

    def forward_once(self, params: Params, x: Tensor) -> Tensor:
        """Return the predictions made with one task's parameters. They can be differentiated once."""
        return getattr(self._thread, "once", self._once)(params, channels_last(x))

    def network(self, changing: frozenset[str]) -> Network:
        networks: dict[frozenset[str], Network] = self._thread.__dict__.setdefault("networks", {})
        if changing not in networks:
            with self._copying:  # each thread has its own copies
                networks[changing] = self.make_network(changing)
        return networks[changing]

    def forward_of(self, part: nn.Module, *, twice: bool) -> Forward:
        module = FunctionalModule(part, self._rewrite_twice if twice else self._rewrite_once)

        def forward(params: Params, x: Tensor) -> Tensor:
            return module({name: params[name] for name in module.names if name in params}, channels_last(x))

        return forward

    def to_memory_format(self, meta: Params) -> Params:
        return {name: channels_last(p) for name, p in meta.items()}

    def map_tasks(self, one: Callable[[int], R], tasks: int) -> list[R]:
        return super().map_tasks(one, tasks) if self._pool is None else list(self._pool.map(one, range(tasks)))

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

        tasks = self.map_tasks(one, len(episodes))
        return MetaGradient.of_tasks(tasks, {name: mean([task.gradients[name] for task in tasks]) for name in theta})

    def adapt_final(
        self, theta: Params, x: Tensor, y: Tensor, inner: InnerLoop, order: Tensor | None = None
    ) -> tuple[Params, Tensor]:
        def one(t: int) -> tuple[Params, Tensor]:
            # A task's whole inner loop runs in one thread, so that no task waits for another after each step.
            row = slice(t, t + 1)
            params, update, losses = {name: channels_last(p) for name, p in theta.items()}, inner.start(), []
            for step in range(inner.steps):
                step_x, step_y = step_batch(x[row], y[row], None if order is None else order[row], step)
                gradients, loss = self._support_gradient(params, step_x[0], step_y[0])
                params = update(params, gradients)
                losses.append(loss)
            return params, losses[0]

        params, losses = zip(*self.map_tasks(one, len(x)), strict=True)
        return stack_params(list(params)), torch.stack(losses)

    def _support_gradient(self, params: Params, x: Tensor, y: Tensor) -> tuple[Params, Tensor]:
        """Compute one task's support loss and the loss's gradient with respect to the task's own parameters."""
        fast = leaves(params)
        loss = self.loss.one(self.forward_once(fast, x), y)
        return gradients_of(loss, fast), loss.detach()

    def support_gradients(self, stack: Params, x: Tensor, y: Tensor) -> tuple[Params, Tensor]:
        def one(t: int) -> tuple[Params, Tensor]:
            return self._support_gradient(task_of(stack, t), x[t], y[t])

        gradients, losses = zip(*self.map_tasks(one, len(x)), strict=True)
        return stack_params(list(gradients)), torch.stack(losses)
