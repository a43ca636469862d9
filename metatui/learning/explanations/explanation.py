"""An explanation, and the words that several have in common."""

from __future__ import annotations

from dataclasses import dataclass

from metatui.config.settings import Settings


@dataclass(frozen=True)
class Explanation:
    """An algorithm with the current settings put in. Lines of code keep their indentation."""

    title: str
    idea: str
    rule: tuple[str, ...]
    """The update, in symbols."""
    symbols: str
    """What they stand for."""
    code: tuple[str, ...]
    """Pseudo-code with numbers in place of the symbols."""
    costs: tuple[str, ...]
    """What a meta-step takes, a sentence each."""
    gradients: int
    """Of one task's loss each, in a meta-step; what is computed for the record alone does not count."""
    hessian_products: int
    """Products of a task's Hessian with a vector, in a meta-step."""
    paper: tuple[str, ...]


def count(number: int, one: str, many: str = "") -> str:
    """`1 task`, `5,000 tasks`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def times(number: int) -> str:
    return "once" if number == 1 else f"{number:,} times"


def support(settings: Settings, shots: int) -> str:
    if settings.is_classification:
        return f"{count(shots, 'support image')} of each of {settings.task.ways} classes"
    return count(shots, "support point")


def query(settings: Settings) -> str:
    if settings.is_classification:
        return f"{count(settings.task.queries, 'query image')} of each class"
    return count(settings.task.queries, "query point")


def loss(settings: Settings) -> str:
    """What L is."""
    return "mean cross-entropy" if settings.is_classification else "mean squared error"


def inner_update(settings: Settings, given: str = "D") -> str:
    """The line of an inner step."""
    algorithm = settings.algorithm
    if algorithm.inner_optimizer == "adam" and algorithm.name != "maml":
        return f"θ' ← Adam(θ', ∇L({given}; θ')), step size {algorithm.inner_lr:g}, without momentum"
    return f"θ' ← θ' − {algorithm.inner_lr:g} ∇L({given}; θ')"


def step_size(settings: Settings) -> str:
    """Of the outer update, with its schedule."""
    algorithm = settings.algorithm
    if algorithm.outer_schedule == "constant":
        return f"{algorithm.outer_lr:g}"
    return f"{algorithm.outer_lr:g}, {algorithm.outer_schedule} to {algorithm.outer_lr_final:g}"


def clipped(settings: Settings) -> tuple[str, ...]:
    """The line that clips the meta-gradient, where one does."""
    clip = settings.algorithm.grad_clip
    return (f"    g ← g, scaled down to a norm of {clip:g} where it is longer",) if clip else ()


def initialisation(settings: Settings) -> str:
    return f"θ ← random initialisation of the model, from seed {settings.training.seed}"
