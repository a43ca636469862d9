"""Workloads of a benchmark: two standard tasks with every algorithm and engine. This module does not import torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from metatui.config.declarations import Scalar
from metatui.config.fields import FIELDS, change
from metatui.config.settings import Settings
from metatui.utils.errors import SettingsError

_TASKS: Mapping[str, Mapping[str, Scalar]] = {
    "sinusoid": {
        "task.source": "sinusoid", "task.shots": 10, "task.queries": 10, "model.hidden": (40, 40),
        "algorithm.meta_batch": 25,
    },
    "images": {
        "task.source": "glyphs", "task.ways": 5, "task.shots": 1, "task.queries": 15, "model.filters": 64,
        "model.downsample": "max_pool", "algorithm.meta_batch": 4,
    },
}  # fmt: skip

TASKS = tuple(_TASKS)
ALGORITHMS = ("maml", "fomaml", "reptile")
INNER_STEPS = (1, 5)
ENGINES = tuple(name for name in FIELDS["compute.engine"].choices if name != "auto")

CAPTURED_ALGORITHMS = frozenset({"maml", "fomaml"})
"""Algorithms whose meta-steps can be captured as CUDA graphs."""

CAPTURED_ENGINES = frozenset({"batched", "unfolded", "loop"})
"""Engines whose meta-steps can be captured as CUDA graphs. `higher` waits for the device within a meta-step, and all
other engines run only on a CPU."""

OF_CONVOLUTIONS = frozenset({"unfolded", "native"})
"""Engines that differ from other engines only in their convolutions."""


@dataclass(frozen=True)
class Workload:
    """A meta-step of an algorithm on a task."""

    task: str
    algorithm: str
    inner_steps: int

    def settings(self, engine: str, device: str = "auto", *, captured: bool = False) -> Settings:
        """Return the settings of an experiment with this meta-step.

        Args:
            captured: whether meta-steps are captured as CUDA graphs, on a device that supports them.

        Raises:
            SettingsError: if the engine cannot compute the workload.
        """
        values: Mapping[str, Scalar] = {
            "algorithm.name": self.algorithm, "algorithm.inner_steps": self.inner_steps,
            "compute.engine": engine, "compute.device": device, "compute.cuda_graphs": captured,
        }  # fmt: skip
        return change(Settings(), {**_TASKS[self.task], **values})

    @property
    def engines(self) -> tuple[str, ...]:
        """The engines that can run the workload, except those that would run it in the same way as another engine."""

        def can(engine: str) -> bool:
            try:
                return self.settings(engine).is_classification or engine not in OF_CONVOLUTIONS
            except SettingsError:
                return False

        return tuple(engine for engine in ENGINES if can(engine))


@dataclass(frozen=True)
class Cell:
    """One cell of the benchmark table: a workload and an engine."""

    work: Workload
    engine: str
    captured: bool = False
    """True if each meta-step is one CUDA graph, as in training on CUDA."""


def workloads(tasks: Sequence[str] = TASKS, algorithms: Sequence[str] = ALGORITHMS) -> Iterator[Workload]:
    """Yield the workloads of these tasks and algorithms, in the order of the table."""
    for task in TASKS:
        for algorithm in ALGORITHMS:
            if task in tasks and algorithm in algorithms:
                yield from (Workload(task, algorithm, steps) for steps in INNER_STEPS)


def cells(
    tasks: Sequence[str] = TASKS, algorithms: Sequence[str] = ALGORITHMS, engines: Sequence[str] = ENGINES
) -> list[Cell]:
    """Return the cells of these tasks, algorithms and engines, in the order of the table."""
    return [Cell(work, engine) for work in workloads(tasks, algorithms) for engine in work.engines if engine in engines]


def with_captured(cells: Sequence[Cell]) -> list[Cell]:
    """Add a cell with CUDA graphs after each cell whose meta-steps can be captured as CUDA graphs."""
    both = []
    for cell in cells:
        both.append(cell)
        if cell.engine in CAPTURED_ENGINES and cell.work.algorithm in CAPTURED_ALGORITHMS:
            both.append(replace(cell, captured=True))
    return both


def describe_task(task: str) -> str:
    """Return a description of a task's network, meta-batch and episodes."""
    s = Workload(task, "maml", 1).settings("loop")
    meta_batch = f"{s.algorithm.meta_batch} tasks"
    if s.is_classification:
        ways = f"{s.task.ways}-way {s.task.shots}-shot, {s.task.queries} queries per class"
        return f"conv4-{s.model.filters} on glyphs, {meta_batch}, {ways}"
    return f"MLP {'-'.join(map(str, (1, *s.model.hidden, 1)))}, {meta_batch}, K = {s.task.shots}, Q = {s.task.queries}"
