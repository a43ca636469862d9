"""FOMAML, explained."""

from __future__ import annotations

from metatui.config.settings import Settings
from metatui.learning.explanations.explanation import (
    Explanation,
    clipped,
    count,
    initialisation,
    inner_update,
    loss,
    query,
    step_size,
    support,
    times,
)


def explanation(settings: Settings) -> Explanation:
    algorithm = settings.algorithm
    tasks, steps = algorithm.meta_batch, algorithm.inner_steps
    return Explanation(
        title="FOMAML: first-order MAML",
        idea=(
            "MAML with the inner gradients taken for constants: then the derivative of the adapted parameters θ' with "
            "respect to θ is the identity, and the meta-gradient is the query gradient where adaptation has got to. "
            "What is left out is how the inner steps themselves would change with θ."
        ),
        rule=("θ'_i = θ − α ∇L_i(D_i; θ)", "θ ← θ − β mean_i ∇L_i(D'_i; θ'_i)"),
        symbols=(
            f"α: inner learning rate, {algorithm.inner_lr:g}. β: outer learning rate, {step_size(settings)} (by Adam). "
            f"D_i, D'_i: support and query set of task i. L: {loss(settings)}."
        ),
        code=(
            initialisation(settings),
            f"repeat {times(settings.training.iterations)}:",
            f"    for each of {count(tasks, 'sampled task')}:",
            f"        D ← {support(settings, settings.training_shots)}; D' ← {query(settings)}",
            "        θ' ← θ",
            f"        repeat {times(steps)}:",
            f"            {inner_update(settings)}",
            "    g ← mean over tasks of ∇L(D'; θ')",
            *clipped(settings),
            f"    θ ← Adam(θ, g), step size {step_size(settings)}",
        ),
        costs=(
            f"{count(tasks * steps, 'gradient')} of support losses "
            f"({count(tasks, 'task')} x {count(steps, 'inner step')}).",
            f"{count(tasks, 'gradient')} of query losses, one a task.",
            "No second derivative, and nothing of the inner steps is kept: memory does not grow with them.",
        ),
        gradients=tasks * (steps + 1),
        hessian_products=0,
        paper=(
            "Chelsea Finn, Pieter Abbeel and Sergey Levine: Model-Agnostic Meta-Learning for Fast Adaptation of Deep "
            "Networks. ICML 2017. Section 5.2.",
            "Alex Nichol, Joshua Achiam and John Schulman: On First-Order Meta-Learning Algorithms. 2018. Section 3.",
        ),
    )
