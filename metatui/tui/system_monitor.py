"""Memory and load of what trains: the GPU's where there is one, else those of the run's process."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metatui.learning.hardware import nvml

MIB = 2**20


@dataclass(frozen=True)
class Load:
    """What is used now; None where it is not known."""

    gpu_memory: tuple[int, int] | None = None
    """Bytes used and in all."""
    gpu_percent: int | None = None
    process: int | None = None
    """The process that trains, whose memory and load these are."""
    memory: int | None = None
    """Resident bytes."""
    cpu_percent: float | None = None
    """Of one core: four busy cores are 400."""

    def words(self) -> list[str]:
        """The numbers with their names and units."""
        words = []
        if self.gpu_memory:
            used, whole = self.gpu_memory
            words.append(f"GPU memory {used / MIB:,.0f} of {whole / MIB:,.0f} MiB")
        if self.gpu_percent is not None:
            words.append(f"GPU {self.gpu_percent} %")
        if self.memory is not None and self.process is not None:
            words.append(f"process {self.process}")
            words.append(f"memory {self.memory / MIB:,.0f} MiB")
        if self.cpu_percent is not None:
            words.append(f"CPU {self.cpu_percent:.0f} %")
        return words


class Sampler:
    """Samples of `Load`. Not thread-safe; may take milliseconds, so it is not called on the app's thread."""

    def __init__(self) -> None:
        self._clock: tuple[int, float, float] | None = None
        self._gpus: dict[tuple[str, int], Any] = {}
        """NVML's handle of the last sampled GPU, by device and process."""

    def sample(self, pid: int, device: str) -> Load:
        """The load now, for a run that process `pid` of this machine trains on `device` (`cpu`, `mps` or `cuda:N`)."""
        memory, percent = _resident(pid), self._cpu_percent(pid)
        load = Load(process=pid, memory=memory, cpu_percent=percent)
        return (self._gpu(device, pid) or load) if device.startswith("cuda") else load

    def _cpu_percent(self, pid: int) -> float | None:
        now, used = time.monotonic(), _cpu_seconds(pid)
        before, self._clock = self._clock, None if used is None else (pid, now, used)
        if used is None or before is None or before[0] != pid or now <= before[1]:
            return None
        return 100 * (used - before[2]) / (now - before[1])

    def _gpu(self, device: str, pid: int) -> Load | None:
        import pynvml

        try:
            handle = self._gpus.get((device, pid))
            if handle is None:
                pynvml.nvmlInit()
                handle = nvml.handle_of(int(device.partition(":")[2] or 0), _environment(pid), pid)
                if handle is None:  # the GPU is not known, perhaps not yet
                    return None
                self._gpus = {(device, pid): handle}
        except pynvml.NVMLError:
            return None
        memory = percent = None
        # A MIG device reports no utilisation, and a GPU that shares the memory of the CPU reports no memory.
        with suppress(pynvml.NVMLError):
            found = pynvml.nvmlDeviceGetMemoryInfo(handle)
            memory = int(found.used), int(found.total)
        with suppress(pynvml.NVMLError):
            percent = int(pynvml.nvmlDeviceGetUtilizationRates(handle).gpu)
        return Load(gpu_memory=memory, gpu_percent=percent) if memory or percent is not None else None


def _environment(pid: int) -> Mapping[str, str]:
    """Environment variables that process `pid` was started with; those of this process if they cannot be read."""
    try:
        entries = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return os.environ
    return dict(os.fsdecode(entry).split("=", 1) for entry in entries if b"=" in entry)


def _resident(pid: int) -> int | None:
    """Bytes; None where there is no /proc, or no such process."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return None


def _cpu_seconds(pid: int) -> float | None:
    """Used so far, by all threads; None as above."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
        # The second field is the command in brackets, and may contain anything; see proc_pid_stat(5).
        user, system = stat.rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError):
        return None
