"""Run a benchmark in child processes, so that a cell that crashes or runs out of memory affects no other.

This module does not import torch.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Generator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from metatui.learning.benchmark.workloads import Cell, with_captured
from metatui.utils.errors import BadInput, MetatuiError
from metatui.utils.subprocesses import module

SECONDS = 1.5
"""Approximate time spent on the meta-steps of each cell, after its warm-up."""

GRACE = 10.0
"""Seconds in which a child process that has closed its output must end."""

CHILD = module("metatui.learning.benchmark.child")


@dataclass(frozen=True)
class Machine:
    """The machine of a benchmark, with its peak rates."""

    processor: str
    device: str
    device_name: str
    memory_bytes: int
    """Memory of the device."""
    threads: int
    """CPU threads that the rates are measured with."""
    torch: str
    python: str
    system: str
    load: float
    """Load average of the last minute."""
    matmul_gflops: float
    """Best rate of a matrix product in float32, in 10^9 operations per second."""
    copy_gb_per_s: float
    """Best rate of a copy, in 10^9 bytes read and written per second."""


@dataclass(frozen=True)
class Measured:
    """The figures of a cell that the child process measures."""

    ms: float
    """Median milliseconds of a meta-step: forward, backward and outer update on fixed tasks."""
    peak_memory_bytes: int | None
    """Peak of memory in addition to the memory in use before the first meta-step; None if unknown."""
    flops: int
    bytes: int
    """FLOPs and unavoidable memory traffic of a meta-step, see flops.py."""


@dataclass(frozen=True)
class Measurement:
    """A cell of the table: either `measured`, or `error` with the reason why not."""

    cell: Cell
    tasks: int
    """Number of tasks of a meta-step."""
    machine: Machine
    measured: Measured | None = None
    error: str | None = None

    @property
    def ms(self) -> float | None:
        return self.measured.ms if self.measured else None

    @property
    def meta_steps_per_s(self) -> float | None:
        return 1000 / self.measured.ms if self.measured else None

    @property
    def tasks_per_s(self) -> float | None:
        return self.tasks * 1000 / self.measured.ms if self.measured else None

    @property
    def floor_ms(self) -> float | None:
        """The time of all FLOPs at the matmul rate or of all bytes at the copy rate, whichever is longer."""
        if self.measured is None:
            return None
        arithmetic = self.measured.flops / (1e9 * self.machine.matmul_gflops)
        traffic = self.measured.bytes / (1e9 * self.machine.copy_gb_per_s)
        return 1000 * max(arithmetic, traffic)

    @property
    def fraction_of_floor(self) -> float | None:
        """The floor divided by the measured time: 1 is the best that the machine can do."""
        floor = self.floor_ms
        return floor / self.measured.ms if self.measured and floor else None


@dataclass(frozen=True)
class Ready:
    """The machine has been measured."""

    machine: Machine


@dataclass(frozen=True)
class Measuring:
    """The measurement of a cell begins."""

    cell: Cell


Report = Ready | Measuring | Measurement


class Benchmark:
    """Measures cells in a child process, and starts another one if it dies.

    Iterate it to measure the cells in order. On CUDA, captured meta-steps are measured too.
    """

    def __init__(
        self, cells: Sequence[Cell], *, device: str = "auto", seconds: float = SECONDS, niceness: int = 0
    ) -> None:
        """Create the benchmark. Iterating it starts the child process.

        Args:
            device: a value of `compute.device`.
            seconds: approximate time spent on the meta-steps of each cell.
            niceness: of the child process.
        """
        self.cells = cells
        """The cells to measure. Captured meta-steps are added before `Ready`, when the device is known."""
        self._device, self._seconds, self._niceness = device, seconds, niceness
        self._child: subprocess.Popen[str] | None = None
        self.stopped = False

    def __iter__(self) -> Generator[Report, None, None]:
        """Yield `Ready` once, then `Measuring` and a `Measurement` for each cell.

        Raises:
            BadInput: if there is no such device.
            MetatuiError: if the machine's rates cannot be measured.
        """
        try:
            answer = self._ask({"what": "machine"})
            if self.stopped:
                return
            if "error" in answer:
                raise (BadInput if answer.get("bad_input") else MetatuiError)(answer["error"])
            machine = Machine(**answer)
            if machine.device.startswith("cuda"):
                self.cells = with_captured(self.cells)
            yield Ready(machine)
            for cell in self.cells:
                if self.stopped:
                    return
                yield Measuring(cell)
                request = {**asdict(cell.work), "engine": cell.engine, "captured": cell.captured}
                answer = self._ask({"what": "cell", **request, "seconds": self._seconds})
                if self.stopped:
                    return
                tasks = cell.work.settings(cell.engine).algorithm.meta_batch
                error = answer.get("error")
                yield Measurement(cell, tasks, machine, None if error else Measured(**answer), error)
        finally:
            self._end()

    def stop(self) -> None:
        """End the iteration and discard the current cell. Safe in any thread and in a signal handler."""
        self.stopped = True
        if self._child is not None:
            _kill(self._child)

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Return the child's answer, or an `error` if it died."""
        child = self._child or self._start()
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            child.stdin.write(json.dumps({**request, "device": self._device}) + "\n")
            child.stdin.flush()
            answer = child.stdout.readline()
        except OSError:  # it died before reading the request
            answer = ""
        if answer.endswith("\n"):
            result: dict[str, Any] = json.loads(answer)
            if "error" in result:  # an error may leave the process in a bad state, so the next cell gets another one
                self._end()
            return result
        with suppress(subprocess.TimeoutExpired):  # its own exit code tells the reason
            child.wait(GRACE)
        return {"error": _cause_of_death(self._end())}

    def _start(self) -> subprocess.Popen[str]:
        # The child has its own session, so that Ctrl-C reaches only this process, which then ends the child.
        self._child = child = subprocess.Popen(
            [*CHILD, str(self._niceness)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True,
        )  # fmt: skip
        if self.stopped:  # stop was called while there was no child
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
    """Kill the child's process group, which includes compilers that it has started."""
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)


def _cause_of_death(code: int) -> str:
    if code == -signal.SIGKILL:
        return "the process that measured it was killed, most likely because memory ran out"
    how = f"signal {-code}" if code < 0 else f"exit code {code}"
    return f"the process that measured it died ({how})"
