"""Explanations of algorithms with the user's settings filled in, and the sentences that they share.

Each algorithm explains itself (`Algorithm.explain`). This module does not import torch, so the app can show an
explanation immediately.
"""

from __future__ import annotations

from dataclasses import dataclass

from metatui.config.registry import ALGORITHMS, DATA
from metatui.config.settings import Settings

FINN = (
    "Chelsea Finn, Pieter Abbeel and Sergey Levine: Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks. "
    "ICML 2017."
)
NICHOL = "Alex Nichol, Joshua Achiam and John Schulman: On First-Order Meta-Learning Algorithms. 2018."


@dataclass(frozen=True)
class Explanation:
    """An algorithm described with the current settings."""

    title: str
    idea: str
    rule: tuple[str, ...]
    """Update equations."""
    symbols: str
    """Meaning of the symbols in `rule`."""
    code: tuple[str, ...]
    """Pseudo-code with numbers in place of the symbols; lines are indented."""
    costs: tuple[str, ...]
    """Cost of a meta-step, one sentence each."""
    gradients: int
    """Gradients of a single task's loss per meta-step, not counting those that are only needed for metrics."""
    hessian_products: int
    """Hessian-vector products per meta-step."""
    paper: tuple[str, ...]


def explanation(settings: Settings, algorithm: str | None = None) -> Explanation:
    """Explain the algorithm of `settings`, or another one with the same settings."""
    name = algorithm or settings.algorithm.name
    # Skip validation, because another algorithm may refuse a setting that it does not use.
    group = settings.algorithm.model_copy(update={"name": name})
    return ALGORITHMS[name].explain(settings.model_copy(update={"algorithm": group}))


def gradient_based(
    settings: Settings,
    *,
    title: str,
    idea: str,
    outer_rule: str,
    outer_gradient: str,
    costs: tuple[str, ...],
    hessian_products: int,
    paper: tuple[str, ...],
) -> Explanation:
    """Explain an algorithm that adapts by gradient steps and follows a meta-gradient by Adam."""
    algorithm = settings.algorithm
    tasks = algorithm.meta_batch
    return Explanation(
        title=title,
        idea=idea,
        rule=("θ'_i = θ − α ∇L_i(D_i; θ)", outer_rule),
        symbols=(
            f"α: inner learning rate, {algorithm.inner_lr:g}. β: outer learning rate, {outer_lr(settings)} (Adam). "
            f"D_i, D'_i: support and query set of task i. L: {loss(settings)}."
        ),
        code=(
            *outer_loop(settings),
            f"    for each of {count(tasks, 'sampled task')}:",
            f"        D ← {support(settings, settings.training_shots)}; D' ← {query(settings)}",
            *inner_steps(settings, algorithm.inner_steps, indent=8),
            f"    {outer_gradient}",
            *adam_step(settings),
        ),
        costs=(inner_cost(settings, "support"), f"{count(tasks, 'gradient')} of query losses, one per task.", *costs),
        gradients=inner_gradients(settings) + tasks,
        hessian_products=hessian_products,
        paper=paper,
    )


def initialisation(settings: Settings) -> str:
    return f"θ ← random initialisation of the model, from seed {settings.training.seed}"


def outer_loop(settings: Settings) -> tuple[str, ...]:
    return initialisation(settings), f"repeat {times(settings.training.iterations)}:"


def inner_steps(settings: Settings, steps: int, *, indent: int, batch: int = 0) -> tuple[str, ...]:
    """Return the lines of the inner loop; each step takes the next `batch` examples of D, or all if it is 0."""
    algorithm = settings.algorithm
    data = "B" if batch else "D"
    if algorithm.inner_optimizer == "adam" and algorithm.name != "maml":
        update = f"θ' ← Adam(θ', ∇L({data}; θ')), step size {algorithm.inner_lr:g}, without momentum"
    else:
        update = f"θ' ← θ' − {algorithm.inner_lr:g} ∇L({data}; θ')"
    choose_batch = (f"    B ← the next {count(batch, 'example')} of D, in cycles",) if batch else ()
    lines = ("θ' ← θ", f"repeat {times(steps)}:", *choose_batch, f"    {update}")
    return tuple(" " * indent + line for line in lines)


def adam_step(settings: Settings) -> tuple[str, ...]:
    clip = settings.algorithm.grad_clip
    clipping = (f"    g ← g, scaled down to a norm of {clip:g} if it is longer",) if clip else ()
    return *clipping, f"    θ ← Adam(θ, g), step size {outer_lr(settings)}"


def inner_gradients(settings: Settings) -> int:
    return settings.algorithm.meta_batch * settings.algorithm.inner_steps


def inner_cost(settings: Settings, kind: str) -> str:
    tasks, steps = settings.algorithm.meta_batch, settings.algorithm.inner_steps
    inner_steps = f"{count(tasks, 'task')} x {count(steps, 'inner step')}"
    return f"{count(tasks * steps, 'gradient')} of {kind} losses ({inner_steps})."


def support(settings: Settings, shots: int) -> str:
    if settings.is_classification:
        return f"{count(shots, 'support image')} of each of {settings.task.ways} classes"
    return count(shots, "support point")


def query(settings: Settings) -> str:
    if settings.is_classification:
        return f"{count(settings.task.queries, 'query image')} of each class"
    return count(settings.task.queries, "query point")


def loss(settings: Settings) -> str:
    loss_of = DATA[settings.task.source].loss_of
    name = "mean cross-entropy" if settings.is_classification else "mean squared error"
    return f"{name} of {loss_of}" if loss_of else name


def outer_lr(settings: Settings) -> str:
    algorithm = settings.algorithm
    if algorithm.outer_schedule == "constant":
        return f"{algorithm.outer_lr:g}"
    return f"{algorithm.outer_lr:g}, {algorithm.outer_schedule} to {algorithm.outer_lr_final:g}"


def count(number: int, noun: str) -> str:
    return f"{number:,} {noun if number == 1 else noun + 's'}"


def times(number: int) -> str:
    return "once" if number == 1 else f"{number:,} times"
