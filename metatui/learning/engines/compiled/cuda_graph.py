"""Whole meta-steps as CUDA graphs, which replace thousands of kernel launches with one.

Learning rates are tensors, so they can change during training without a new capture. A change of the shapes or of the
number of inner steps needs a new capture. Nothing waits for the device: the metrics of a meta-step stay on the device
until they are read. If the result of a meta-step is not finite, neither this nor any later meta-step changes the
parameters, so that divergence can be detected later.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from metatui.config.settings import AlgorithmSettings
from metatui.learning.algorithm import Algorithm
from metatui.learning.data.episodes import Episodes
from metatui.learning.engines.base import Engine
from metatui.learning.engines.compiled.step_functions import adam_update, copy_if_finite
from metatui.learning.hardware.memory import free_unused_memory, is_out_of_memory
from metatui.learning.nn.layers import drop_blocks
from metatui.learning.optim.flat_params import FlatParams
from metatui.learning.optim.losses import accuracy
from metatui.learning.optim.outer import OuterAdam
from metatui.utils.errors import MetatuiError, class_and_message

WARM_UP = 3
"""Number of eager meta-steps before a capture. During these, libraries choose and set up their kernels."""

MAX_CAPTURES = 4
"""Maximum number of captures to keep. When there are more, the least recently used one is dropped, because every
capture holds device memory."""

Record = Callable[[Callable[[], None]], Callable[[], None]]
"""Function that calls its argument at least once, and returns a function that repeats this call on the same tensors."""


class CaptureFailedError(MetatuiError):
    """Raised if a meta-step cannot be captured as a CUDA graph."""


class CudaGraphs:
    """CUDA graphs on one device that share a memory pool.

    A graph reserves memory for its intermediate results as long as it exists. Graphs can share that memory because
    no result of a graph is read after another graph has started. To ensure this, all graphs are captured on one stream.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream: torch.cuda.Stream | None = None
        self._pool: Any = None

    def record(self, function: Callable[[], None]) -> Callable[[], None]:
        """Call `function` a few times, then capture it as a CUDA graph. Returns a function that replays the graph.

        Raises:
            CaptureFailedError: if CUDA cannot capture the function.
            RuntimeError: if the device is out of memory (see `is_out_of_memory`).
        """
        with torch.cuda.device(self._device):
            try:
                return self._recorded(function).replay
            except Exception as error:  # CUDA and its libraries raise exceptions of any class
                if is_out_of_memory(error):
                    raise
                raise CaptureFailedError(
                    f"no CUDA graph could be captured ({class_and_message(error, 200)})"
                ) from error

    def pool(self) -> Any:
        """Return the handle of the memory pool that all graphs share.

        If torch was built without CUDA, return None, which gives each graph a pool of its own.
        """
        if self._pool is None:
            with suppress(RuntimeError):
                self._pool = torch.cuda.graph_pool_handle()
        return self._pool

    def release(self) -> None:
        """Return the pool's memory to the device, after all graphs that use it have been deleted.

        torch cannot reuse a pool after its last graph has been deleted, so later graphs get a new pool.
        """
        self._pool = None
        free_unused_memory(self._device)

    def _recorded(self, function: Callable[[], None]) -> torch.cuda.CUDAGraph:
        self._stream = self._stream or torch.cuda.Stream()  # type: ignore[no-untyped-call]
        graph, stream = torch.cuda.CUDAGraph(), self._stream
        stream.wait_stream(torch.cuda.current_stream())
        try:
            # This context restores the caller's stream even if the capture fails, unlike torch.cuda.graph.
            with torch.cuda.stream(stream):
                for _ in range(WARM_UP):
                    function()
                with capturing(graph, self.pool(), stream):
                    function()
        finally:  # the warm-up may still be writing to tensors that the caller restores next
            torch.cuda.current_stream().wait_stream(stream)
        return graph


