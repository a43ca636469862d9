"""The compiled meta-step of an algorithm: what it is compiled for, and how it is called."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from metatui.config.settings import AlgorithmSettings
from metatui.learning.data.episodes import Episodes
from metatui.learning.engines.base import Engine
from metatui.learning.engines.batched_forward import fused_forward
from metatui.learning.engines.compiled.aot_package import CompileFailed, compile_to, load, path_of
from metatui.learning.engines.compiled.step_functions import Function, StepSpec, maml, reptile
from metatui.learning.engines.compiled.thread_tuner import FreeThreads, Run
from metatui.learning.optim.flat_params import FlatParams
from metatui.learning.optim.outer import Diverged, OuterAdam

AGREEMENT = 1e-4
"""Largest relative error of a change against the eager meta-step's that counts as rounding; measured: 2e-7."""

ROUNDING = 1e-6
"""The same, relative to what is changed."""

MEASURED = 20
"""Meta-steps that are timed."""

REPEATED = 20
"""Meta-steps whose every bit must be the same with another number of threads."""


@dataclass(frozen=True)
class StepMetrics:
    """What a compiled meta-step saw."""

    meta_loss: float
    support_loss: float
    grad_norm: float


class GraphedStep:
    """Meta-steps of one algorithm on one model, by a compiled function for each kind of them."""

    def __init__(self, name: str, engine: Engine, flat: FlatParams, outer: OuterAdam | None, threads: int) -> None:
        """
        Args:
            name: `maml`, `fomaml` or `reptile`.
            outer: its Adam; Reptile has none.
            threads: that a compiled meta-step may be spread over; its numbers do not depend on it.
        """
        self.name = name
        self.engine = engine
        self.flat = flat
        self.outer = outer
        self.threads = threads
        numbers = torch.zeros(2 if outer is None else 5, dtype=flat.vector.dtype)
        self._rates, self._numbers = numbers, numbers.numpy()
        self._runs: dict[object, Run] = {}

    def has(self, episodes: Episodes, algorithm: AlgorithmSettings) -> bool:
        """Whether meta-steps of this kind are compiled."""
        return self._kind(episodes, algorithm) in self._runs

    def __call__(self, episodes: Episodes, algorithm: AlgorithmSettings, outer_lr: float) -> StepMetrics:
        """Take a meta-step. Raises Diverged where it is not finite; nothing has moved then."""
        run = self._runs[self._kind(episodes, algorithm)]
        *losses, norm = run(self._inputs(episodes, algorithm, outer_lr)).tolist()
        tasks = len(episodes)
        meta_loss, support_loss = sum(losses[:tasks]) / tasks, sum(losses[tasks:]) / tasks
        if not math.isfinite(meta_loss):
            raise Diverged("meta-loss")
        if not math.isfinite(norm):
            raise Diverged("gradient")
        if self.outer is not None:
            self.outer.count()
        return StepMetrics(meta_loss, support_loss, norm)

    def path(self, episodes: Episodes, algorithm: AlgorithmSettings) -> Path:
        """Where the compiled function for meta-steps like this one is, or would be."""
        inputs = self._inputs(episodes, algorithm, algorithm.outer_lr)
        what = (self.name, algorithm.inner_steps, repr(self.engine.model), self.engine.loss.each.__name__)
        return path_of(what, inputs, self.threads)

    def compile(self, episodes: Episodes, algorithm: AlgorithmSettings) -> None:
        """Compile for meta-steps like this one, unless that was done before. Raises CompileFailed."""
        path = self.path(episodes, algorithm)
        if path.is_file():
            return
        inputs = [t.clone() for t in self._inputs(episodes, algorithm, algorithm.outer_lr)]
        compile_to(path, self._function(algorithm), inputs, self.threads)

    def use(self, episodes: Episodes, algorithm: AlgorithmSettings) -> None:
        """From now on, take meta-steps like this one by the compiled function, once it has been seen to agree.

        Raises:
            CompileFailed: where it is not there, does not load or does not agree.
        """
        run = load(self.path(episodes, algorithm))
        before = self._inputs(episodes, algorithm, algorithm.outer_lr)
        found, expected = [t.clone() for t in before], [t.clone() for t in before]
        figures, wanted = run(list(found)), self._function(algorithm)(*expected)
        kept = 1 if self.outer is None else 3
        pairs = list(zip(found[:kept], expected[:kept], before[:kept], strict=True))
        for got, want, was in [*pairs, (figures, wanted, torch.zeros_like(wanted))]:
            # A change that is small beside what it changes is rounded at the size of that.
            allowed = AGREEMENT * (want - was).norm() + ROUNDING * was.norm()
            if not (got - want).norm() <= allowed:
                raise CompileFailed("the compiled meta-step does not agree with the eager one")

        def repeats(run: Run) -> list[Tensor]:
            inputs = [t.clone() for t in before]
            figures = [run(list(inputs)) for _ in range(REPEATED)]
            return [*figures, *inputs[:kept]]

        # What is added up over one task's points is one number for each of the tasks, and of a single one divided.
        most = self.threads if len(episodes) > 1 else 1
        self._runs[self._kind(episodes, algorithm)] = FreeThreads(run, most, repeats)

    def forget(self) -> None:
        """Take no kind of meta-step by a compiled function until `use` says so anew."""
        self._runs.clear()

    def seconds(self, episodes: Episodes, algorithm: AlgorithmSettings) -> float:
        """What a compiled meta-step like this one takes: the shortest of some, on copies."""
        run = self._runs[self._kind(episodes, algorithm)]
        took = []
        for _ in range(MEASURED):
            inputs = [t.clone() for t in self._inputs(episodes, algorithm, algorithm.outer_lr)]
            began = time.perf_counter()
            run(inputs)
            took.append(time.perf_counter() - began)
        return min(took)

    def _inputs(self, episodes: Episodes, algorithm: AlgorithmSettings, outer_lr: float) -> list[Tensor]:
        if self.outer is None:
            rates = [algorithm.inner_lr, outer_lr]
            state = [self.flat.vector]
        else:
            rates = [algorithm.inner_lr, outer_lr, *self.outer.corrections(), algorithm.grad_clip or math.inf]
            state = [self.flat.vector, *self.outer.moments]
        self._numbers[:] = rates
        return [*state, *episodes.tensors(), self._rates]

    def _function(self, algorithm: AlgorithmSettings) -> Function:
        parts = StepSpec(self.flat, fused_forward(self.engine.model), self.engine.loss.each, algorithm.inner_steps)
        if self.outer is None:
            return reptile(parts)
        return maml(
            parts, first_order=self.name == "fomaml", betas=self.outer.betas, epsilon=self.outer.epsilon
        )  # fmt: skip

    def _kind(self, episodes: Episodes, algorithm: AlgorithmSettings) -> object:
        e = episodes
        return e.support_x.shape, e.query_x.shape, e.support_x.dtype, algorithm.inner_steps
