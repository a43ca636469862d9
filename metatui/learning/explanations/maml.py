"""MAML, explained."""

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
    inner = count(tasks * steps, "gradient")
    return Explanation(
        title="MAML: model-agnostic meta-learning",
        idea=(
            "Learn an initialisation θ that is good after a few gradient steps on a new task, rather than before them. "
            "The loss that is descended on is that of the query set after adaptation, and its gradient goes back "
            "through the inner steps to θ. So θ is moved to where the inner steps help most."
        ),
        rule=("θ'_i = θ − α ∇L_i(D_i; θ)", "θ ← θ − β d/dθ mean_i L_i(D'_i; θ'_i)"),
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
            "    g ← d/dθ of the mean over tasks of L(D'; θ'), through the inner steps",
            *clipped(settings),
            f"    θ ← Adam(θ, g), step size {step_size(settings)}",
        ),
        costs=(
            f"{inner} of support losses ({count(tasks, 'task')} x {count(steps, 'inner step')}).",
            f"{count(tasks, 'gradient')} of query losses, one a task.",
            f"{count(tasks * steps, 'Hessian-vector product')}, one for each inner step of each task: that is the "
            "second order, and each is a pass through the gradient of a support loss.",
            _memory(settings),
        ),
        gradients=tasks * (steps + 1),
        hessian_products=tasks * steps,
        paper=(
            "Chelsea Finn, Pieter Abbeel and Sergey Levine: Model-Agnostic Meta-Learning for Fast Adaptation of Deep "
            "Networks. ICML 2017. Algorithms 2 and 3.",
        ),
    )


def _memory(settings: Settings) -> str:
    match settings.compute.second_order:
        case "unrolled":
            return "Memory: the graph of all inner steps is kept, so it grows with them."
        case "recomputed":
            return (
                "Memory: the graph of one inner step at a time, and the parameters after each; in exchange the "
                "gradient of each inner step is computed twice."
            )
        case "auto":
            return (
                "Memory: the graph of all inner steps where it is small, else that of one at a time and the parameters "
                "after each."
            )
