"""Benchmarks in child processes: a measurement that crashes or runs out of memory does not affect the others.

This module does not import torch.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from metatui.learning.benchmark.workloads import Cell, with_captured
from metatui.utils.child_process import ChildProcess, describe_exit
from metatui.utils.errors import BadInput, MetatuiError

SECONDS = 1.5
"""Approximate number of seconds spent on the meta-steps of each cell, after the warm-up."""

GRACE = 10.0
"""Seconds within which a child process must end after it has closed its output."""


@dataclass(frozen=True)
class Machine:
    """The machine on which a benchmark runs, with its peak rates of matrix products and copies."""

    processor: str
    device: str
    device_name: str
    memory_bytes: int
    """Total memory of the device."""
    threads: int
    """Number of CPU threads used to measure the rates."""
    torch: str
    python: str
    system: str
    load: float
    """Load average over the last minute."""
    matmul_gflops: float
    """Highest measured rate of a matrix product in float32, in 10^9 operations per second."""
    copy_gb_per_s: float
    """Highest measured rate of a copy, in 10^9 bytes per second, counting both reads and writes."""


@dataclass(frozen=True)
class CellFigures:
    """The measurements of one cell of the benchmark, taken in the child process."""

    ms: float
    """Median time in milliseconds of a meta-step (forward, backward and outer update) on fixed tasks."""
    peak_memory_bytes: int | None
    """Peak memory, excluding the memory in use before the first meta-step. None if the peak is unknown."""
    flops: int
    bytes: int
    """Bytes of unavoidable memory traffic of a meta-step. The definitions of `flops` and `bytes` are in flops.py."""


@dataclass(frozen=True)
class Measurement:
    """The result for one cell of the benchmark table. If the cell could not be measured, `error` explains why."""

    cell: Cell
    tasks: int
    """Number of tasks in a meta-step."""
    machine: Machine
    measured: CellFigures | None = None
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
        """Estimated minimum time of a meta-step, in milliseconds.

        This is the time of all FLOPs at the matmul rate, or of all bytes at the copy rate, whichever is longer.
        """
        if self.measured is None:
            return None
        arithmetic = self.measured.flops / (1e9 * self.machine.matmul_gflops)
        traffic = self.measured.bytes / (1e9 * self.machine.copy_gb_per_s)
        return 1000 * max(arithmetic, traffic)

    @property
    def fraction_of_floor(self) -> float | None:
        """`floor_ms` divided by the measured time. A value of 1 is the best that the machine can do."""
        floor = self.floor_ms
        return floor / self.measured.ms if self.measured and floor else None


@dataclass(frozen=True)
class Ready:
    """Event that reports the machine and its measured peak rates."""

    machine: Machine


@dataclass(frozen=True)
class Measuring:
    """Event sent when the measurement of a cell starts."""

    cell: Cell


Report = Ready | Measuring | Measurement


class Benchmark:
    """Measurement of cells in a child process. If the process ends unexpectedly, a new one is started.

    Iterating over a benchmark measures the cells in order. On a CUDA device, meta-steps captured as CUDA graphs are
    measured as additional cells.
    """

    def __init__(
        self, cells: Sequence[Cell], *, device: str = "auto", seconds: float = SECONDS, niceness: int = 0
    ) -> None:
        """Create the benchmark. The child process starts when the benchmark is iterated over.

        Args:
            device: a value of `compute.device`.
            seconds: approximate number of seconds spent on the meta-steps of each cell.
            niceness: niceness of the child process.
        """
        self.cells = cells
        """The cells to measure. On CUDA, cells with CUDA graphs are added before `Ready` is yielded."""
        self._device, self._seconds, self._niceness = device, seconds, niceness
        self._child: ChildProcess | None = None
        self.stopped = False

    def __iter__(self) -> Generator[Report, None, None]:
        """Yield `Ready` once, then `Measuring` and a `Measurement` for each cell.

        Raises:
            BadInput: if the device does not exist.
            MetatuiError: if the machine's peak rates cannot be measured.
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
                yield Measurement(cell, tasks, machine, None if error else CellFigures(**answer), error)
        finally:
            self._end()

    def stop(self) -> None:
        """End the iteration and discard the current cell. Any thread or signal handler may call this."""
        self.stopped = True
        if self._child is not None:
            self._child.kill()

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Send `request` to the child process. Return the answer, or an `error` if the process ended unexpectedly."""
        child = self._child or self._start()
        try:
            child.send({**request, "device": self._device})
            answer = child.receive()
        except OSError:  # the child died before it could read the request
            answer = None
        if answer is None:
            child.wait(GRACE)  # a child that is dying has an exit code that says why
            self._child = None
            return {"error": f"the process that was measuring it {describe_exit(child.end())}"}
        if "error" in answer:  # the failure may have left the process unusable
            self._end()
        return answer

    def _start(self) -> ChildProcess:
        self._child = child = ChildProcess("metatui.learning.benchmark.child", niceness=self._niceness)
        if self.stopped:  # `stop` was called before there was a child to kill
            child.kill()
        return child

    def _end(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.end()
