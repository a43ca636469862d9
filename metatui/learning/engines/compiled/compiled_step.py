"""Compiled meta-steps of an algorithm, and the choice of the number of threads for them."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from metatui.config.settings import AlgorithmSettings
from metatui.learning.data.episodes import Episodes
from metatui.learning.engines.base import Engine
from metatui.learning.engines.batched import fused_forward
from metatui.learning.engines.compiled.aot_package import CompileFailedError, Run, compile_to, load, path_of
from metatui.learning.engines.compiled.step_functions import Function, StepSpec, maml, reptile
from metatui.learning.optim.flat_params import FlatParams
from metatui.learning.optim.outer import DivergedError, OuterAdam

AGREEMENT = 1e-4
"""Largest accepted error of a compiled update, relative to the update of the eager meta-step. Errors are typically
about 2e-7."""

ROUNDING = 1e-6
"""Error that is accepted in addition to `AGREEMENT`, relative to the tensor that is updated."""

TIMED_STEPS = 20
"""Number of meta-steps whose time `GraphedStep.seconds` measures."""

CHECKED_STEPS = 20
"""Number of meta-steps that are run first with one thread and then with several threads. Several threads are used only
if all results are bit-for-bit the same."""

TRIAL_CALLS = 5
"""Number of timed calls for each number of threads in a trial. A trial finds the fastest number of threads."""

TRIAL_INTERVAL = 2000
"""Number of calls from the start of one trial to the start of the next. The best number of threads changes with the
load on the machine: threads that synchronise at every operation all have to wait while another program uses one of
their cores."""

MAX_THREADS = 8
"""Largest number of threads to try. The tensors are too small to benefit from more."""


class GraphedStep:
    """Compiled meta-steps of one algorithm on one model.

    There is one compiled function for each kind of meta-step. The shapes of the episodes and the number of inner steps
    determine the kind.
    """

    def __init__(self, name: str, engine: Engine, flat: FlatParams, outer: OuterAdam | None, threads: int) -> None:
        """Prepare the meta-steps without compiling any.

        Args:
            name: `maml`, `fomaml` or `reptile`.
            outer: the outer Adam; None for Reptile.
            threads: largest number of threads. The results do not depend on it.
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
        """Return whether a compiled function is in use for meta-steps of this kind."""
        return self._kind(episodes, algorithm) in self._runs

    def __call__(self, episodes: Episodes, algorithm: AlgorithmSettings, outer_lr: float) -> tuple[float, float, float]:
        """Run a compiled meta-step and return its meta-loss, support loss and gradient norm.

        Raises:
            DivergedError: if a result is not finite. The parameters are unchanged.
        """
        run = self._runs[self._kind(episodes, algorithm)]
        *losses, norm = run(self._inputs(episodes, algorithm, outer_lr)).tolist()
        tasks = len(episodes)
        meta_loss, support_loss = sum(losses[:tasks]) / tasks, sum(losses[tasks:]) / tasks
        if not math.isfinite(meta_loss):
            raise DivergedError("meta-loss")
        if not math.isfinite(norm):
            raise DivergedError("gradient")
        if self.outer is not None:
            self.outer.count()
        return meta_loss, support_loss, norm

    def path(self, episodes: Episodes, algorithm: AlgorithmSettings) -> Path:
        """Return the path of the compiled function for meta-steps of this kind, whether it exists or not."""
        inputs = self._inputs(episodes, algorithm, algorithm.outer_lr)
        what = (self.name, algorithm.inner_steps, repr(self.engine.model), self.engine.loss.each.__name__)
        return path_of(what, inputs, self.threads)

    def compile(self, episodes: Episodes, algorithm: AlgorithmSettings) -> None:
        """Compile meta-steps of this kind, unless a package for them already exists.

        Raises:
            CompileFailedError: if the compilation fails.
        """
        path = self.path(episodes, algorithm)
        if path.is_file():
            return
        inputs = [t.clone() for t in self._inputs(episodes, algorithm, algorithm.outer_lr)]
        compile_to(path, self._function(algorithm), inputs, self.threads)

    def use(self, episodes: Episodes, algorithm: AlgorithmSettings) -> None:
        """Use the compiled function for meta-steps of this kind, after checking it against the eager meta-step.

        Raises:
            CompileFailedError: if the compiled function is missing, does not load, or does not agree with the eager
                meta-step.
        """
        run = load(self.path(episodes, algorithm))
        before = self._inputs(episodes, algorithm, algorithm.outer_lr)
        actual, expected = [t.clone() for t in before], [t.clone() for t in before]
        metrics, wanted = run(list(actual)), self._function(algorithm)(*expected)
        changed = 1 if self.outer is None else 3
        triples = list(zip(actual[:changed], expected[:changed], before[:changed], strict=True))
        for got, want, old in [*triples, (metrics, wanted, torch.zeros_like(wanted))]:
            # The rounding error of a small update is relative to the tensor that is updated.
            allowed = AGREEMENT * (want - old).norm() + ROUNDING * old.norm()
            if not (got - want).norm() <= allowed:
                raise CompileFailedError("the compiled meta-step does not agree with the eager one")

        def repeats(run: Run) -> list[Tensor]:
            inputs = [t.clone() for t in before]
            metrics = [run(list(inputs)) for _ in range(CHECKED_STEPS)]
            return [*metrics, *inputs[:changed]]

        # Threads would share the sums over the points of a single task.
        most = self.threads if len(episodes) > 1 else 1
        self._runs[self._kind(episodes, algorithm)] = ThreadTuner(run, most, repeats)

    def forget(self) -> None:
        """Stop using compiled functions until the next call to `use`."""
        self._runs.clear()

    def seconds(self, episodes: Episodes, algorithm: AlgorithmSettings) -> float:
        """Time a few compiled meta-steps on copies of all tensors, and return the shortest time in seconds."""
        run = self._runs[self._kind(episodes, algorithm)]
        took = []
        for _ in range(TIMED_STEPS):
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
        spec = StepSpec(self.flat, fused_forward(self.engine.model), self.engine.loss.each, algorithm.inner_steps)
        if self.outer is None:
            return reptile(spec)
        return maml(spec, first_order=self.name == "fomaml", betas=self.outer.betas, epsilon=self.outer.epsilon)

    def _kind(self, episodes: Episodes, algorithm: AlgorithmSettings) -> object:
        e = episodes
        return e.support_x.shape, e.query_x.shape, e.support_x.dtype, algorithm.inner_steps


