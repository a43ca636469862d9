"""Everything that settings stand for, ready to compute with: device, data, model, engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import nn

from metatui.config.fields import change
from metatui.config.settings import Settings
from metatui.learning.data.episodes import Episodes, Split, TaskSource
from metatui.learning.data.registry import make_source
from metatui.learning.engines.autotune import Measured, choose, measured_for
from metatui.learning.engines.base import Engine, meta_parameters
from metatui.learning.engines.native.build import library
from metatui.learning.engines.registry import make_engine
from metatui.learning.hardware.cuda import cuda_problem
from metatui.learning.hardware.devices import Device, physical_cores, resolve, use
from metatui.learning.hardware.memory import keep_freed_memory
from metatui.learning.models import make_model
from metatui.learning.optim.inner import Params
from metatui.learning.optim.losses import CROSS_ENTROPY, MEAN_SQUARED_ERROR, Loss
from metatui.utils.errors import Problem, SettingsError

PREFETCHED_POINTS = 50_000
"""Points of regression sampled ahead at once: small meta-steps must not pay for sampling's many small operations."""


@dataclass
class Experiment:
    """The parts of one experiment. `settings` has what `auto` stood for filled in."""

    settings: Settings
    device: Device
    source: TaskSource
    model: nn.Module
    loss: Loss
    engine: Engine
    engine_reason: str
    measured: Measured
    """What engines were measured to take, here."""
    notices: tuple[str, ...]
    """Sentences to show to the user before the training starts."""
    _ahead: dict[range, Episodes] = field(default_factory=dict, repr=False)
    """Meta-batches of regression, by the numbers of their tasks."""

    @property
    def torch_device(self) -> torch.device:
        return torch.device(self.device.name)

    @property
    def dtype(self) -> torch.dtype:
        return torch.float64 if self.settings.compute.precision == "float64" else torch.float32

    def theta(self) -> Params:
        """The initial meta-parameters: leaves that the algorithm moves in place."""
        return {name: p.detach() for name, p in meta_parameters(self.model).items()}

    def episodes(self, split: Split, tasks: Sequence[int], *, seed: int, shots: int) -> Episodes:
        """Episodes of `tasks` on the device, in the experiment's precision."""
        task = self.settings.task
        drawn = self.source.episodes(split, tasks, seed=seed, ways=task.ways, shots=shots, queries=task.queries)
        return drawn.to(self.torch_device, self.dtype)

    def training_episodes(self, tasks: range) -> Episodes:
        """The training episodes numbered `tasks`."""
        seed, shots = self.settings.training.seed, self.settings.training_shots
        if self.source.kind == "classification":
            return self.episodes("train", tasks, seed=seed, shots=shots)
        # Tasks are pure functions of their numbers, so drawing them ahead changes nothing but the time it takes.
        if tasks not in self._ahead:
            batches = max(1, PREFETCHED_POINTS // (len(tasks) * (shots + self.settings.task.queries)))
            ahead = range(tasks.start, tasks.start + batches * len(tasks))
            drawn = self.episodes("train", ahead, seed=seed, shots=shots)
            parts = zip(*(torch.split(t, len(tasks)) for t in drawn.tensors()), strict=True)
            starts = range(ahead.start, ahead.stop, len(tasks))
            self._ahead = {range(n, n + len(tasks)): Episodes(*part) for n, part in zip(starts, parts, strict=True)}
        return self._ahead[tasks]


def set_up(settings: Settings, *, first_meta_batch: int | None = None) -> Experiment:
    """Get ready for what `settings` describe, in this thread: CPU threads and the CUDA device are set here too.

    Args:
        first_meta_batch: the meta-batch that the training began with, which decides how threads are used: an operation
            that is spread over more of them adds up in another order.

    Raises:
        BadInput: where the device or the data is not there.
    """
    device = resolve(settings.compute.device)
    unused = cuda_problem() if settings.compute.device == "auto" and device.name != "cuda:0" else None
    if device.name == "mps" and settings.compute.precision == "float64":
        sentence = "compute.precision is 'float64', but must be float32 on mps, which has no other"
        raise SettingsError([Problem("compute.precision", sentence)])
    if device.name != "cpu" and settings.compute.engine in ("compiled", "native"):
        chosen = settings.compute.engine
        sentence = f"compute.engine is '{chosen}', but must be another on {device.name}: it is for the CPU"
        raise SettingsError([Problem("compute.engine", sentence)])
    where = torch.device(device.name)
    use(where)
    source = make_source(settings, where)
    dtype = torch.float64 if settings.compute.precision == "float64" else torch.float32
    model = make_model(settings, source.input_shape).to(device=where, dtype=dtype)
    loss = CROSS_ENTROPY if source.kind == "classification" else MEAN_SQUARED_ERROR
    # What small networks cost is dispatch, which more threads do not share.
    threads = settings.compute.threads or (physical_cores() if settings.is_classification else 1)
    meta_batch = settings.algorithm.meta_batch if first_meta_batch is None else first_meta_batch
    workers = threads if device.name == "cpu" and meta_batch > 1 else 1
    if device.name == "cpu" and settings.is_classification:
        keep_freed_memory()
    torch.set_float32_matmul_precision("high" if settings.compute.tf32 else "highest")
    if device.name.startswith("cuda"):
        torch.backends.cudnn.allow_tf32 = settings.compute.tf32
    measured = measured_for(settings, device, model, threads)
    name, reason = settings.compute.engine, "as set"
    torch.set_num_threads(1 if workers > 1 else threads)
    if name == "auto":

        def sample(tasks: int) -> Episodes:
            task, seed = settings.task, settings.training.seed
            shots = settings.training_shots
            drawn = source.episodes(
                "train", range(tasks), seed=seed, ways=task.ways, shots=shots, queries=task.queries
            )  # fmt: skip
            return drawn.to(where, dtype)

        name, reason = choose(settings, device, model, loss, measured, workers, sample)
    # Tasks in threads of their own wait for each other once a meta-step; the threads of one operation wait for each
    # other at every operation, and stand still when anything else wants a core.
    torch.set_num_threads(1 if (workers > 1 and name in ("loop", "native")) or name == "compiled" else threads)
    if name == "compiled":  # which spreads over threads by itself
        threads = settings.compute.threads or physical_cores()
    resolved = change(settings, {"compute.device": device.name, "compute.engine": name, "compute.threads": threads})
    if name == "native" and library(dtype) is None:
        reason = f"{reason}; without a C compiler it is slow"
    engine = make_engine(name, model, loss, workers=workers, second_order=settings.compute.second_order)
    notices = (*([unused] if unused else []), *source.notices)
    return Experiment(resolved, device, source, model, loss, engine, reason, measured, notices)
