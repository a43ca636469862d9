"""The switch to compiled meta-steps in the middle of a run.

Training starts immediately on the batched engine, while another process compiles (see `compile_worker`). The meta-step
at which a run switches depends only on its settings and their changes, not on the speed of the compiler, so that the
same settings and seed give the same numbers. Therefore, a run waits for the compiler if necessary, and a resumed run
switches at the same meta-step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from enum import Enum, auto

from metatui.config.settings import Settings
from metatui.learning.engines.compiled.aot_package import CompileFailedError
from metatui.learning.engines.compiled.compiled_step import GraphedStep
from metatui.learning.training.compile_worker import UNEXPECTED_END, start
from metatui.learning.training.learner import Learner
from metatui.utils.child_process import ChildProcess

POLL_INTERVAL = 0.1
"""Seconds between checks for a request to stop, while the run waits for the compiler."""


class _Phase(Enum):
    NEW = auto()
    """No meta-step of the current kind has been run in this process yet."""
    COMPILING = auto()
    """The compiler has been started if necessary, but the meta-step at which to switch has not been reached yet."""
    DONE = auto()
    """Meta-steps of the current kind are compiled, or stay on the batched engine because the compilation failed."""


class CompileSwitch:
    """Switches to compiled meta-steps after `compute.compile_after` meta-steps of the same kind."""

    def __init__(self, learner: Learner, graphs: GraphedStep) -> None:
        self._learner = learner
        self._graphs = graphs
        self._phase = _Phase.NEW
        self._compiler: ChildProcess | None = None
        self.kind: tuple[int, int] | None = None
        """The current kind of meta-step: the number of inner steps and the number of tasks in a meta-batch."""
        self.since = 0
        """Number of meta-steps before the first one of the current kind."""
        self.outcome: str | None = None
        """`compiled` or `failed` once the compilation of meta-steps of the current kind has ended; otherwise None. A
        resumed run repeats this outcome."""

    def restore(self, since: int | None, kind: Sequence[int] | None, outcome: str | None) -> None:
        """Restore the attributes from a checkpoint.

        The arguments are None if the checkpoint was saved before the first meta-step or by an old version.
        """
        if since is not None and kind is not None:
            inner_steps, meta_batch = kind
            self.since, self.kind, self.outcome = since, (inner_steps, meta_batch), outcome

    def prepare_step(
        self, iteration: int, settings: Settings, tasks: range, stop_requested: Callable[[], bool]
    ) -> Iterator[str]:
        """Start the compiler, or switch to compiled meta-steps, if either is due. Yields messages for the user.

        Args:
            iteration: number of meta-steps so far.
            settings: settings of the next meta-step, with `auto` resolved.
            tasks: task numbers of the next meta-step.
            stop_requested: called repeatedly during the wait for the compiler. If it returns True, the engine is not
                switched.
        """
        kind = settings.algorithm.inner_steps, settings.algorithm.meta_batch
        if kind != self.kind:
            self.kind, self.since, self.outcome, self._phase = kind, iteration, None, _Phase.NEW
        if self._phase is _Phase.NEW:
            if self.outcome == "failed":
                self._phase = _Phase.DONE
                yield "Training continues on the batched engine: the compilation failed before the run was resumed"
            else:
                self._phase = _Phase.COMPILING
                self._start_compiler(settings, tasks)
        if self._phase is _Phase.COMPILING and iteration >= self.since + settings.compute.compile_after:
            if self._compiler is not None and self._compiler.wait(0) is None:
                yield "Waiting for the compiler: training will continue with compiled meta-steps"
            yield from self._switch(settings, tasks, stop_requested)

    def close(self) -> None:
        """Kill the compiler if it is still running, because its result is no longer needed."""
        if self._compiler is not None:
            self._compiler.end()
            self._compiler = None

    def _start_compiler(self, settings: Settings, tasks: range) -> None:
        self.close()
        # A kind that was compiled earlier in this process waits like a new one, as it would in a resumed run.
        self._graphs.forget()
        if not self._graphs.path(self._learner.sample(tasks), settings.algorithm).is_file():
            self._compiler = start(settings)

    def _switch(self, settings: Settings, tasks: range, stop_requested: Callable[[], bool]) -> Iterator[str]:
        try:
            if not self._wait_for_compiler(stop_requested):
                return
            episodes = self._learner.sample(tasks)
            self._graphs.use(episodes, settings.algorithm)
        except CompileFailedError as error:
            was_compiled = self.outcome == "compiled"
            self._phase, self.outcome = _Phase.DONE, "failed"
            rounding = "; earlier meta-steps were compiled, so rounding may differ from here on" if was_compiled else ""
            yield f"Training continues on the batched engine: {error}{rounding}"
            return
        self._phase, self.outcome = _Phase.DONE, "compiled"
        ms = 1000 * self._graphs.seconds(episodes, settings.algorithm)
        self._learner.experiment.measured.add("compiled", ms)
        yield f"Meta-steps are compiled from now on and agree with the batched engine; each takes {ms:.3g} ms"

    def _wait_for_compiler(self, stop_requested: Callable[[], bool]) -> bool:
        """Wait until the compiler has exited; return False if a stop is requested before then.

        Raises:
            CompileFailedError: if the compiler failed.
        """
        if self._compiler is None:
            return True
        while self._compiler.wait(POLL_INTERVAL) is None:
            if stop_requested():
                return False
        answer = self._compiler.receive() or {"error": UNEXPECTED_END}
        self.close()
        if answer["error"]:
            raise CompileFailedError(answer["error"])
        return True
