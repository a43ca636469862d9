"""Measures cell after cell in a child process, and starts another where one dies. No torch here."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any

from metatui.learning.benchmark.report import Machine, Measured, Measurement, Measuring, Ready, Report
from metatui.learning.benchmark.workloads import Cell, with_captured
from metatui.utils.child_process import ChildProcess, describe_exit
from metatui.utils.errors import BadInput, MetatuiError

SECONDS = 1.5
"""Spent on the meta-steps of each cell, about, after its warm-up."""

GRACE = 10.0
"""Seconds that a child which answers no more has to end by itself."""


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
        self._child: ChildProcess | None = None
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
            self._child.kill()

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """The child's answer, or an `error` where it died over it."""
        child = self._child or self._start()
        try:
            child.send({**request, "device": self._device})
            answer = child.receive()
        except OSError:  # it died before it could read
            answer = None
        if answer is None:
            child.wait(GRACE)  # if it is dying, its own exit code says why
            self._child = None
            return {"error": f"the process that measured it {describe_exit(child.end())}"}
        if "error" in answer:  # the failure may have left the process unusable
            self._end()
        return answer

    def _start(self) -> ChildProcess:
        self._child = child = ChildProcess("metatui.learning.benchmark.child", niceness=self._niceness)
        if self.stopped:  # before there was a child to kill
            child.kill()
        return child

    def _end(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.end()
