"""Check for each algorithm and engine that the memory use of long runs does not grow."""

from __future__ import annotations

import os
import signal
import statistics
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from metatui.config.declarations import Scalar
from metatui.config.toml import settings_toml
from tests.survival.cases import CASES
from tests.survival.fork_server import ForkServer

LONG: Mapping[str, Scalar] = {
    "training.iterations": 100_000_000, "training.early_stop": 0, "evaluation.every": 100, "checkpoint.every": 5.0,
}  # fmt: skip

MAX_GROWTH = 0.05
"""Maximum growth of memory use after the warm-up, as a fraction of the memory use at the end of the warm-up."""

WARM_UP = 1 / 3
"""Duration of the warm-up as a fraction of the total time."""


@dataclass
class Samples:
    """Memory use of a training process in main memory and on the GPU, in bytes, measured once a second."""

    process: list[int] = field(default_factory=list)
    device: list[int] = field(default_factory=list)

    @property
    def grew(self) -> bool:
        """True if main memory use or GPU memory use grew by more than MAX_GROWTH after the warm-up."""
        return any(
            end > (1 + MAX_GROWTH) * warm
            for warm, end in map(self.start_and_end_medians, filter(None, (self.process, self.device)))
        )

    @staticmethod
    def start_and_end_medians(samples: list[int]) -> tuple[float, float]:
        """Return the median memory use after the warm-up and at the end, each over a sixth of the total time."""
        part = max(1, len(samples) // 6)
        start = int(len(samples) * WARM_UP)
        return statistics.median(samples[start : start + part]), statistics.median(samples[-part:])


def watch(*, minutes: float, only: str, device: str) -> int:
    """Train a long run for each algorithm and engine, and print its memory use.

    Args:
        minutes: minutes of training for each run.
        only: text that the name ALGORITHM/ENGINE of a run must contain; other runs are skipped.

    Returns:
        1 if the memory use of any run grew too much, otherwise 0.
    """
    grew = 0
    print(
        f"{'algorithm':11}{'engine':10}{'task':10}{'warm':>10}{'end':>10}{'growth':>8}  meta-steps  device", flush=True
    )
    with tempfile.TemporaryDirectory() as folder, ForkServer() as server:
        for i, case in enumerate(CASES):
            if only not in f"{case.algorithm}/{case.engine}" or case.algorithm == "scratch":
                continue
            if device != "cpu" and case.engine == "compiled":
                continue
            long = replace(case, overrides={**case.overrides, **LONG, "compute.device": device}, plan=(), commands={})
            runs = Path(folder) / str(i)
            preset = Path(folder) / f"{i}.toml"
            preset.write_text(settings_toml(long.settings, {}, whole=True))
            pid = server.start(runs, ["run", str(preset)], {})
            samples = _sampled(pid, seconds=60 * minutes, device=device)
            os.kill(pid, signal.SIGTERM)
            counted = server.wait()
            steps = 0 if isinstance(counted, str) else counted["step"] // 2
            warm, end = Samples.start_and_end_medians(samples.process)
            grew += samples.grew
            on_device = " to ".join(
                f"{size / 2**20:.0f} MiB" for size in Samples.start_and_end_medians(samples.device or [0])
            )
            print(
                f"{case.algorithm:11}{case.engine:10}{long.settings.task.source:10}{warm / 2**20:6.1f} MiB"
                f"{end / 2**20:6.1f} MiB{end / warm - 1:8.1%}{steps:12,}  {on_device}",
                flush=True,
            )
    return 1 if grew else 0


def _sampled(pid: int, *, seconds: float, device: str) -> Samples:
    samples, until = Samples(), time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(1)
        samples.process.append(resident(pid).own)
        if device.startswith("cuda"):
            samples.device.append(_on_device(pid))
    return samples


class Resident(NamedTuple):
    """Resident memory of a process in bytes."""

    own: int
    """Memory use without memory-mapped files."""
    all: int


def resident(pid: int) -> Resident:
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return Resident(*(1024 * int(status[name].split()[0]) for name in ("RssAnon", "VmRSS")))


def _on_device(pid: int) -> int:
    import pynvml

    pynvml.nvmlInit()
    handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
    found = [each for handle in handles for each in pynvml.nvmlDeviceGetComputeRunningProcesses(handle)]
    return sum(each.usedGpuMemory or 0 for each in found if each.pid == pid)
