"""Scratch, explained."""

from __future__ import annotations

from metatui.config.settings import Settings
from metatui.learning.explanations.explanation import (
    Explanation,
    count,
    initialisation,
    inner_update,
    loss,
    support,
    times,
)


def explanation(settings: Settings) -> Explanation:
    steps = settings.evaluation.inner_steps
    return Explanation(
        title="Scratch: no meta-learning, a reference",
        idea=(
            "The random initialisation, adapted to each held-out task by the same inner loop as the others. What an "
            "algorithm gains over it is what was learned before the task was seen."
        ),
        rule=("θ'_i = θ − α ∇L_i(D_i; θ)",),
        symbols=(
            f"α: inner learning rate, {settings.algorithm.inner_lr:g}. D_i: support set of held-out task i. "
            f"L: {loss(settings)}."
        ),
        code=(
            initialisation(settings),
            "for each held-out task:",
            f"    D ← {support(settings, settings.evaluation_shots)}",
            "    θ' ← θ",
            f"    repeat {times(steps)}:",
            f"        {inner_update(settings)}",
        ),
        costs=(
            "No meta-step: there is no outer loop.",
            f"An evaluation takes {count(steps, 'gradient')} a task, as for every other algorithm.",
        ),
        gradients=0,
        hessian_products=0,
        paper=("The comparison 'random initialisation' of Finn, Abbeel and Levine 2017, section 5.",),
    )
