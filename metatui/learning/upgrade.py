"""Bringing compiled meta-steps into a run that is already going.

Training starts at once on the batched engine while a process of its own compiles (`warm`). The meta-step of the change
follows from the settings and the tweaks alone, never from how fast the compiler was, so the same settings and seed give
the same numbers: the run waits there if the compiler is late, and a resumed run changes where the first one did.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator

from metatui.learning.algorithms import Algorithm
from metatui.learning.graphs.package import CompileFailed
from metatui.learning.graphs.step import GraphedStep
from metatui.settings import Settings

LOOK_EVERY = 0.1
"""Seconds between looks for a stop while waiting for the compiler."""


class Upgrade:
    """The change that a run is waiting for, if any."""

    def __init__(self, algorithm: Algorithm, graphs: GraphedStep) -> None:
        self._algorithm = algorithm
        self._graphs = graphs
        self._kind: tuple[int, int] | None = None
        self._waiting = False
        self._compiler: subprocess.Popen[str] | None = None
        self.since: int | None = None
        """Meta-steps done when those of the present kind began; set before the first `before` of a resumed run."""

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
        if kind != self._kind:
            if self._kind is not None or self.since is None:
                self.since = iteration
            self._kind = kind
            self.close()
            self._waiting = True
            if not self._graphs.path(self._algorithm.sample(tasks), settings.algorithm).is_file():
                self._compiler = _start(settings)
        assert self.since is not None
        if not self._waiting or iteration < self.since + settings.compute.compile_after:
            return
        if self._compiler is not None and self._compiler.poll() is None:
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
            yield f"The batched engine goes on: {failed}"
            return
        ms = 1000 * self._graphs.seconds(episodes, settings.algorithm)
        self._algorithm.experiment.measured.add("compiled", ms)
        yield f"Meta-steps are compiled from here on and agree with the batched engine; measured {ms:.3g} ms"

    def close(self) -> None:
        """End a compilation that nobody waits for any more."""
        if self._compiler is not None:
            self._compiler.kill()
            self._compiler.communicate()
            self._compiler = None

    def _compiled(self, interrupted: Callable[[], bool]) -> str | None:
        """Wait for the compiler. Returns why it failed, nothing where it did not, and None where interrupted."""
        if self._compiler is None:
            return ""
        while True:
            try:
                said, _ = self._compiler.communicate(timeout=LOOK_EVERY)
                break
            except subprocess.TimeoutExpired:
                if interrupted():
                    return None
        failed, self._compiler = self._compiler.returncode, None
        return (said.strip() or "the compiler ended unexpectedly") if failed else ""


def _start(settings: Settings) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "metatui.learning.warm"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True,
    )  # fmt: skip
    assert process.stdin is not None
    process.stdin.write(settings.model_dump_json())
    process.stdin.close()
    process.stdin = None  # for communicate, which would flush it
    return process
