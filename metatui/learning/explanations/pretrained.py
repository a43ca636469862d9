"""Pretrained, explained."""

from __future__ import annotations

from metatui.config.settings import Settings
from metatui.learning.explanations.explanation import (
    Explanation,
    clipped,
    count,
    initialisation,
    loss,
    step_size,
    times,
)


def explanation(settings: Settings) -> Explanation:
    algorithm, images = settings.algorithm, settings.is_classification
    each = settings.training_shots + settings.task.queries
    size = algorithm.meta_batch * each * (settings.task.ways if images else 1)
    goal = "tell all training classes apart" if images else "predict the points of all training waves at once"
    return Explanation(
        title="Pretrained: ordinary training on all tasks together, a reference",
        idea=(
            f"One network learns to {goal}, without any adaptation in training. On a held-out task it is then adapted "
            "by the same inner loop as the others."
            + (" Its features are kept, and the head for the task's classes is a fresh one." if images else "")
        ),
        rule=("θ ← θ − β ∇L(B; θ)",),
        symbols=(
            f"β: outer learning rate, {step_size(settings)} (by Adam). B: examples of all training tasks together. "
            f"L: {loss(settings)}."
        ),
        code=(
            initialisation(settings),
            f"repeat {times(settings.training.iterations)}:",
            f"    B ← {count(size, 'example')}: as many as {count(algorithm.meta_batch, 'episode')} would hold",
            "    g ← ∇L(B; θ)",
            *clipped(settings),
            f"    θ ← Adam(θ, g), step size {step_size(settings)}",
        ),
        costs=(
            f"1 gradient of the loss of {count(size, 'example')}.",
            "For the curves alone the meta-batch's tasks are adapted to as well, which trains nothing.",
        ),
        gradients=1,
        hessian_products=0,
        paper=(
            "For sinusoids: Finn, Abbeel and Levine 2017, section 5.1.",
            "For images: Wei-Yu Chen and others: A Closer Look at Few-shot Classification. ICLR 2019. The baseline.",
        ),
    )