@contextmanager
def capturing(graph: torch.cuda.CUDAGraph, pool: Any, stream: torch.cuda.Stream) -> Iterator[None]:
    """Capture the work on `stream` as `graph`, with memory from `pool`.

    If the capture fails, torch's allocator is told to stop using the pool. The error that made the capture fail is
    raised, even if torch.cuda.graph raises another error afterwards.
    """
    first: BaseException | None = None
    try:
        with torch.cuda.graph(graph, pool=pool, stream=stream):
            try:
                yield
            except BaseException as error:
                first = error
                raise
    except BaseException as error:
        # Before 2.12, torch omits this call if ending the capture fails (pytorch#180395). In other cases it raises.
        with suppress(RuntimeError, AttributeError, TypeError):
            torch._C._cuda_endAllocateToPool(torch.cuda.current_device(), pool)
        graph.reset()
        if first not in (None, error):
            raise first from error
        raise


@dataclass(frozen=True)
class _Capture:
    replay: Callable[[], None]
    episodes: Episodes
    """The tensors that the graph reads its tasks from."""
    metrics: Tensor
    """[4]: meta-loss, accuracy, support loss before adaptation, norm of the gradient."""


def captures(algorithm: Algorithm, engine: Engine, device: torch.device) -> bool:
    """Return whether a run captures its meta-steps as CUDA graphs."""
    suits = algorithm.captured and not algorithm.annealed and engine.capturable
    # A graph would repeat the masks that it was captured with.
    suits = suits and not drop_blocks(engine.model)
    # Every size of the tasks needs a graph of its own, and a capture takes as long as several meta-steps.
    suits = suits and not algorithm.settings.training_size_varies
    return suits and algorithm.settings.compute.cuda_graphs and device.type == "cuda"


