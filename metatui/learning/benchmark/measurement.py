"""Time and memory of meta-steps, measured as training takes them but on fixed tasks."""

from __future__ import annotations

import ctypes
import gc
import os
import platform
import re
import resource
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path

import torch

from metatui.config.settings import Settings
from metatui.learning.algorithms import ALGORITHMS
from metatui.learning.benchmark.runner import Machine
from metatui.learning.benchmark.timing import copy_rate, matmul_rate, median_seconds
from metatui.learning.benchmark.workloads import Workload
from metatui.learning.data.episodes import Episodes
from metatui.learning.hardware.devices import cpu, physical_cores
from metatui.learning.training.compile_worker import command
from metatui.learning.training.experiment import Experiment, set_up
from metatui.utils.errors import MetatuiError

STATUS = Path("/proc/self/status")
CLEAR_REFS = Path("/proc/self/clear_refs")
RESET_PEAK = "5"
"""Written to `CLEAR_REFS`, this resets VmHWM, the peak of resident memory (man 5 proc)."""


@dataclass(kw_only=True)
class FixedTaskExperiment(Experiment):
    """An experiment with the same training episodes in every meta-step, because drawing tasks is not measured."""

    fixed: Episodes

    def training_episodes(self, tasks: range) -> Episodes:
        return self.fixed


def set_up_fixed(settings: Settings) -> FixedTaskExperiment:
    """Set up an experiment whose first meta-batch is used for every meta-step. Raises BadInput."""
    experiment = set_up(settings)
    values = {field.name: getattr(experiment, field.name) for field in fields(Experiment)}
    return FixedTaskExperiment(**values, fixed=experiment.training_episodes(range(settings.algorithm.meta_batch)))


@dataclass(frozen=True)
class Timing:
    """The median time of a meta-step in milliseconds, and the peak of memory."""

    ms: float
    peak_memory_bytes: int | None


def measure(settings: Settings, seconds: float) -> Timing:
    """Measure meta-steps for about `seconds` after a warm-up.

    Meta-steps are compiled or captured as CUDA graphs where training would do so. Peak memory includes the graph.

    Raises:
        MetatuiError: if the meta-step cannot be computed here.
    """
    experiment = set_up_fixed(settings)
    algorithm, options = ALGORITHMS[settings.algorithm.name](experiment), settings.algorithm
    if algorithm.graphs:
        if not algorithm.graphs.path(experiment.fixed, options).is_file():
            _compile(experiment.settings)
        algorithm.graphs.use(experiment.fixed, options)
    tasks = range(options.meta_batch)
    peak = PeakMemory(experiment.torch_device)
    if algorithm.captures:
        algorithm.captures.capture(experiment.fixed, options)
    took = median_seconds(
        lambda: algorithm.meta_step(tasks, options, options.outer_lr), experiment.torch_device, spend=seconds
    )
    return Timing(1000 * took, peak.bytes())


def _compile(settings: Settings) -> None:
    """Compile in a child process, as training does. Raises MetatuiError."""
    done = subprocess.run(command(), input=settings.model_dump_json(), capture_output=True, text=True)
    if done.returncode:
        raise MetatuiError(done.stdout.strip() or "the compiler ended unexpectedly")


def machine(device: str) -> Machine:
    """Describe the machine, with its peak rates in float32 on all cores. Raises SettingsError for an unknown device."""
    load, _, _ = os.getloadavg()
    # An experiment may switch on TF32, which must hold for the rates too.
    used = set_up(Workload("images", "maml", 1).settings("loop", device)).device
    threads = physical_cores()
    torch.set_num_threads(threads)
    torch_device = torch.device(used.name)
    return Machine(
        processor=cpu().title, device=used.name, device_name=used.title, memory_bytes=used.memory_bytes,
        threads=threads, torch=torch.__version__, python=platform.python_version(), system=platform.platform(),
        load=load,
        matmul_gflops=matmul_rate(torch_device, torch.float32) / 1e9, copy_gb_per_s=copy_rate(torch_device) / 1e9,
    )  # fmt: skip


class PeakMemory:
    """The peak of memory since creation, in addition to the memory in use at creation."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(device)
            self._before = torch.cuda.memory_allocated(device)
            return
        # Memory that the C library keeps for reuse would not be counted, so return it to the system first.
        with suppress(OSError, AttributeError):  # not glibc
            ctypes.CDLL(None).malloc_trim(0)
        self._resets = _reset_peak()
        self._before = _resident("VmRSS") if self._resets else _largest_ever()

    def bytes(self) -> int | None:
        """Return the peak; None if it is unknown: on Apple's GPUs, or where the process was larger before."""
        match self._device.type:
            case "cuda":
                return torch.cuda.max_memory_allocated(self._device) - self._before
            case "cpu" if self._resets:
                return _resident("VmHWM") - self._before
            case "cpu":
                return _largest_ever() - self._before or None
            case _:
                return None


def _reset_peak() -> bool:
    try:
        CLEAR_REFS.write_text(RESET_PEAK)
    except OSError:
        return False
    return True


def _resident(field: str) -> int:
    line = re.search(rf"^{field}:\s+(\d+) kB$", STATUS.read_text(), re.MULTILINE)
    assert line
    return 1024 * int(line[1])


def _largest_ever() -> int:
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest if sys.platform == "darwin" else 1024 * largest
