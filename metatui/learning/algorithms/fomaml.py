"""FOMAML: first-order MAML.

Finn, Abbeel and Levine 2017, section 5.2: the derivative of the adapted parameters θ'_i with respect to the
initialisation θ is approximated by the identity. The meta-gradient is then the query gradient at the adapted
parameters, ∇_θ'_i L_i(f_θ'_i), without second derivatives.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from metatui.learning.algorithms.maml import MAML
from metatui.learning.explanations import FINN, NICHOL, Explanation, gradient_based

if TYPE_CHECKING:
    from metatui.config.settings import Settings


class FOMAML(MAML):
    """MAML with the inner gradients treated as constants."""

    name = "fomaml"
    title = "FOMAML"
    uses = MAML.uses - {"compute.second_order"}
    second_order = False

    @classmethod
    def explain(cls, settings: Settings) -> Explanation:
        return gradient_based(
            settings,
            title="FOMAML: first-order MAML",
            idea=(
                "MAML with the inner gradients treated as constants. The derivative of the adapted parameters θ' with "
                "respect to θ is then the identity, and the meta-gradient is the query gradient at θ'. This ignores "
                "how the inner steps themselves change with θ."
            ),
            outer_rule="θ ← θ − β mean_i ∇L_i(D'_i; θ'_i)",
            outer_gradient="g ← mean over tasks of ∇L(D'; θ')",
            costs=("No second derivatives. Memory does not grow with the number of inner steps.",),
            paper=(f"{FINN} Section 5.2.", f"{NICHOL} Section 3."),
        )
