"""FOMAML: first-order MAML.

Finn, Abbeel and Levine 2017, section 5.2: the derivative of θ' with respect to θ is taken as the identity, so the
meta-gradient is the query gradient at the adapted parameters, ∇_θ' L_i(f_θ'_i), and no second derivative is needed.
"""

from __future__ import annotations

from metatui.learning.algorithms.maml import MAML


class FOMAML(MAML):
    """MAML with the inner gradients as constants."""

    first_order = True
