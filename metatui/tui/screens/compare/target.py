"""A target as it is typed."""

from __future__ import annotations

from metatui.utils.errors import BadInput, quote


def target_of(text: str) -> float | None:
    """An accuracy (a fraction, or with %) or a loss; None where nothing is typed. Raises BadInput."""
    if not text:
        return None
    try:
        return float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        raise BadInput(f"target is {quote(text)}, but must be a number, such as 0.95, 95% or a loss") from None
