"""What is measured: two standard tasks, by every algorithm and every engine that can do it. No torch here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from metatui.config.fields import FIELDS, change
from metatui.config.settings import Scalar, Settings
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
"""Algorithms whose meta-steps can be CUDA graphs."""

CAPTURED_ENGINES = frozenset({"batched", "unfolded", "loop"})
"""Engines whose meta-steps can be CUDA graphs: `higher` waits for the device, and the others are for the CPU."""

OF_CONVOLUTIONS = frozenset({"unfolded", "native"})
"""Engines that are another one where nothing convolves."""


@dataclass(frozen=True)
class Workload:
    """A meta-step of an algorithm on a task; with an engine it is a cell of the table."""

    task: str
    algorithm: str
    inner_steps: int

    def settings(self, engine: str, device: str = "auto", *, captured: bool = False) -> Settings:
        """Return the experiment whose meta-step this is.

        Args:
            captured: whether meta-steps are CUDA graphs where the device has them.

        Raises:
            SettingsError: the engine cannot compute it.
        """
        named: Mapping[str, Scalar] = {
            "algorithm.name": self.algorithm, "algorithm.inner_steps": self.inner_steps,
            "compute.engine": engine, "compute.device": device, "compute.cuda_graphs": captured,
        }  # fmt: skip
        return change(Settings(), {**_TASKS[self.task], **named})

    @property
    def engines(self) -> tuple[str, ...]:
        """The engines that can compute it, as the settings have it, each in its own way."""

        def can(engine: str) -> bool:
            try:
                return self.settings(engine).is_classification or engine not in OF_CONVOLUTIONS
            except SettingsError:
                return False

        return tuple(engine for engine in ENGINES if can(engine))


@dataclass(frozen=True)
class Cell:
    """One thing to measure."""

    work: Workload
    engine: str
    captured: bool = False
    """Whether each meta-step is one CUDA graph, as in training on CUDA, rather than many kernel launches."""


def works(tasks: Sequence[str] = TASKS, algorithms: Sequence[str] = ALGORITHMS) -> Iterator[Workload]:
    """All works of `tasks` and `algorithms`, in the order of the table."""
    for task in TASKS:
        for algorithm in ALGORITHMS:
            if task in tasks and algorithm in algorithms:
                yield from (Workload(task, algorithm, steps) for steps in INNER_STEPS)


def cells(
    tasks: Sequence[str] = TASKS, algorithms: Sequence[str] = ALGORITHMS, engines: Sequence[str] = ENGINES
) -> list[Cell]:
    """All cells of these tasks, algorithms and engines, in the order of the table."""
    return [Cell(work, engine) for work in works(tasks, algorithms) for engine in work.engines if engine in engines]


def with_captured(cells: Sequence[Cell]) -> list[Cell]:
    """Add captured meta-steps after the eager ones of the same engine, where they can be captured."""
    return [
        each
        for cell in cells
        for each in (cell, replace(cell, captured=True))
        if not each.captured or (cell.engine in CAPTURED_ENGINES and cell.work.algorithm in CAPTURED_ALGORITHMS)
    ]


def described(task: str) -> str:
    """A task as a person says it: the network, the meta-batch and the episodes."""
    s = Workload(task, "maml", 1).settings("loop")
    many = f"{s.algorithm.meta_batch} tasks"
    if s.is_classification:
        ways = f"{s.task.ways}-way {s.task.shots}-shot, {s.task.queries} queries a class"
        return f"conv4-{s.model.filters} on glyphs, {many}, {ways}"
    return f"MLP {'-'.join(map(str, (1, *s.model.hidden, 1)))}, {many}, K = {s.task.shots}, Q = {s.task.queries}"
