"""What a benchmark reports. No torch here."""

from __future__ import annotations

from dataclasses import dataclass

from metatui.learning.benchmark.workloads import Cell


@dataclass(frozen=True)
class Machine:
    """What it was measured on."""

    processor: str
    device: str
    device_name: str
    memory_bytes: int
    """Of the device."""
    threads: int
    """CPU threads that the rates were measured with."""
    torch: str
    python: str
    system: str
    load: float
    """Processes that wanted a core in the minute before."""
    matmul_gflops: float
    """Best rate of a matrix product, in 10^9 operations a second, in float32."""
    copy_gb_per_s: float
    """Best rate of a copy, in 10^9 bytes read and written a second."""


@dataclass(frozen=True)
class Measured:
    """What the child process found out about a cell."""

    ms: float
    """Median milliseconds of a meta-step: forward, backward and outer update on given tasks."""
    peak_memory_bytes: int | None
    """What meta-steps took at their peak on top of what was there before the first; None where nothing tells."""
    flops: int
    bytes: int
    """FLOPs and unavoidable memory traffic of a meta-step (`counting`)."""


@dataclass(frozen=True)
class Measurement:
    """A cell of the table: either `measured`, or `error` says in a sentence why not."""

    cell: Cell
    tasks: int
    """Tasks in a meta-step."""
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
        """What a meta-step would take if all its FLOPs went at the matmul rate or all its bytes at the copy rate,
        whichever takes longer."""
        if self.measured is None:
            return None
        arithmetic = self.measured.flops / (1e9 * self.machine.matmul_gflops)
        traffic = self.measured.bytes / (1e9 * self.machine.copy_gb_per_s)
        return 1000 * max(arithmetic, traffic)

    @property
    def fraction_of_floor(self) -> float | None:
        """The floor over what was measured: 1 would be a machine that does nothing in vain."""
        floor = self.floor_ms
        return floor / self.measured.ms if self.measured and floor else None


@dataclass(frozen=True)
class Ready:
    """The machine is known and its rates are measured."""

    machine: Machine


@dataclass(frozen=True)
class Measuring:
    """A cell has its turn."""

    cell: Cell


Report = Ready | Measuring | Measurement
