"""How long meta-steps take, and how much memory: those of an ordinary experiment, as training does them."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass

import torch

from metatui.config.settings import Settings
from metatui.learning.algorithms import ALGORITHMS
from metatui.learning.benchmark.fixed_tasks import set_up_given
from metatui.learning.benchmark.report import Machine
from metatui.learning.benchmark.roofline import copy_rate, matmul_rate
from metatui.learning.benchmark.timing import median_seconds
from metatui.learning.benchmark.workloads import Workload
from metatui.learning.hardware.devices import cpu, physical_cores
from metatui.learning.hardware.peak_memory import PeakMemory
from metatui.learning.training.compile_worker import compile_apart
from metatui.learning.training.experiment import set_up


@dataclass(frozen=True)
class Timing:
    """Median milliseconds of a meta-step, and the peak of memory over it."""

    ms: float
    peak_memory_bytes: int | None


def measure(settings: Settings, seconds: float) -> Timing:
    """Measure meta-steps of what `settings` describe, for about `seconds` after a warm-up.

    They are captured as CUDA graphs where training would do so. Peak memory then includes that of the graph.

    Raises:
        MetatuiError: it cannot be computed here; the sentence says why.
    """
    experiment = set_up_given(settings)
    algorithm, knobs = ALGORITHMS[settings.algorithm.name](experiment), settings.algorithm
    if algorithm.graphs:
        if not algorithm.graphs.path(experiment.given, knobs).is_file():
            compile_apart(experiment.settings)  # as training does; a compiler leaves much behind in its process
        algorithm.graphs.use(experiment.given, knobs)
    tasks = range(knobs.meta_batch)
    peak = PeakMemory(str(experiment.torch_device), over_current=True)
    if algorithm.captures:
        algorithm.captures.capture(experiment.given, knobs)
    took = median_seconds(
        lambda: algorithm.meta_step(tasks, knobs, knobs.outer_lr), experiment.torch_device, spend=seconds
    )
    return Timing(1000 * took, peak.bytes())


def machine(device: str) -> Machine:
    """What there is, and its rates in float32 with all cores. Raises SettingsError where `device` is not there."""
    load, _, _ = os.getloadavg()
    # Whatever an experiment switches on (TF32, say) holds for the rates too.
    found = set_up(Workload("images", "maml", 1).settings("loop", device)).device
    threads = physical_cores()
    torch.set_num_threads(threads)
    where = torch.device(found.name)
    return Machine(
        processor=cpu().title, device=found.name, device_name=found.title, memory_bytes=found.memory_bytes,
        threads=threads, torch=torch.__version__, python=platform.python_version(), system=platform.platform(),
        load=load,
        matmul_gflops=matmul_rate(where, torch.float32) / 1e9, copy_gb_per_s=copy_rate(where) / 1e9,
    )  # fmt: skip
