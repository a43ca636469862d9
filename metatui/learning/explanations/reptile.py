"""Reptile, explained."""

from __future__ import annotations

from metatui.config.settings import Settings
from metatui.learning.explanations.explanation import (
    Explanation,
    count,
    initialisation,
    inner_update,
    loss,
    step_size,
    support,
    times,
)


def explanation(settings: Settings) -> Explanation:
    algorithm = settings.algorithm
    tasks, steps, batch = algorithm.meta_batch, algorithm.inner_steps, algorithm.inner_batch
    given = f"B ← the next {count(batch, 'example')} of D, which is gone round" if batch else ""
    return Explanation(
        title="Reptile",
        idea=(
            "Train on a task for a while, then move the initialisation a part of the way to where that ended. Over "
            "many tasks θ comes near all of their solutions. With several inner steps this also moves it to where "
            "the steps of one task agree with each other, though no second derivative and no query set is ever used."
        ),
        rule=("W_i = k steps from θ on L_i(D_i)", "θ ← θ + ε mean_i (W_i − θ)"),
        symbols=(
            f"k: inner steps, {steps}, at rate {algorithm.inner_lr:g}. ε: the meta-step size (outer learning rate), "
            f"{step_size(settings)}. D_i: training examples of task i. L: {loss(settings)}."
        ),
        code=(
            initialisation(settings),
            f"repeat {times(settings.training.iterations)}:",
            f"    for each of {count(tasks, 'sampled task')}:",
            f"        D ← {support(settings, settings.training_shots)}",
            "        θ' ← θ",
            f"        repeat {times(steps)}:",
            *((f"            {given}",) if given else ()),
            f"            {inner_update(settings, 'B' if given else 'D')}",
            f"    θ ← θ + ε (mean over tasks of θ' − θ), ε = {step_size(settings)}",
        ),
        costs=(
            f"{count(tasks * steps, 'gradient')} of training losses "
            f"({count(tasks, 'task')} x {count(steps, 'inner step')}).",
            "No second derivative and no gradient of a query loss; that loss is computed for the curves alone.",
            "Memory does not grow with the inner steps.",
        ),
        gradients=tasks * steps,
        hessian_products=0,
        paper=(
            "Alex Nichol, Joshua Achiam and John Schulman: On First-Order Meta-Learning Algorithms. 2018. "
            "Algorithm 2, the batched version.",
        ),
    )
