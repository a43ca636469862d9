"""Whole meta-steps as CUDA graphs: thousands of kernel launches become one.

Rates are tensors, so that turning a knob captures nothing anew; another shape, or another number of inner steps, does.
Nothing waits for the device: the figures of a meta-step stay on it until somebody asks for them. A meta-step that is
not finite moves nothing, and neither does any after it, so that it can be found out later.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from metatui.errors import MetatuiError
from metatui.learning.engines.base import Engine, MetaGradient
from metatui.learning.episodes import Episodes
from metatui.learning.flat import FlatParams
from metatui.learning.graphs.functions import adam_update, guarded
from metatui.learning.inner import InnerLoop
from metatui.learning.losses import accuracy
from metatui.learning.outer import OuterAdam
from metatui.settings import AlgorithmSettings

WARM_UP = 3
"""Meta-steps before a capture, in which libraries choose and set up their kernels."""

Record = Callable[[Callable[[], None]], Callable[[], None]]
"""Runs a function some times, and returns what repeats its work on the same tensors."""


class CaptureFailed(MetatuiError):
    """There is no CUDA graph; the eager engine goes on."""


def record_cuda(function: Callable[[], None]) -> Callable[[], None]:
    """Capture `function` as a CUDA graph. Raises CaptureFailed where CUDA does not let us."""
    graph = torch.cuda.CUDAGraph()
    try:
        aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(WARM_UP):
                function()
        torch.cuda.current_stream().wait_stream(aside)
        with torch.cuda.graph(graph):
            function()
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # CUDA and its libraries raise what they like
        line = (str(error).strip().splitlines() or [""])[0]
        raise CaptureFailed(f"no CUDA graph could be captured ({type(error).__name__}: {line[:200]})") from error
    return graph.replay


@dataclass(frozen=True)
class _Capture:
    replay: Callable[[], None]
    episodes: Episodes
    figures: Tensor


class CapturedStep:
    """Meta-steps of MAML or FOMAML on one model, by a CUDA graph for each kind of them."""

    def __init__(
        self, engine: Engine, flat: FlatParams, outer: OuterAdam, *, first_order: bool, record: Record = record_cuda
    ) -> None:
        self._engine = engine
        self._flat = flat
        self._outer = outer
        self._first_order = first_order
        self._record = record
        self._captures: dict[object, _Capture] = {}
        vector = flat.vector
        self._rates = torch.zeros(5, dtype=vector.dtype, device=vector.device)
        self._fine = torch.ones((), dtype=torch.bool, device=vector.device)

    def has(self, episodes: Episodes, algorithm: AlgorithmSettings) -> bool:
        """Whether meta-steps of this kind are captured."""
        return _kind(episodes, algorithm) in self._captures

    def capture(self, episodes: Episodes, algorithm: AlgorithmSettings) -> None:
        """Capture meta-steps like this one. Nothing has moved afterwards. Raises CaptureFailed."""
        static = Episodes(*(t.clone() for t in episodes.tensors()))
        figures = torch.zeros(4, dtype=torch.float64, device=self._flat.vector.device)
        moved = (self._flat.vector, *self._outer.moments, self._fine)
        before = [t.clone() for t in moved]
        self._set_rates(algorithm, algorithm.outer_lr)
        try:
            replay = self._record(lambda: self._meta_step(static, algorithm, figures))
        finally:
            for tensor, kept in zip(moved, before, strict=True):
                tensor.copy_(kept)
        self._captures[_kind(episodes, algorithm)] = _Capture(replay, static, figures)

    def __call__(self, episodes: Episodes, algorithm: AlgorithmSettings, outer_lr: float) -> Tensor:
        """Take a meta-step. Returns, without waiting for it, meta-loss, accuracy, support loss before adaptation and
        norm of the gradient [4], on the device."""
        capture = self._captures[_kind(episodes, algorithm)]
        for static, new in zip(capture.episodes.tensors(), episodes.tensors(), strict=True):
            static.copy_(new)
        self._set_rates(algorithm, outer_lr)
        capture.replay()
        self._outer.count()
        return capture.figures.clone()

    def take_back(self, steps: int) -> None:
        """The last `steps` meta-steps have moved nothing, and did not count."""
        self._outer.count(-steps)
        self._fine.fill_(True)

    def _set_rates(self, algorithm: AlgorithmSettings, outer_lr: float) -> None:
        rates = [algorithm.inner_lr, outer_lr, *self._outer.corrections(), algorithm.grad_clip or math.inf]
        # From pinned memory the copy does not wait; the tensor is new each time, as an older one may still be read.
        host = torch.tensor(rates, dtype=self._rates.dtype, pin_memory=self._rates.is_cuda)
        self._rates.copy_(host, non_blocking=True)

    def _meta_step(self, episodes: Episodes, algorithm: AlgorithmSettings, figures: Tensor) -> None:
        """Finn et al. 2017, Algorithm 2, in tensors alone."""
        inner = InnerLoop(self._rates[0], algorithm.inner_steps, algorithm.inner_optimizer)
        found: MetaGradient = self._engine.meta_gradient(
            self._flat.views, episodes, inner, first_order=self._first_order
        )
        gradient = self._flat.gathered(found.gradients)
        norm = torch.linalg.vector_norm(gradient)
        state = (self._flat.vector, *self._outer.moments)
        new = adam_update(*state, gradient, norm, self._rates, betas=self._outer.betas, epsilon=self._outer.epsilon)
        self._fine.logical_and_(torch.isfinite(norm) & torch.isfinite(found.loss).all())
        guarded(state, new, self._fine)
        labels = not episodes.query_y.is_floating_point()
        hits = accuracy(found.outputs, episodes.query_y).mean() if labels else torch.zeros_like(norm)
        figures.copy_(torch.stack([t.double() for t in (found.loss.mean(), hits, found.support_loss.mean(), norm)]))


def _kind(episodes: Episodes, algorithm: AlgorithmSettings) -> object:
    shapes = tuple(t.shape for t in episodes.tensors())
    return shapes, algorithm.inner_steps, algorithm.inner_optimizer
