"""Findings, workloads and sizes shared by the steps of `tests.gpu`."""

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
"""Sinusoid regression, as in section 5.1 of Finn et al. (2017)."""

IMAGES: Values = {
    "task.source": "glyphs", "task.ways": 5, "task.shots": 1, "task.queries": 15, "model.filters": 64,
    "model.downsample": "max_pool", "algorithm.meta_batch": 32, "algorithm.inner_steps": 5,
}  # fmt: skip
"""Classification with the default network for images. Glyphs have the size of Omniglot images, but need no download."""

_FINN: Values = {**IMAGES, "model.downsample": "stride", "model.features": "mean"}

CELLS: Mapping[str, Values] = {
    "5-way 1-shot": {**_FINN, "task.queries": 1, "algorithm.inner_steps": 1},
    "5-way 5-shot": {**_FINN, "task.shots": 5, "task.queries": 5, "algorithm.inner_steps": 1},
    "20-way 1-shot": {**_FINN, "task.ways": 20, "task.queries": 1, "algorithm.meta_batch": 16},
    "20-way 5-shot": {**_FINN, "task.ways": 20, "task.shots": 5, "task.queries": 5, "algorithm.meta_batch": 16},
}
"""The Omniglot experiments in section 5.2 of Finn et al. (2017), with glyphs in place of Omniglot images, since glyphs
need no download."""

TINY: Values = {
    "task.queries": 2, "model.filters": 4, "model.hidden": (8,), "algorithm.meta_batch": 2, "algorithm.inner_steps": 1,
    "compute.threads": 1,
}  # fmt: skip
"""Settings that override those of a workload if `--tiny` is given."""

SHORT: Values = {
    "evaluation.every": 0, "evaluation.tasks": 2, "evaluation.test_tasks": 2, "evaluation.inner_steps": 1,
}  # fmt: skip
"""Settings of a run that spends almost no time on evaluation."""


@dataclass(frozen=True)
class Finding:
    """A result of a step, reported as one line."""

    name: str
    values: Mapping[str, Any] = field(default_factory=dict)
    problem: str | None = None
    """Description of an error that makes the step fail, or None if there is no error."""
    skipped: str | None = None
    """Reason why this part of the step was skipped, or None if it was not."""


def finding(name: str, /, **values: Any) -> Finding:
    """Return a finding with `values` as results."""
    return Finding(name, values)


def checked_finding(name: str, problem: str | None, /, **values: Any) -> Finding:
    """Return a finding with `values` as results, and with the `problem` that makes the step fail, if there is one."""
    return Finding(name, values, problem)


def skipped(name: str, reason: str, /) -> Finding:
    """Return a finding about a part of a step that could not be run."""
    return Finding(name, skipped=reason)


@dataclass(frozen=True)
class StepEnvironment:
    """The device that a step uses, the sizes of its workloads, its temporary folder and its deadline."""

    device: str
    """Name of the device, as in the setting `compute.device`."""
    tiny: bool
    """True if all sizes are minimal. The steps then test their own code rather than the device."""
    simulated: bool
    """True if the CUDA device is simulated by `tests.cuda`."""
    scratch: Path
    """Temporary folder of the step, which is deleted when the step ends."""
    until: float
    """Deadline, as a value of `time.monotonic()`, by which the step should have ended on its own."""

    @property
    def torch_device(self) -> torch.device:
        return torch.device("cuda:0" if self.device == "cuda" else self.device)

    @property
    def on_cuda(self) -> bool:
        return self.torch_device.type == "cuda"

    @property
    def cuda_skip_reason(self) -> str | None:
        """Reason why CUDA graphs, memory limits and kernels cannot be tested, or None if they can."""
        return None if self.on_cuda else f"{self.device} is not a CUDA device"

    @property
    def figures_skip_reason(self) -> str | None:
        """Reason why measurements of speed and memory would be meaningless, or None if they are meaningful."""
        if self.simulated:
            return "a simulated device has neither a speed nor its own memory"
        return "the sizes of --tiny are too small to measure" if self.tiny else None

    def seconds_left(self) -> float:
        return self.until - time.monotonic()

    def settings(self, work: Values, more: Values | None = None) -> Settings:
        """Return the settings of the workload `work` on the device.

        Args:
            more: settings that override those of `work` and of `--tiny`.

        Raises:
            SettingsError: if the settings are invalid.
        """
        smallest = TINY if self.tiny else {}
        if self.tiny and "task.ways" in work:
            smallest = {**smallest, "task.ways": 3}
        return change(Settings(), {**work, **smallest, "compute.device": self.device, **(more or {})})

    def learner(self, settings: Settings) -> Learner:
        """Set up the experiment that `settings` describe, and return its learner."""
        return Learner(set_up(settings))


Step = Callable[[StepEnvironment], Iterator[Finding]]


def difference(a: torch.Tensor, b: torch.Tensor) -> float:
    """Return the norm of `a - b` relative to the norm of `b`."""
    a, b = (t.detach().to("cpu", torch.float64) for t in (a, b))
    return float(torch.linalg.vector_norm(a - b) / torch.linalg.vector_norm(b).clamp(min=1e-300))


def largest(*values: float) -> float:
    """Return the largest value, or NaN if any value is NaN, which Python's `max` may ignore."""
    return float(torch.tensor(values, dtype=torch.float64).max())
