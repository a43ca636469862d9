"""The base class for declarations of data sets, checks of their sizes, and warnings about too few tasks or classes."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from metatui.config.registry import DATA, Component, Kind
from metatui.utils.text import format_count

if TYPE_CHECKING:
    import torch

    from metatui.config.settings import Settings
    from metatui.events import Evaluation, Pool
    from metatui.learning.data.episodes import TaskSource

SPLIT_NAMES: Mapping[str, str] = {"train": "training", "val": "validation", "test": "test"}
"""The word for each split in messages, as in `3 validation tasks`."""


class DataSet(Component):
    """Declaration of a data set. The tasks themselves come from the `TaskSource` that `load` returns."""

    registry = DATA
    kind: ClassVar[Kind]
    """The kind of tasks: regression, or N-way K-shot classification of images."""
    loss_of: ClassVar[str] = ""
    """Name of the targets in descriptions of the loss, such as `standardised targets`; empty if the targets are not
    transformed."""

    @classmethod
    @abstractmethod
    def load(cls, settings: Settings, device: torch.device) -> TaskSource:
        """Return the source of tasks selected by `settings`, with its data on `device`.

        Raises:
            BadInput: if data is missing or damaged, or there is not enough of it for the episodes.
        """

    @classmethod
    def description(cls) -> str:
        """Return the first line of the docstring, which describes the tasks; if there is no docstring, return ''."""
        return (cls.__doc__ or "").strip().partition("\n")[0]

    @classmethod
    def missing(cls) -> str:
        """Return the command that provides the data, or an empty string if the data is already on this machine."""
        return ""


def command_unless_exists(path: Path, command: str) -> str:
    """Return `command`, which creates the cache `path`, or an empty string if the cache already exists."""
    return "" if os.path.exists(path) else command  # Path.exists raises if a folder may not be searched


def size_violations(
    settings: Settings, *, classes: Mapping[str, int], images: int, of_class: str, noun: str = "images"
) -> Iterator[tuple[str, str]]:
    """Yield each setting for which the data set has too few classes or images, and the allowed values of the setting.

    Args:
        classes: number of classes in each split.
        images: number of images of each class.
        of_class: the words for one class in messages.
        noun: the word for images in messages.
    """
    task = settings.task
    if task.queries >= images:
        yield "task.queries", f"less than {images}, the number of {noun} of {of_class}"
        return
    most = images - task.queries
    for path, shots in {"task.shots": task.shots, **shots_of_splits(settings)}.items():
        if shots > most:
            yield (
                path,
                f"at most {most} if task.queries = {task.queries}, because {of_class} has only {images} {noun}",
            )
    fewest = min(classes.values())
    if task.ways > fewest:
        yield "task.ways", f"at most {fewest}, the number of classes in the smallest of train, val and test"
    if settings.ways_in_training[1] > max(task.ways, classes["train"]):
        yield "task.ways_range", f"at most {classes['train']}, the number of training classes"


def shots_of_splits(settings: Settings) -> dict[str, int]:
    """Return the largest numbers of shots in training and held-out tasks, keyed by the settings that determine them.

    The result has one item if the same setting determines both numbers."""
    if settings.task.shots_range:
        training = "task.shots_range"
    else:
        training = "task.shots" if settings.training_shots == settings.task.shots else "algorithm.train_shots"
    held_out = "evaluation.shots" if settings.evaluation.shots else "task.shots"
    return {training: settings.shots_in_training[1], held_out: settings.evaluation_shots}


def caveat(evaluation: Evaluation) -> str:
    """Return a clause that warns if an evaluation uses too few different tasks or classes; otherwise, return ''."""
    return few_tasks(evaluation.pool, evaluation.split, evaluation.tasks, evaluation.ways)


def few_tasks(pool: Pool | None, split: str, tasks: int, ways: int | None) -> str:
    """Return a clause that says for which tasks the interval of a result holds.

    Args:
        pool: what the tasks are drawn from, if known.
        tasks: number of tasks that are evaluated.
        ways: number of classes of a task; None for regression.

    Returns:
        The clause, or '' if there are at least as many different tasks as evaluated tasks.
    """
    if pool is None or pool.tasks >= tasks:
        return ""
    drawn = f"the {tasks:,} {SPLIT_NAMES.get(split, split)} tasks are drawn from only"
    if ways is None:
        return (
            f"{drawn} {format_count(pool.tasks, 'task')} in the data, each time with different examples: 95 % "
            "intervals and p-values apply to these tasks, not to new tasks"
        )
    sets = f", which form {pool.tasks:,} different sets of {format_count(ways, 'class')}" if pool.tasks > 1 else ""
    return (
        f"{drawn} {format_count(pool.size, 'class')}{sets}: 95 % intervals and p-values apply to new tasks of these "
        "classes, not to new classes"
    )
