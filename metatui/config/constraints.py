"""Settings that are each in range but cannot be together."""

from __future__ import annotations

from collections.abc import Mapping

from metatui.config.settings import Settings
from metatui.utils.errors import Problem

OMNIGLOT_CHARACTERS: Mapping[str, Mapping[str, int]] = {
    "chapter": {"train": 1200, "val": 200, "test": 223},
    "finn": {"train": 1100, "val": 100, "test": 423},
    "lake": {"train": 832, "val": 132, "test": 659},
}
"""Characters in each split of Omniglot, before rotations."""

SMALLEST_POOLED = 16
"""Pixels across the smallest image that can be halved four times, as max-pooling does it."""

OMNIGLOT_DRAWINGS = 20
"""Drawings of each Omniglot character."""


def impossible(settings: Settings) -> list[Problem]:
    """What in `settings` cannot be together, one sentence for each field to change."""
    problems = []
    algorithm, task = settings.algorithm, settings.task
    if algorithm.name == "maml" and algorithm.inner_optimizer == "adam":
        problems.append(
            Problem(
                "algorithm.inner_optimizer",
                "algorithm.inner_optimizer is 'adam', but must be sgd with algorithm.name = 'maml'",
            )
        )
    if settings.compute.engine == "higher" and algorithm.inner_optimizer == "adam":
        problems.append(
            Problem(
                "compute.engine",
                "compute.engine is 'higher', but must be another with algorithm.inner_optimizer = 'adam', which higher "
                "computes otherwise",
            )
        )
    if settings.compute.engine == "compiled" and not compiles(settings):
        problems.append(
            Problem(
                "compute.engine",
                "compute.engine is 'compiled', but must be another: it compiles meta-steps of small networks, so it "
                "needs task.source = 'sinusoid', algorithm.name = 'maml', 'fomaml' or 'reptile', "
                "algorithm.inner_optimizer = 'sgd' and algorithm.inner_batch = 0",
            )
        )
    support = settings.training_shots * (task.ways if settings.is_classification else 1)
    if algorithm.name == "reptile" and algorithm.inner_batch > support:
        problems.append(
            Problem(
                "algorithm.inner_batch",
                f"algorithm.inner_batch is {algorithm.inner_batch}, but a training episode has only "
                f"{support} support examples",
            )
        )
    if algorithm.outer_schedule != "constant" and algorithm.outer_lr_final > algorithm.outer_lr:
        problems.append(
            Problem(
                "algorithm.outer_lr_final",
                f"algorithm.outer_lr_final is {algorithm.outer_lr_final:g}, but must be at most "
                f"algorithm.outer_lr ({algorithm.outer_lr:g})",
            )
        )
    if task.source == "omniglot":
        problems += _impossible_omniglot(settings)
    if task.source == "folder":
        problems += _impossible_folder(settings)
    return problems


def _impossible_omniglot(settings: Settings) -> list[Problem]:
    problems = []
    task = settings.task
    if task.queries >= OMNIGLOT_DRAWINGS:
        sentence = (
            f"task.queries is {task.queries}, but must be less than {OMNIGLOT_DRAWINGS}, the drawings of an Omniglot "
            "character, for there to be any shots"
        )
        return [Problem("task.queries", sentence)]
    shots = {
        "task.shots": task.shots,
        "evaluation.shots": settings.evaluation.shots,
        "algorithm.train_shots": settings.algorithm.train_shots if settings.algorithm.name == "reptile" else 0,
    }
    for field, number in shots.items():
        # What is 0 takes task.shots.
        if number and number + task.queries > OMNIGLOT_DRAWINGS:
            problems.append(
                Problem(
                    field,
                    f"{field} is {number} and task.queries is {task.queries}, but together they must be at most "
                    f"{OMNIGLOT_DRAWINGS}, the drawings of an Omniglot character",
                )
            )
    turns = 4 if task.rotations else 1
    fewest = turns * min(OMNIGLOT_CHARACTERS[task.split].values())
    if task.ways > fewest:
        problems.append(
            Problem(
                "task.ways",
                f"task.ways is {task.ways}, but the smallest part of the split has {fewest} classes",
            )
        )
    return problems


def _impossible_folder(settings: Settings) -> list[Problem]:
    problems = []
    task = settings.task
    if not task.folder:
        sentence = "task.folder is '', but must be the path of a folder of images with task.source = 'folder'"
        problems.append(Problem("task.folder", sentence))
    if task.image_size < SMALLEST_POOLED and settings.model.downsample == "max_pool":
        sentence = (
            f"task.image_size is {task.image_size}, but must be at least {SMALLEST_POOLED} with model.downsample = "
            "'max_pool': the model halves an image four times"
        )
        problems.append(Problem("task.image_size", sentence))
    return problems


def compiles(settings: Settings) -> bool:
    """Whether the meta-step that `settings` describe can be compiled whole."""
    algorithm = settings.algorithm
    return (
        not settings.is_classification
        and algorithm.name in ("maml", "fomaml", "reptile")
        and algorithm.inner_optimizer == "sgd"
        and not (algorithm.name == "reptile" and algorithm.inner_batch)
    )
