"""Bringing compiled meta-steps into a run that is already going.

Training starts at once on the batched engine while a process of its own compiles (`warm`). The meta-step of the change
follows from the settings and the tweaks alone, never from how fast the compiler was, so the same settings and seed give
the same numbers: the run waits there if the compiler is late, and a resumed run changes where the first one did.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from metatui.config.settings import Settings
from metatui.learning.algorithms import Algorithm
from metatui.learning.engines.compiled.aot_package import CompileFailed
from metatui.learning.engines.compiled.compiled_step import GraphedStep
from metatui.learning.training.compile_worker import start
from metatui.utils.child_process import ChildProcess

LOOK_EVERY = 0.1
"""Seconds between looks for a stop while waiting for the compiler."""


class CompileSwitch:
    """The change that a run is waiting for, if any."""

    def __init__(self, algorithm: Algorithm, graphs: GraphedStep) -> None:
        self._algorithm = algorithm
        self._graphs = graphs
        self._waiting: bool | None = None
        """For the compiler; None before the first meta-step of this process."""
        self._compiler: ChildProcess | None = None
        self.kind: tuple[int, int] | None = None
        """Inner steps and meta-batch."""
        self.since = 0
        """Meta-steps done when those of the present kind began."""
        self.outcome: str | None = None
        """`compiled` or `failed`, once meta-steps of the present kind had their change; a resumed run repeats it."""

    def go_on(self, since: int | None, kind: Sequence[int] | None, outcome: str | None) -> None:
        """Where a run was before it was resumed; None where it had not begun, or was of an older version."""
        if since is not None and kind is not None:
            inner_steps, meta_batch = kind
            self.since, self.kind, self.outcome = since, (inner_steps, meta_batch), outcome

    def before(
        self, iteration: int, settings: Settings, tasks: range, interrupted: Callable[[], bool]
    ) -> Iterator[str]:
        """To be called before each meta-step. Says what changes, if anything does, in sentences.

        Args:
            iteration: meta-steps done.
            settings: of the meta-step to come, with nothing left at `auto`.
            tasks: the numbers of its tasks.
            interrupted: whether to wait for the compiler no longer.
        """
        kind = settings.algorithm.inner_steps, settings.algorithm.meta_batch
        if kind != self.kind:
            self.since, self.kind, self._waiting, self.outcome = iteration, kind, None, None
        if self._waiting is None and self.outcome == "failed":
            self._waiting = False
            yield "The batched engine goes on, as before the run was resumed: there was no compiled meta-step then"
        if self._waiting is None:
            self._waiting = True
            self.close()
            # A kind that comes back waits like a new one: a run resumed in between could not know that it was there.
            self._graphs.forget()
            if not self._graphs.path(self._algorithm.sample(tasks), settings.algorithm).is_file():
                self._compiler = start(settings)
        if not self._waiting or iteration < self.since + settings.compute.compile_after:
            return
        if self._compiler is not None and self._compiler.wait(0) is None:
            yield "Waiting for the compiler: meta-steps go on compiled"
        failure = self._compiled(interrupted)
        if failure is None:
            return  # interrupted
        self._waiting = False
        try:
            if failure:
                raise CompileFailed(failure)
            episodes = self._algorithm.sample(tasks)
            self._graphs.use(episodes, settings.algorithm)
        except CompileFailed as failed:
            before, self.outcome = self.outcome, "failed"
            otherwise = "; meta-steps were compiled until here, and sums round otherwise from here on" if before else ""
            yield f"The batched engine goes on: {failed}{otherwise}"
            return
        self.outcome = "compiled"
        ms = 1000 * self._graphs.seconds(episodes, settings.algorithm)
        self._algorithm.experiment.measured.add("compiled", ms)
        yield f"Meta-steps are compiled from here on and agree with the batched engine; measured {ms:.3g} ms"

    def close(self) -> None:
        """End a compilation that nobody waits for any more."""
        if self._compiler is not None:
            self._compiler.end()
            self._compiler = None

    def _compiled(self, interrupted: Callable[[], bool]) -> str | None:
        """Wait for the compiler. Returns why it failed, nothing where it did not, and None where interrupted."""
        if self._compiler is None:
            return ""
        while self._compiler.wait(LOOK_EVERY) is None:
            if interrupted():
                return None
        answer = self._compiler.receive() or {"error": "the compiler ended unexpectedly"}
        self.close()
        return answer["error"] or ""
