"""ANIL: almost no inner loop.

Aniruddh Raghu, Maithra Raghu, Samy Bengio and Oriol Vinyals, "Rapid Learning or Feature Reuse? Towards Understanding
the Effectiveness of MAML", ICLR 2020, section 4 and equation 2: the inner loop changes only the head, in training and
on held-out tasks. The outer loop learns the whole network.

The support set and the query set pass through the body separately, so that their batch statistics stay separate.
LibFewShot passes both sets through the body in one batch, so that they share batch statistics.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from metatui.config.registry import Usual
from metatui.learning.algorithms.maml import MAML
from metatui.learning.explanations import Explanation, gradient_based, inner_gradients
from metatui.utils.text import format_count

if TYPE_CHECKING:
    from metatui.config.settings import Settings


class ANIL(MAML):
    """MAML whose inner loop changes only the head."""

    name = "anil"
    title = "ANIL"
    adapts = "head"
    uses = MAML.uses - {"algorithm.adapt", "compute.second_order"}
    compiles = False
    published_batch_norm = None
    usual: ClassVar[Usual] = {
        kind: values | {"algorithm.inner_steps": 5, "evaluation.inner_steps": 10} for kind, values in MAML.usual.items()
    }

    @classmethod
    def explain(cls, settings: Settings) -> Explanation:
        return gradient_based(
            settings,
            title="ANIL: almost no inner loop",
            idea=(
                "MAML whose inner loop changes only the last layer of the network, the head. The layers before it, the "
                "body, are learned in the outer loop and keep their parameters in every task. Raghu et al. find that "
                "MAML mostly reuses features instead of changing them, so little accuracy is lost. FOMAML with "
                "algorithm.adapt = head is the first-order variant."
            ),
            inner_rule="w'_i = w − α ∇_w L_i(D_i; φ, w)",
            outer_rule="θ ← θ − β d/dθ mean_i L_i(D'_i; φ, w'_i)",
            symbols="θ = (φ, w): parameters of the body, φ, and of the head, w.",
            before=("Z ← features of D, computed once by the body with φ",),
            start="w' ← w",
            adapted="w'",
            inner_loss="L(Z; w')",
            outer_gradient="g ← d/dθ of the mean over tasks of L(D'; φ, w'), through the inner steps",
            costs=(
                f"{format_count(inner_gradients(settings), 'Hessian-vector product')} for the parameters of the head, "
                "one for each inner step of each task.",
                "The body computes the features of each support and query set once, and is differentiated once. Inner "
                "steps are steps of a linear model.",
                "One graph of the body is kept in memory for each support and query set; the graph of the inner "
                "steps is small.",
            ),
            hessian_products=inner_gradients(settings),
            paper=(
                "Aniruddh Raghu, Maithra Raghu, Samy Bengio and Oriol Vinyals: Rapid Learning or Feature Reuse? "
                "Towards Understanding the Effectiveness of MAML. ICLR 2020. Section 4.",
            ),
        )
