"""Bringing a compiled meta-gradient into a run that is already going.

Training starts at once on the batched engine while a process of its own compiles (`warm`). The meta-step of the change
follows from the settings and the tweaks alone, never from how fast the compiler was, so the same settings and seed give
the same numbers: the run waits there if the compiler is late, and a resumed run changes where the first one did.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

from metatui.learning.engines.compiled import CompiledEngine, CompileFailed
from metatui.learning.episodes import Episodes
from metatui.learning.inner import Params, inner_loop
from metatui.settings import Settings

AFTER = 1000
"""Meta-steps of one kind (inner steps, meta-batch) before the compiled ones of it begin."""

LOOK_EVERY = 0.1
"""Seconds between looks for a stop while waiting for the compiler."""


class Upgrade:
    """The change that a run is waiting for, if any."""

    def __init__(self, engine: CompiledEngine) -> None:
        self._engine = engine
        self._kind: tuple[int, int] | None = None
        self._compiler: subprocess.Popen[str] | None = None
        self.since: int | None = None
        """Meta-steps done when those of the present kind began; set before the first `before` of a resumed run."""

    def before(
        self,
        iteration: int,
        settings: Settings,
        theta: Params,
        sample: Callable[[], Episodes],
        interrupted: Callable[[], bool],
    ) -> str | None:
        """To be called before each meta-step. Returns what changed, if anything did, in a sentence.

        Args:
            iteration: meta-steps done.
            settings: of the meta-step to come, with nothing left at `auto`.
            sample: its episodes.
            interrupted: whether to wait for the compiler no longer.
        """
        kind = settings.algorithm.inner_steps, settings.algorithm.meta_batch
        if kind != self._kind:
            if self._kind is not None or self.since is None:
                self.since = iteration
            self._kind = kind
            self.close()
            self._compiler = _start(settings)
        assert self.since is not None
        if self._compiler is None or iteration < self.since + AFTER:
            return None
        return self._finish(self._compiler, settings, theta, sample, interrupted)

    def close(self) -> None:
        """End a compilation that nobody waits for any more."""
        if self._compiler is not None:
            self._compiler.kill()
            self._compiler.communicate()
            self._compiler = None

    def _finish(
        self,
        compiler: subprocess.Popen[str],
        settings: Settings,
        theta: Params,
        sample: Callable[[], Episodes],
        interrupted: Callable[[], bool],
    ) -> str | None:
        while True:
            try:
                said, _ = compiler.communicate(timeout=LOOK_EVERY)
                break
            except subprocess.TimeoutExpired:
                if interrupted():
                    return None
        self._compiler = None
        if compiler.returncode:
            return f"The batched engine goes on: {said.strip() or 'the compiler ended unexpectedly'}"
        first_order, inner, episodes = settings.algorithm.name == "fomaml", inner_loop(settings.algorithm), sample()
        try:
            graph = self._engine.prepare(theta, episodes, inner, first_order=first_order)
        except CompileFailed as failed:
            return f"The batched engine goes on: {failed}"
        self._engine.use(graph, episodes, inner, first_order=first_order)
        return "Meta-gradients are compiled from here on, and agree with the batched engine"


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
