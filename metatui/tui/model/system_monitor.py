"""Memory use and load of the GPU that trains a run or, if no GPU is used, of the process that trains the run."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MIB = 2**20


@dataclass(frozen=True)
class Load:
    """Current memory use and load of the GPU or the process that trains a run. Unknown values are None."""

    gpu_memory: tuple[int, int] | None = None
    """Used and total bytes of GPU memory."""
    gpu_percent: int | None = None
    process: int | None = None
    """Id of the process to which `memory` and `cpu_percent` belong."""
    memory: int | None = None
    """Resident memory of the process in bytes."""
    cpu_percent: float | None = None
    """CPU load of the process as a percentage of one core. Four busy cores result in 400."""

    def facts(self) -> list[tuple[str, str]]:
        """Return the known values, formatted for display, as pairs of name and value."""
        facts = []
        gpu = []
        if self.gpu_memory:
            used, total = self.gpu_memory
            gpu.append(f"{used / MIB:,.0f} of {total / MIB:,.0f} MiB")
        if self.gpu_percent is not None:
            gpu.append(f"{self.gpu_percent} % busy")
        if gpu:
            facts.append(("GPU", ", ".join(gpu)))
        process = []
        if self.memory is not None and self.process is not None:
            process.append(f"{self.process}, {self.memory / MIB:,.0f} MiB")
        if self.cpu_percent is not None:
            process.append(f"CPU {self.cpu_percent:.0f} %")
        if process:
            facts.append(("process", ", ".join(process)))
        return facts


class Sampler:
    """Measures `Load`. A measurement takes milliseconds, so do not measure in the app's thread. Not thread-safe."""

    def __init__(self) -> None:
        self._last_cpu: tuple[int, float, float] | None = None
        """Process id, time and CPU seconds at the last measurement."""
        self._gpus: dict[tuple[str, int], Any] = {}
        """NVML handle of the GPU that was measured last (at most one entry), keyed by device and process id."""

    def sample(self, pid: int, device: str) -> Load:
        """Measure the memory use and load of the process `pid`, which trains on `device` (`cpu`, `mps` or `cuda:N`)."""
        load = Load(process=pid, memory=_resident(pid), cpu_percent=self._cpu_percent(pid))
        return (self._gpu(device, pid) or load) if device.startswith("cuda") else load

    def _cpu_percent(self, pid: int) -> float | None:
        now, used = time.monotonic(), _cpu_seconds(pid)
        before, self._last_cpu = self._last_cpu, None if used is None else (pid, now, used)
        if used is None or before is None or before[0] != pid or now <= before[1]:
            return None
        return 100 * (used - before[2]) / (now - before[1])

    def _gpu(self, device: str, pid: int) -> Load | None:
        import pynvml

        from metatui.learning.hardware import nvml

        try:
            handle = self._gpus.get((device, pid))
            if handle is None:
                pynvml.nvmlInit()
                handle = nvml.handle_of(int(device.partition(":")[2] or 0), _environment(pid), pid)
                if handle is None:  # the GPU is unknown, perhaps not yet in use
                    return None
                self._gpus = {(device, pid): handle}
        except pynvml.NVMLError:
            return None
        memory = percent = None
        # A MIG device reports no utilisation, and a GPU that shares the memory of the CPU reports no memory.
        with suppress(pynvml.NVMLError):
            info = pynvml.nvmlDeviceGetMemoryInfo(handle)
            memory = int(info.used), int(info.total)
        with suppress(pynvml.NVMLError):
            percent = int(pynvml.nvmlDeviceGetUtilizationRates(handle).gpu)
        return Load(gpu_memory=memory, gpu_percent=percent) if memory or percent is not None else None


def _environment(pid: int) -> Mapping[str, str]:
    """Return the environment of process `pid` or, if it cannot be read, that of this process."""
    try:
        entries = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return os.environ
    return dict(os.fsdecode(entry).split("=", 1) for entry in entries if b"=" in entry)


def _resident(pid: int) -> int | None:
    """Return the resident memory of a process in bytes, or None if there is no such process or no /proc."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return None


def _cpu_seconds(pid: int) -> float | None:
    """Return the CPU seconds of all threads of a process, or None if there is no such process or no /proc."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
        # The second field is the command in brackets, which may contain anything; see proc_pid_stat(5).
        user, system = stat.rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError):
        return None
