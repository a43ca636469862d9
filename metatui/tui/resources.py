"""Memory and load of what trains: the GPU's where there is one, else those of the run's process."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
        self._gpus: dict[str, Any] = {}

    def sample(self, pid: int, device: str) -> Load:
        """The load now, for a run that process `pid` of this machine trains on `device` (`cpu`, `mps` or `cuda:N`)."""
        memory, percent = _resident(pid), self._cpu_percent(pid)
        load = Load(process=pid, memory=memory, cpu_percent=percent)
        return (self._gpu(device) or load) if device.startswith("cuda") else load

    def _cpu_percent(self, pid: int) -> float | None:
        now, used = time.monotonic(), _cpu_seconds(pid)
        before, self._clock = self._clock, None if used is None else (pid, now, used)
        if used is None or before is None or before[0] != pid or now <= before[1]:
            return None
        return 100 * (used - before[2]) / (now - before[1])

    def _gpu(self, device: str) -> Load | None:
        import pynvml

        try:
            if device not in self._gpus:
                pynvml.nvmlInit()
                self._gpus[device] = _handle(pynvml, device)
            memory = pynvml.nvmlDeviceGetMemoryInfo(self._gpus[device])
            percent = pynvml.nvmlDeviceGetUtilizationRates(self._gpus[device]).gpu
        except pynvml.NVMLError:
            return None
        return Load(gpu_memory=(int(memory.used), int(memory.total)), gpu_percent=int(percent))


def _handle(pynvml: Any, device: str) -> Any:
    """NVML's handle of torch's `cuda:N`, which counts only the devices in CUDA_VISIBLE_DEVICES."""
    index = int(device.partition(":")[2] or 0)
    visible = [word.strip() for word in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if word.strip()]
    if index >= len(visible):
        return pynvml.nvmlDeviceGetHandleByIndex(index)
    word = visible[index]
    return pynvml.nvmlDeviceGetHandleByIndex(int(word)) if word.isdigit() else pynvml.nvmlDeviceGetHandleByUUID(word)


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
