"""Measures cell after cell in a child process, and starts another where one dies. No torch here."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Generator, Sequence
from contextlib import suppress
from typing import Any

from metatui.learning.benchmark.report import Machine, Measured, Measurement, Measuring, Ready, Report
from metatui.learning.benchmark.workloads import Cell, with_captured
from metatui.utils.errors import BadInput, MetatuiError
from metatui.utils.subprocesses import module

SECONDS = 1.5
"""Spent on the meta-steps of each cell, about, after its warm-up."""

GRACE = 10.0
"""Seconds that a child which answers no more has to end by itself."""

CHILD = module("metatui.learning.benchmark.child")


class Benchmark:
    """Iterate it to measure `cells` in their order, on CUDA both eager and captured. `stop` ends the iteration and may
    be called from anywhere."""

    def __init__(
        self, cells: Sequence[Cell], *, device: str = "auto", seconds: float = SECONDS, niceness: int = 0
    ) -> None:
        """
        Args:
            device: as `compute.device`.
            seconds: spent on the meta-steps of each cell, about.
            niceness: by how much the child process makes way for others.
        """
        self.cells = cells
        """Cells to measure. Captured meta-steps are added just before `Ready`, when the device becomes known."""
        self._device, self._seconds, self._niceness = device, seconds, niceness
        self._child: subprocess.Popen[str] | None = None
        self.stopped = False

    def __iter__(self) -> Generator[Report, None, None]:
        """Yields `Ready` once, then `Measuring` and a `Measurement` for each cell.

        Raises:
            BadInput: where the device is not there.
            MetatuiError: where not even the machine's rates can be measured.
        """
        try:
            found = self._ask({"what": "machine"})
            if self.stopped:
                return
            if "error" in found:
                raise (BadInput if found.get("bad_input") else MetatuiError)(found["error"])
            machine = Machine(**found)
            if machine.device.startswith("cuda"):
                self.cells = with_captured(self.cells)
            yield Ready(machine)
            for cell in self.cells:
                if self.stopped:
                    return
                yield Measuring(cell)
                found = self._ask(
                    {
                        "what": "cell", "task": cell.work.task, "algorithm": cell.work.algorithm,
                        "inner_steps": cell.work.inner_steps, "engine": cell.engine, "captured": cell.captured,
                        "seconds": self._seconds,
                    }
                )  # fmt: skip
                if self.stopped:
                    return
                tasks = cell.work.settings(cell.engine).algorithm.meta_batch
                error = found.get("error")
                yield Measurement(cell, tasks, machine, None if error else Measured(**found), error)
        finally:
            self._end()

    def stop(self) -> None:
        """End at once; the cell at hand is lost. From any thread, and from a signal handler."""
        self.stopped = True
        if self._child is not None:
            _kill(self._child)

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """The child's answer, or an `error` where it died over it."""
        child = self._child or self._start()
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            child.stdin.write(json.dumps({**request, "device": self._device}) + "\n")
            child.stdin.flush()
            answer = child.stdout.readline()
        except OSError:  # it died before it could read
            answer = ""
        if answer.endswith("\n"):
            found: dict[str, Any] = json.loads(answer)
            if "error" in found:  # who knows what it left behind: the next cell gets another child
                self._end()
            return found
        with suppress(subprocess.TimeoutExpired):  # let it die its own death, which says why
            child.wait(GRACE)
        return {"error": _of_death(self._end())}

    def _start(self) -> subprocess.Popen[str]:
        # In a session of its own: ctrl+C in the terminal is for this process, which then ends the child.
        self._child = child = subprocess.Popen(
            [*CHILD, str(self._niceness)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True,
        )  # fmt: skip
        if self.stopped:  # it was said while there was no child yet
            _kill(child)
        return child

    def _end(self) -> int:
        child, self._child = self._child, None
        if child is None:
            return 0
        _kill(child)
        child.communicate()
        return child.returncode


def _kill(child: subprocess.Popen[str]) -> None:
    """With the compilers that it may have started, which are of its session."""
    with suppress(ProcessLookupError):  # it is dead already, and nothing of it is left
        os.killpg(child.pid, signal.SIGKILL)


def _of_death(code: int) -> str:
    if code == -signal.SIGKILL:
        return "the process that measured it was killed, most likely because memory ran out"
    how = f"signal {-code}" if code < 0 else f"exit code {code}"
    return f"the process that measured it died ({how})"
