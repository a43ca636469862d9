"""Scratch: a baseline without meta-learning.

The random initialisation is adapted to each held-out task with the same inner loop as in the other algorithms. The
advantage of another algorithm over Scratch is due to what that algorithm learned from the training tasks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from metatui.learning.algorithm import INNER_STEPS, GradientBased
from metatui.learning.explanations import Explanation, held_out_support, initialisation, inner_steps, loss
from metatui.utils.text import format_count

if TYPE_CHECKING:
    from metatui.config.settings import Settings


class Scratch(GradientBased):
    """The random initialisation, without any training."""

    name = "scratch"
    title = "scratch"
    uses = INNER_STEPS | {"algorithm.adapt", "algorithm.freeze"}  # inner steps do not change frozen parameters
    trains = False
    timed = None

    @classmethod
    def explain(cls, settings: Settings) -> Explanation:
        steps = settings.evaluation.inner_steps
        return Explanation(
            title="Scratch: a baseline without meta-learning",
            idea=(
                "The random initialisation, adapted to each held-out task with the same inner loop as the other "
                "algorithms. The advantage of another algorithm over Scratch is due to what that algorithm learned "
                "from the training tasks."
            ),
            rule=("θ'_i = θ − α ∇L_i(D_i; θ)",),
            symbols=(
                f"α: inner learning rate, {settings.algorithm.inner_lr:g}. D_i: support set of held-out task i. "
                f"L: {loss(settings)}."
            ),
            code=(
                initialisation(settings),
                "for each held-out task:",
                f"    D ← {held_out_support(settings)}",
                *inner_steps(settings, steps, indent=4),
            ),
            costs=(
                "No meta-step: there is no outer loop.",
                f"An evaluation computes {format_count(steps, 'gradient')} per task, as for every other algorithm that "
                "takes gradient steps.",
            ),
            paper=("The 'random initialisation' baseline of Finn, Abbeel and Levine 2017, section 5.",),
        )
