"""Measurement of the time and memory of meta-steps, which run as in training but on fixed tasks."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass, fields

import torch

from metatui.config.settings import Settings
from metatui.learning.benchmark.runner import Machine
from metatui.learning.benchmark.timing import copy_rate, matmul_rate, median_seconds
from metatui.learning.benchmark.workloads import Workload
from metatui.learning.data.episodes import Episodes
from metatui.learning.experiment import Experiment, set_up
from metatui.learning.hardware.devices import cpu, default_threads
from metatui.learning.hardware.peak_memory import PeakMemory
from metatui.learning.training.compile_worker import compile_in_child
from metatui.learning.training.learner import Learner


@dataclass(kw_only=True)
class FixedTaskExperiment(Experiment):
    """An experiment with the same training episodes in every meta-step, so that sampling them is not measured."""

    fixed: Episodes

    def training_episodes(self, tasks: range) -> Episodes:
        return self.fixed


def set_up_fixed(settings: Settings) -> FixedTaskExperiment:
    """Set up an experiment whose first meta-batch is used for every meta-step. Raises the same errors as `set_up`."""
    experiment = set_up(settings)
    values = {field.name: getattr(experiment, field.name) for field in fields(Experiment)}
    return FixedTaskExperiment(**values, fixed=experiment.training_episodes(range(settings.algorithm.meta_batch)))


@dataclass(frozen=True)
class Timing:
    """The median time of a meta-step in milliseconds, and the peak memory."""

    ms: float
    peak_memory_bytes: int | None


def measure(settings: Settings, seconds: float) -> Timing:
    """Measure the time and the memory of meta-steps for about `seconds` after a warm-up.

    Meta-steps are compiled or captured as CUDA graphs where training would do so. Peak memory includes the graphs.

    Raises:
        MetatuiError: if the meta-step cannot be computed on this machine.
    """
    experiment = set_up_fixed(settings)
    learner, options = Learner(experiment), settings.algorithm
    if learner.graphs:
        if not learner.graphs.path(experiment.fixed, options).is_file():
            compile_in_child(experiment.settings)  # in its own process, because a compiler leaves state behind
        learner.graphs.use(experiment.fixed, options)
    tasks = range(options.meta_batch)
    peak = PeakMemory(str(experiment.torch_device), over_current=True)
    if learner.captures:
        learner.captures.capture(experiment.fixed, learner.algorithm)
    took = median_seconds(lambda: learner.meta_step(tasks, options.outer_lr), experiment.torch_device, spend=seconds)
    return Timing(1000 * took, peak.bytes())


def machine(device: str) -> Machine:
    """Measure the peak speeds of matrix products and memory copies in float32.

    Raises SettingsError for an unknown device.
    """
    load, _, _ = os.getloadavg()
    # Set up an experiment, because this may enable TF32, which must hold for the measured rates as well.
    used = set_up(Workload("images", "maml", 1).settings("loop", device)).device
    threads = default_threads()
    torch.set_num_threads(threads)
    torch_device = torch.device(used.name)
    return Machine(
        processor=cpu().title, device=used.name, device_name=used.title, memory_bytes=used.memory_bytes,
        threads=threads, torch=torch.__version__, python=platform.python_version(), system=platform.platform(),
        load=load,
        matmul_gflops=matmul_rate(torch_device, torch.float32) / 1e9, copy_gb_per_s=copy_rate(torch_device) / 1e9,
    )  # fmt: skip