class ThreadTuner:
    """A compiled function that is called with the number of threads that was the fastest in the last trial.

    Several threads are used only if the results are the same, bit for bit, as with one thread.
    """

    def __init__(self, run: Run, most: int, repeats: Callable[[Run], Sequence[Tensor]]) -> None:
        """Find the numbers of threads that can be used.

        Args:
            most: largest number of threads.
            repeats: function that calls a compiled function several times on the same inputs and returns all results.
        """
        self._run = run
        expected = repeats(self._alone)
        self._counts = [1]
        for count in (2**n for n in range(1, MAX_THREADS.bit_length()) if 2**n <= most):
            actual = repeats(lambda inputs, count=count: self._with(count, inputs))  # type: ignore[misc]
            if all(map(torch.equal, actual, expected)):
                self._counts.append(count)
        self._fastest = 1
        self._calls = 0
        self._took: dict[int, list[float]] = {}

    def __call__(self, inputs: list[Tensor]) -> Tensor:
        if len(self._counts) == 1:
            return self._alone(inputs)
        at, self._calls = self._calls % TRIAL_INTERVAL, self._calls + 1
        if at >= TRIAL_CALLS * len(self._counts):
            return self._with(self._fastest, inputs)
        if at == 0:
            self._took = {count: [] for count in self._counts}
        count = self._counts[at % len(self._counts)]
        began = time.perf_counter()
        output = self._with(count, inputs)
        self._took[count].append(time.perf_counter() - began)
        self._fastest = min(self._took, key=lambda count: statistics.median(self._took[count] or [float("inf")]))
        return output

    def _alone(self, inputs: list[Tensor]) -> Tensor:
        return self._with(1, inputs)

    def _with(self, count: int, inputs: list[Tensor]) -> Tensor:
        before = torch.get_num_threads()
        torch.set_num_threads(count)
        try:
            return self._run(inputs)
        finally:
            torch.set_num_threads(before)
