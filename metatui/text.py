"""Text from outside (file names, titles, messages of other programs), made safe to show, and intervals as text."""

from __future__ import annotations

import math


def plain(text: str, *, limit: int = 200) -> str:
    """`text` on one line, without control characters or lone surrogates, and not longer than `limit`."""
    shown = "".join(c if c.isprintable() else " " if c in "\n\t" else "�" for c in text)
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


def interval(mean: float, half: float, *, digits: int = 3) -> str:
    """Format a mean and the half-width of its interval: two significant digits of that, and the mean to as many
    decimals.

    `1.21 ± 0.30`, `98.0 ± 1.2`, `50 ± 12`. Both have an exponent where the half-width is under 0.0001 or one of them is
    a million or more.

    Args:
        digits: of the mean after the decimal point, where it has an exponent.
    """
    if not (math.isfinite(mean) and math.isfinite(half)) or half <= 0:
        return f"{mean:.4g} ± {half:.2g}"
    decimals = 1 - int(f"{half:.1e}".split("e")[1])
    if decimals > 5 or max(abs(mean), half) >= 1e6:
        return f"{mean:.{digits}e} ± {half:.1e}"
    return f"{mean:.{max(0, decimals)}f} ± {half:.{max(0, decimals)}f}"
