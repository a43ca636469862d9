"""Search for words in texts, for the palette and the help."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

_SPELLED: Final = str.maketrans(
    {
        "+": " plus ", "α": "alpha", "β": "beta", "γ": "gamma", "δ": "delta", "ε": "epsilon", "η": "eta", "θ": "theta",
        "λ": "lambda", "μ": "mu", "π": "pi", "σ": "sigma", "φ": "phi",
    }
)  # fmt: skip
"""Names that replace characters before a search, so that `lambda` finds `λ`, and `maml_plus_plus` finds `maml++`."""


def normalised(text: str) -> str:
    """Return the words of `text` in lower case, with a space before and after each, and Greek letters spelled out."""
    words = re.findall(r"[^\W_]+", text.lower().translate(_SPELLED))
    return f" {' '.join(words)} "


def match(words: Sequence[str], searched: str) -> float:
    """Return how well `words` match the normalised text `searched`, from 0 to 1.

    The result is 0 if a word is missing, and 1 if each word occurs as a whole word.
    """
    if not words or not all(word in searched for word in words):
        return 0.0
    starts = sum(f" {word}" in searched for word in words)
    whole = sum(f" {word} " in searched for word in words)
    return (2 * starts + whole + len(words)) / (4 * len(words))
