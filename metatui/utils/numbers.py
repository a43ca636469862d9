"""Formatting of means and intervals."""

from __future__ import annotations

import math
import re

LARGE = 1e6
"""Smallest magnitude of numbers that are written with an exponent."""


def interval(mean: float, half: float, *, decimals: int | None = None) -> str:
    """Format a mean and the half-width of its interval: `1.21 ± 0.30`, `50 ± 12`, `4.41e+35 ± 1.0e+34`.

    Args:
        mean: the mean. If it is not finite, the result is `diverged`.
        half: the half-width. If it is not finite, for example because there is only one value, it is written as
            `± unknown`.
        decimals: decimal places of both numbers. If None, the half-width has two significant digits, and the mean has
            the same number of decimal places as the half-width. With an exponent, the mean has from three to seven
            digits.
    """
    if not math.isfinite(mean):
        return "diverged"
    if not math.isfinite(half):
        return f"{mean:.4g} ± unknown"
    if max(abs(mean), half) >= LARGE:
        return _with_exponents(mean, half)
    if decimals is None:
        if half <= 0:
            return f"{mean:.4g} ± {half:.2g}"
        decimals = 1 - _exponent(f"{half:.1e}")
        if decimals > 5:
            return _with_exponents(mean, half)
    decimals = max(0, decimals)
    return f"{mean:.{decimals}f} ± {half:.{decimals}f}"


def _with_exponents(mean: float, half: float) -> str:
    digits = _exponent(f"{mean:e}") - _exponent(f"{half:.1e}") + 1 if half else 2
    return f"{mean:.{min(max(2, digits), 6)}e} ± {half:.1e}"


def _exponent(number: str) -> int:
    return int(number.split("e")[1])


def with_minus(text: str) -> str:
    """Replace the hyphen at the start of a negative number by a minus sign, for text that no program reads."""
    return re.sub(r"^-(?=\d)", "−", text)


def format_diverged(count: int, tasks: int) -> str:
    """Format the number of diverged tasks: `565 of 600 tasks diverged`."""
    return f"{count:,} of {tasks:,} tasks diverged"
