"""Constraints that involve several settings."""

from __future__ import annotations

from collections.abc import Iterator

from metatui.config.registry import ALGORITHMS, REGISTRIES
from metatui.config.settings import Settings
from metatui.utils.errors import Problem, quote


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
            "another engine: only meta-steps of small networks are compiled, with a regression task, "
            "algorithm.name = 'maml', 'fomaml' or 'reptile', algorithm.inner_optimizer = 'sgd' and "
            "algorithm.inner_batch = 0",
        )
    support = settings.training_shots * (task.ways if settings.is_classification else 1)
    if "algorithm.inner_batch" in ALGORITHMS[algorithm.name].uses and algorithm.inner_batch > support:
        yield "algorithm.inner_batch", f"at most {support}, the number of support examples in a training episode"
    if algorithm.outer_schedule != "constant" and algorithm.outer_lr_final > algorithm.outer_lr:
        yield "algorithm.outer_lr_final", f"at most algorithm.outer_lr ({algorithm.outer_lr:g})"
    for registry in REGISTRIES:
        yield from registry[str(settings.effective(registry.setting))].violations(settings)


def compiles(settings: Settings) -> bool:
    """Return whether whole meta-steps can be compiled with these settings."""
    algorithm = settings.algorithm
    return (
        not settings.is_classification
        and algorithm.name in ("maml", "fomaml", "reptile")
        and algorithm.inner_optimizer == "sgd"
        and not (algorithm.name == "reptile" and algorithm.inner_batch)
    )