class CapturedStep:
    """Meta-steps that take a step of Adam along a meta-gradient, captured as CUDA graphs.

    There is one graph for each kind of meta-step. The shapes of the episodes, the number of inner steps, the inner
    optimiser and the number of tasks in memory at the same time determine the kind.
    """

    def __init__(self, engine: Engine, flat: FlatParams, outer: OuterAdam, *, record: Record | None = None) -> None:
        """Prepare the meta-steps without capturing any.

        Args:
            record: function that captures the operations of another function as a graph. By default, it captures a CUDA
                graph.
        """
        self._engine = engine
        self._flat = flat
        self._outer = outer
        vector = flat.vector
        self._graphs = CudaGraphs(vector.device)
        self._record = record or self._graphs.record
        self._captures: dict[object, _Capture] = {}
        """Captures, keyed by the kind of meta-step, with the most recently used one last."""
        self._rates = torch.zeros(5, dtype=vector.dtype, device=vector.device)
        self._finite = torch.ones((), dtype=torch.bool, device=vector.device)

    def has(self, episodes: Episodes, algorithm: AlgorithmSettings, *, at_once: int = 0) -> bool:
        """Return whether there is a capture for meta-steps of this kind.

        Args:
            at_once: maximum number of tasks in memory at the same time; 0 for all.
        """
        return _kind(episodes, algorithm, at_once) in self._captures

    def capture(self, episodes: Episodes, algorithm: Algorithm, *, at_once: int = 0) -> None:
        """Capture meta-steps of this kind. This leaves the parameters and the optimiser unchanged.

        Raises:
            CaptureFailedError: if no graph can be captured, or if its replay does not reproduce the meta-step.
            RuntimeError: if the device is out of memory (see `is_out_of_memory`).
        """
        static = Episodes(*(t.clone() for t in episodes.tensors()))
        metrics = torch.zeros(4, dtype=torch.float64, device=self._flat.vector.device)
        state = (self._flat.vector, *self._outer.moments, self._finite)
        before = [t.clone() for t in state]

        def restore() -> None:
            for tensor, kept in zip(state, before, strict=True):
                tensor.copy_(kept)

        settings = algorithm.settings.algorithm
        self._set_rates(settings, settings.outer_lr)
        algorithm = algorithm.with_inner_lr(self._rates[0])
        try:
            replay = self._record(lambda: self._meta_step(static, algorithm, metrics, at_once))
            restore()
            metrics.fill_(-math.inf)  # a value that no metric has
            replay()
            moved = any(not torch.equal(t, kept) for t, kept in zip(state, before, strict=True))
            _, _, _, norm = metrics.tolist()
            if norm == -math.inf or (norm > 0 and not moved):
                raise CaptureFailedError(
                    "the captured CUDA graph is unusable (its replay does not change the parameters)"
                )
        finally:
            restore()
        self._captures[_kind(episodes, settings, at_once)] = _Capture(replay, static, metrics)
        for oldest in list(self._captures)[:-MAX_CAPTURES]:
            del self._captures[oldest]

    def release(self) -> None:
        """Delete all captures, and return their memory to the device."""
        self._captures.clear()
        self._graphs.release()

    def __call__(
        self, episodes: Episodes, algorithm: AlgorithmSettings, outer_lr: float, *, at_once: int = 0
    ) -> Tensor:
        """Take a meta-step without waiting for the device.

        Returns:
            [4] on the device: meta-loss, accuracy, support loss before adaptation, norm of the gradient.

        Raises:
            RuntimeError: if the device is out of memory (see `is_out_of_memory`). The meta-step was not taken.
        """
        kind = _kind(episodes, algorithm, at_once)
        capture = self._captures[kind] = self._captures.pop(kind)
        for static, new in zip(capture.episodes.tensors(), episodes.tensors(), strict=True):
            static.copy_(new)
        self._set_rates(algorithm, outer_lr)
        metrics = torch.empty_like(capture.metrics)  # before the replay, after which an error would come too late
        capture.replay()
        self._outer.count()
        return metrics.copy_(capture.metrics)

    def rollback(self, steps: int) -> None:
        """Subtract `steps` from the step count, because the last `steps` meta-steps diverged and changed nothing."""
        self._outer.count(-steps)
        self._finite.fill_(True)

    def _set_rates(self, algorithm: AlgorithmSettings, outer_lr: float) -> None:
        rates = [algorithm.inner_lr, outer_lr, *self._outer.corrections(), algorithm.grad_clip or math.inf]
        # A copy from pinned memory does not wait. An earlier tensor may still be read, so each call creates a new one.
        host = torch.tensor(rates, dtype=self._rates.dtype, pin_memory=self._rates.is_cuda)
        self._rates.copy_(host, non_blocking=True)

    def _meta_step(self, episodes: Episodes, algorithm: Algorithm, metrics: Tensor, at_once: int) -> None:
        """Take a meta-step (Finn et al. 2017, Algorithm 2) in which all state and all learning rates are tensors."""
        result = self._engine.meta_gradient_of(algorithm, self._flat.views, episodes, at_once=at_once)
        gradient = self._flat.flatten(result.gradients)
        norm = torch.linalg.vector_norm(gradient)
        state = (self._flat.vector, *self._outer.moments)
        new = adam_update(*state, gradient, norm, self._rates, betas=self._outer.betas, epsilon=self._outer.epsilon)
        self._finite.logical_and_(torch.isfinite(norm) & torch.isfinite(result.loss).all())
        copy_if_finite(state, new, self._finite)
        labels = not episodes.query_y.is_floating_point()
        hits = accuracy(result.outputs, episodes.query_y).mean() if labels else torch.zeros_like(norm)
        metrics.copy_(torch.stack([t.double() for t in (result.loss.mean(), hits, result.support_loss.mean(), norm)]))


def _kind(episodes: Episodes, algorithm: AlgorithmSettings, at_once: int) -> object:
    shapes = tuple(t.shape for t in episodes.tensors())
    together = min(at_once or len(episodes), len(episodes))
    return shapes, algorithm.inner_steps, algorithm.inner_optimizer, together
