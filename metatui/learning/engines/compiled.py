"""The compiled engine: the whole meta-gradient, forward and backward, as one graph by torch.compile.

Small networks cost dispatch: thousands of tiny operations a meta-step. Compiled from outside of torch.func's
transforms they become a few fused loops. Inner learning rates are inputs of the graph, so turning that knob compiles
nothing; other shapes or another number of inner steps do. Until a graph is ready, the batched engine computes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from metatui.learning.engines.base import MetaGradient
from metatui.learning.engines.batched import BatchedEngine
from metatui.learning.episodes import Episodes
from metatui.learning.inner import InnerLoop, Params
from metatui.learning.losses import Loss

AGREEMENT = 1e-4
"""Largest relative error against the batched engine that is put down to float32's rounding; measured: 2e-7."""

Graph = Callable[[Params, Tensor, Tensor, Tensor, Tensor, Tensor], tuple[Params, tuple[Tensor, Tensor, Tensor]]]
"""θ, support x and y, query x and y, inner learning rate; to the meta-gradient, and query loss [T], predictions and
support loss [T]."""

Key = tuple[Any, ...]


class CompileFailed(Exception):
    """There is no graph, or it computes something else; the batched engine goes on."""


class CompiledEngine(BatchedEngine):
    """`batched`, but for meta-gradients that a graph has been made for."""

    name = "compiled"
    backend: ClassVar[str] = "inductor"

    def __init__(self, model: nn.Module, loss: Loss) -> None:
        super().__init__(model, loss)
        self._graphs: dict[Key, Graph] = {}

    def prepare(self, theta: Params, episodes: Episodes, inner: InnerLoop, *, first_order: bool) -> Graph:
        """Make the graph for meta-steps of this kind, and check it against the batched engine. Takes 5 to 60 s.

        The graph is not used before `use` is called with it. To be called in the thread that trains, with the number
        of torch threads that the graph is to run with, and while nothing else is computed.

        Raises:
            CompileFailed: with a sentence that says why.
        """
        graph: Graph = torch.compile(
            _meta_gradient(self, inner.steps, first_order), fullgraph=True, dynamic=False, backend=self.backend
        )
        try:
            found = _run(graph, theta, episodes, inner)
        except Exception as error:  # the compiler raises whatever its backends raise
            line = (str(error).strip().splitlines() or [""])[0]
            raise CompileFailed(f"the compiler failed ({type(error).__name__}: {line[:200]})") from error
        expected = super().meta_gradient(theta, episodes, inner, first_order=first_order)
        error_norm = _distance(found.gradients, expected.gradients)
        if not error_norm <= AGREEMENT:
            raise CompileFailed(f"the compiled meta-gradient is off by {error_norm:.1e}")
        return graph

    def use(self, graph: Graph, episodes: Episodes, inner: InnerLoop, *, first_order: bool) -> None:
        """From now on, compute meta-steps of this kind by `graph`."""
        self._graphs[_key(episodes, inner, first_order)] = graph

    def meta_gradient(self, theta: Params, episodes: Episodes, inner: InnerLoop, *, first_order: bool) -> MetaGradient:
        graph = self._graphs.get(_key(episodes, inner, first_order))
        if graph is None:
            return super().meta_gradient(theta, episodes, inner, first_order=first_order)
        return _run(graph, theta, episodes, inner)


def _meta_gradient(engine: BatchedEngine, steps: int, first_order: bool) -> Graph:
    """The function that is compiled: `BatchedEngine.meta_gradient`, but written with torch.func for the compiler."""
    forward, loss = engine.forward_each, engine.loss

    def meta_loss(
        theta: Params, support_x: Tensor, support_y: Tensor, query_x: Tensor, query_y: Tensor, lr: Tensor
    ) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
        def support_loss(fast: Params) -> tuple[Tensor, Tensor]:
            losses = loss.each(forward(fast, support_x), support_y)
            return losses.sum(), losses

        fast = {name: p.expand(len(support_x), *p.shape) for name, p in theta.items()}
        first = support_x
        for step in range(steps):
            gradients, losses = torch.func.grad(support_loss, has_aux=True)(fast)
            if step == 0:
                first = losses
            if first_order:
                gradients = {name: g.detach() for name, g in gradients.items()}
            fast = {name: p - lr * gradients[name] for name, p in fast.items()}
        predicted = forward(fast, query_x)
        losses = loss.each(predicted, query_y)
        return losses.mean(), (losses.detach(), predicted.detach(), first.detach())

    graph: Graph = torch.func.grad(meta_loss, has_aux=True)
    return graph


def _run(graph: Graph, theta: Params, episodes: Episodes, inner: InnerLoop) -> MetaGradient:
    e = episodes
    lr = torch.tensor(inner.lr, dtype=e.support_x.dtype, device=e.support_x.device)
    plain = {name: p.detach() for name, p in theta.items()}
    gradients, (losses, outputs, support) = graph(plain, e.support_x, e.support_y, e.query_x, e.query_y, lr)
    return MetaGradient(loss=losses, gradients=gradients, outputs=outputs, support_loss=support)


def _key(episodes: Episodes, inner: InnerLoop, first_order: bool) -> Key:
    return episodes.support_x.shape, episodes.query_x.shape, episodes.support_x.dtype, inner.steps, first_order


def _distance(found: Params, expected: Params) -> float:
    difference = torch.cat([(found[name] - g).flatten() for name, g in expected.items()]).norm()
    return float(difference / torch.cat([g.flatten() for g in expected.values()]).norm())
