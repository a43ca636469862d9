"""BOIL: body only update in the inner loop.

Jaehoon Oh, Hyungjun Yoo, ChangHwan Kim and Se-Young Yun, "BOIL: Towards Representation Change for Few-shot Learning",
ICLR 2021, section 3.1: the inner loop changes only the body (the learning rate of the head is 0), in training and on
held-out tasks. The outer loop learns the whole network.

The head has a random initialisation and no inner gradient, so the body must move the features of a task to where the
fixed head separates them. Published results depend strongly on the hyper-parameters: LibFewShot could not reproduce the
results of the authors' code (inner learning rate 0.5, 1 inner step, 4 tasks per meta-step, Adam with a learning rate of
0.001).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from metatui.config.registry import Usual
from metatui.learning.algorithms.maml import MAML
from metatui.learning.explanations import Explanation, gradient_based, inner_gradients
from metatui.utils.text import format_count

if TYPE_CHECKING:
    from metatui.config.settings import Settings


class BOIL(MAML):
    """MAML whose inner loop changes all parameters except those of the head."""

    name = "boil"
    title = "BOIL"
    adapts = "body"
    uses = MAML.uses - {"algorithm.adapt", "compute.second_order"}
    compiles = False
    published_batch_norm = None
    usual: ClassVar[Usual] = MAML.usual | {
        "classification": MAML.usual["classification"] | {"algorithm.inner_lr": 0.5, "evaluation.inner_steps": 1},
    }

    @classmethod
    def explain(cls, settings: Settings) -> Explanation:
        return gradient_based(
            settings,
            title="BOIL: body only update in the inner loop",
            idea=(
                "MAML whose inner loop changes only the body, that is, the layers before the last one. The last layer, "
                "the head, is learned in the outer loop and stays the same in every task. So the inner loop must move "
                "the features of a task to where the fixed head separates them: it changes features instead of reusing "
                "them, the opposite of ANIL. FOMAML with algorithm.adapt = body is the first-order variant."
            ),
            inner_rule="φ'_i = φ − α ∇_φ L_i(D_i; φ, w)",
            outer_rule="θ ← θ − β d/dθ mean_i L_i(D'_i; φ'_i, w)",
            symbols="θ = (φ, w): parameters of the body, φ, and of the head, w.",
            start="φ' ← φ",
            adapted="φ'",
            inner_loss="L(D; φ', w)",
            outer_gradient="g ← d/dθ of the mean over tasks of L(D'; φ', w), through the inner steps",
            costs=(
                f"{format_count(inner_gradients(settings), 'Hessian-vector product')}, one for each inner step of each "
                "task, as in MAML.",
                "Memory grows with the number of inner steps, because the graph of every inner step is kept.",
            ),
            hessian_products=inner_gradients(settings),
            paper=(
                "Jaehoon Oh, Hyungjun Yoo, ChangHwan Kim and Se-Young Yun: BOIL: Towards Representation Change for "
                "Few-shot Learning. ICLR 2021. Section 3.1.",
            ),
        )
