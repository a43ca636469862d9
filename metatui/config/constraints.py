"""Constraints that involve several settings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from metatui.config.registry import ALGORITHMS, REGISTRIES
from metatui.config.settings import Settings
from metatui.utils.errors import Problem, quote

OMNIGLOT_CHARACTERS: Mapping[str, Mapping[str, int]] = {
    "chapter": {"train": 1200, "val": 200, "test": 223},
    "finn": {"train": 1100, "val": 100, "test": 423},
    "lake": {"train": 832, "val": 132, "test": 659},
}
"""Number of characters in each part of each Omniglot split, without rotations."""

OMNIGLOT_DRAWINGS = 20
"""Drawings of each Omniglot character."""


def violations(settings: Settings) -> list[Problem]:
    """Return one problem for each setting that does not fit the others."""
    return [
        Problem(path, f"{path} is {quote(settings.value(path))}, but must be {requirement}")
        for path, requirement in _violations(settings)
    ]


def _violations(settings: Settings) -> Iterator[tuple[str, str]]:
    """Yield the path of each setting that does not fit the others, and its requirement."""
    algorithm, task, engine = settings.algorithm, settings.task, settings.compute.engine
    if algorithm.name == "maml" and algorithm.inner_optimizer == "adam":
        yield "algorithm.inner_optimizer", "sgd with algorithm.name = 'maml'"
    if engine == "higher" and algorithm.inner_optimizer == "adam":
        yield (
            "compute.engine",
            "another engine with algorithm.inner_optimizer = 'adam', because higher computes Adam differently",
        )
    if engine == "compiled" and not compiles(settings):
        yield (
            "compute.engine",
            "another engine: only meta-steps of small networks are compiled, with task.source = 'sinusoid', "
            "algorithm.name = 'maml', 'fomaml' or 'reptile', algorithm.inner_optimizer = 'sgd' and "
            "algorithm.inner_batch = 0",
        )
    support = settings.training_shots * (task.ways if settings.is_classification else 1)
    if "algorithm.inner_batch" in ALGORITHMS[algorithm.name].uses and algorithm.inner_batch > support:
        yield "algorithm.inner_batch", f"at most {support}, the number of support examples in a training episode"
    if algorithm.outer_schedule != "constant" and algorithm.outer_lr_final > algorithm.outer_lr:
        yield "algorithm.outer_lr_final", f"at most algorithm.outer_lr ({algorithm.outer_lr:g})"
    if task.source == "omniglot":
        yield from _omniglot_violations(settings)
    if task.source == "folder" and not task.folder:
        yield "task.folder", "the path of a folder of images with task.source = 'folder'"
    for registry in REGISTRIES:
        yield from registry[str(settings.effective(registry.setting))].violations(settings)


def _omniglot_violations(settings: Settings) -> Iterator[tuple[str, str]]:
    task = settings.task
    if task.queries >= OMNIGLOT_DRAWINGS:
        yield "task.queries", f"less than {OMNIGLOT_DRAWINGS}, the number of drawings of an Omniglot character"
        return
    most = OMNIGLOT_DRAWINGS - task.queries
    for path, shots in {
        "task.shots": task.shots,
        "evaluation.shots": settings.evaluation.shots,
        "algorithm.train_shots": settings.algorithm.train_shots if settings.algorithm.name == "reptile" else 0,
    }.items():
        if shots > most:
            yield (
                path,
                f"at most {most} with task.queries = {task.queries}, because an Omniglot character has only "
                f"{OMNIGLOT_DRAWINGS} drawings",
            )
    fewest = (4 if task.rotations else 1) * min(OMNIGLOT_CHARACTERS[task.split].values())
    if task.ways > fewest:
        yield "task.ways", f"at most {fewest}, the number of classes in the smallest part of the split"


def compiles(settings: Settings) -> bool:
    """Return whether whole meta-steps can be compiled with these settings."""
    algorithm = settings.algorithm
    return (
        not settings.is_classification
        and algorithm.name in ("maml", "fomaml", "reptile")
        and algorithm.inner_optimizer == "sgd"
        and not (algorithm.name == "reptile" and algorithm.inner_batch)
    )
