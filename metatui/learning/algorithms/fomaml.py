"""FOMAML: first-order MAML.

Finn, Abbeel and Levine 2017, section 5.2: the derivative of θ'_i with respect to θ is taken as the identity. The
meta-gradient is then the query gradient at the adapted parameters, ∇_θ'_i L_i(f_θ'_i), without second derivatives.
"""

from __future__ import annotations

from metatui.learning.algorithms.maml import MAML


class FOMAML(MAML):
    """MAML with the inner gradients treated as constants."""

    first_order = True
