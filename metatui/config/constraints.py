"""Constraints that involve several settings."""

from __future__ import annotations

from collections.abc import Iterator

from metatui.config.registry import ALGORITHMS, MODELS, REGISTRIES
from metatui.config.settings import Settings
from metatui.utils.errors import Problem, quote


def violations(settings: Settings) -> list[Problem]:
    """Return one problem for each setting that is incompatible with other settings."""
    return [
        Problem(path, f"{path} is {quote(settings.value(path))}, but must be {requirement}")
        for path, requirement in _violations(settings)
    ]


def _violations(settings: Settings) -> Iterator[tuple[str, str]]:
    """Yield the path of each setting that is incompatible with other settings, and the requirement that it violates."""
    algorithm, engine = settings.algorithm, settings.compute.engine
    if engine == "higher" and not has_plain_steps(settings):
        yield "compute.engine", "another engine: the engine higher supports only plain SGD in the inner loop"
    if engine == "compiled" and not compiles(settings):
        names = " or ".join(f"'{component.name}'" for component in ALGORITHMS.components() if component.compiles)
        yield (
            "compute.engine",
            "another engine: compiled meta-steps need a regression task, a small network (a perceptron), "
            f"algorithm.name = {names}, no task.shots_range, algorithm.inner_batch = 0, and plain SGD on all "
            "parameters in the inner loop",
        )
    if algorithm.outer_schedule != "constant" and algorithm.outer_lr_final > algorithm.outer_lr:
        yield "algorithm.outer_lr_final", f"at most algorithm.outer_lr ({algorithm.outer_lr:g})"
    yield from _range_violations(settings)
    for registry in REGISTRIES:
        yield from registry[str(settings.effective(registry.setting))].violations(settings)


def _range_violations(settings: Settings) -> Iterator[tuple[str, str]]:
    """Yield a violation for each invalid range of ways or shots in training."""
    task = settings.task
    low, high = settings.ways_in_training
    if task.ways_range and not 2 <= low <= high <= 100:
        yield "task.ways_range", "empty, or a range within 2-100, such as 3-7, with the smaller number first"
    low, high = settings.shots_in_training
    if task.shots_range and not 1 <= low <= high <= 1000:
        yield "task.shots_range", "empty, or a range within 1-1,000, such as 1-5, with the smaller number first"
    if task.shots_range and settings.training_shots != task.shots:
        yield "task.shots_range", f"empty if algorithm.train_shots = {settings.training_shots}"


def compiles(settings: Settings) -> bool:
    """Return whether whole meta-steps can be compiled with these settings."""
    algorithm, component = settings.algorithm, ALGORITHMS[settings.algorithm.name]
    return (
        not settings.is_classification
        and MODELS[settings.model_name].compiles
        and component.compiles
        and has_plain_steps(settings)
        and algorithm.adapt == "all"
        and not algorithm.freeze
        and not settings.task.shots_range
        and not (algorithm.inner_batch and "algorithm.inner_batch" in component.uses)
    )


def has_plain_steps(settings: Settings) -> bool:
    """Return whether inner steps are plain SGD, without momentum, weight decay or clipping."""
    algorithm = settings.algorithm
    return algorithm.inner_optimizer == "sgd" and not (algorithm.inner_weight_decay or algorithm.inner_clip)
