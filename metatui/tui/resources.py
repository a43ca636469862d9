"""Memory and load of the device that trains: the GPU's where there is one, else this process's."""

from __future__ import annotations

import os
import resource
import sys
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
    memory: int | None = None
    """Resident bytes of this process."""
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
        if self.memory is not None:
            words.append(f"memory {self.memory / MIB:,.0f} MiB")
        if self.cpu_percent is not None:
            words.append(f"CPU {self.cpu_percent:.0f} %")
        return words


class Sampler:
    """Samples of `Load`. Not thread-safe; may take milliseconds, so it is not called on the app's thread."""

    def __init__(self) -> None:
        self._clock: tuple[float, float] | None = None
        self._gpus: dict[str, Any] = {}

    def sample(self, device: str) -> Load:
        """The load now, for a run on `device` (`cpu`, `mps` or `cuda:N`)."""
        memory, percent = _resident(), self._cpu_percent()
        if not device.startswith("cuda"):
            return Load(memory=memory, cpu_percent=percent)
        return self._gpu(device) or Load(memory=memory, cpu_percent=percent)

    def _cpu_percent(self) -> float | None:
        now, used = time.monotonic(), time.process_time()
        before, self._clock = self._clock, (now, used)
        if before is None or now <= before[0]:
            return None
        return 100 * (used - before[1]) / (now - before[0])

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


def _resident() -> int | None:
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
