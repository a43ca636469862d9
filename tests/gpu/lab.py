"""Findings, workloads and sizes that the steps of `tests.gpu` share."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from metatui.config.declarations import Scalar
from metatui.config.fields import change
from metatui.config.settings import Settings
from metatui.learning.experiment import set_up
from metatui.learning.training.learner import Learner

Values = Mapping[str, Scalar]

WAVES: Values = {
    "task.source": "sinusoid", "task.shots": 10, "task.queries": 10, "model.hidden": (40, 40),
    "algorithm.meta_batch": 25, "algorithm.inner_steps": 5,
}  # fmt: skip
"""Regression of Finn et al. 2017, section 5.1."""

IMAGES: Values = {
    "task.source": "glyphs", "task.ways": 5, "task.shots": 1, "task.queries": 15, "model.filters": 64,
    "model.downsample": "max_pool", "algorithm.meta_batch": 32, "algorithm.inner_steps": 5,
}  # fmt: skip
"""The default network for images, with the shape of Omniglot."""

_FINN: Values = {**IMAGES, "model.downsample": "stride", "model.features": "mean"}

CELLS: Mapping[str, Values] = {
    "5-way 1-shot": {**_FINN, "task.queries": 1, "algorithm.inner_steps": 1},
    "5-way 5-shot": {**_FINN, "task.shots": 5, "task.queries": 5, "algorithm.inner_steps": 1},
    "20-way 1-shot": {**_FINN, "task.ways": 20, "task.queries": 1, "algorithm.meta_batch": 16},
    "20-way 5-shot": {**_FINN, "task.ways": 20, "task.shots": 5, "task.queries": 5, "algorithm.meta_batch": 16},
}
"""The Omniglot experiments of Finn et al. 2017, section 5.2, on glyphs, which need no data."""

SMALLEST: Values = {
    "task.queries": 2, "model.filters": 4, "model.hidden": (8,), "algorithm.meta_batch": 2, "algorithm.inner_steps": 1,
    "compute.threads": 1,
}  # fmt: skip
"""Overrides of `--tiny`."""

SHORT: Values = {
    "evaluation.every": 0, "evaluation.tasks": 2, "evaluation.test_tasks": 2, "evaluation.inner_steps": 1,
}  # fmt: skip
"""A run that spends almost no time on evaluation."""


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    name: str
    values: Mapping[str, Any] = field(default_factory=dict)
    problem: str | None = None
    """Description of an error, which makes the step fail."""
    skipped: str | None = None
    """The reason why this was not tried."""


def found(name: str, /, **values: Any) -> Finding:
    """Report results."""
    return Finding(name, values)


def judged(name: str, problem: str | None, /, **values: Any) -> Finding:
    """Report results, and the `problem` that makes the step fail, if any."""
    return Finding(name, values, problem)


def skipped(name: str, reason: str, /) -> Finding:
    """Report that something cannot be tried on this machine."""
    return Finding(name, skipped=reason)


@dataclass(frozen=True)
class Lab:
    """The device and the sizes that a step computes with."""

    device: str
    """Name of the device, as in `compute.device`."""
    tiny: bool
    """True if all sizes are minimal, to test the steps themselves."""
    simulated: bool
    """True if the CUDA device is simulated by `tests.cuda`."""
    scratch: Path
    """A folder for this step alone, which is deleted afterwards."""
    until: float
    """`time.monotonic` at which the step should have ended by itself."""

    @property
    def torch_device(self) -> torch.device:
        return torch.device("cuda:0" if self.device == "cuda" else self.device)

    @property
    def on_cuda(self) -> bool:
        return self.torch_device.type == "cuda"

    @property
    def no_cuda(self) -> str | None:
        """The reason why there are no CUDA graphs, memory limits or kernels; None if there are."""
        return None if self.on_cuda else f"{self.device} is not a CUDA device"

    @property
    def no_figures(self) -> str | None:
        """The reason why speed and memory are meaningless here; None if they are meaningful."""
        if self.simulated:
            return "a simulated device has neither a speed nor its own memory"
        return "the sizes of --tiny are too small to measure" if self.tiny else None

    def seconds_left(self) -> float:
        return self.until - time.monotonic()

    def settings(self, work: Values, more: Values | None = None) -> Settings:
        """Return the settings of `work` on the device. `more` takes precedence over `--tiny`. Raises SettingsError."""
        smallest = SMALLEST if self.tiny else {}
        if self.tiny and "task.ways" in work:
            smallest = {**smallest, "task.ways": 3}
        return change(Settings(), {**work, **smallest, "compute.device": self.device, **(more or {})})

    def learner(self, settings: Settings) -> Learner:
        """Set up the algorithm of `settings`."""
        return Learner(set_up(settings))


Step = Callable[[Lab], Iterator[Finding]]


def difference(a: torch.Tensor, b: torch.Tensor) -> float:
    """Return the norm of the difference, relative to the norm of `b`."""
    a, b = (t.detach().to("cpu", torch.float64) for t in (a, b))
    return float(torch.linalg.vector_norm(a - b) / torch.linalg.vector_norm(b).clamp(min=1e-300))
