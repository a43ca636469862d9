"""Axes, which map any floating-point values to positions from 0 to 1, with round ticks."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from metatui.tui.formatting import number, tick_labels

LARGEST: Final = 1e300
"""Larger values are clamped to this, so that differences and steps stay finite."""
SMALLEST: Final = 1e-290
"""Smaller values are treated as 0, and narrower ranges as empty."""


@dataclass(frozen=True)
class Axis:
    """An axis from `low` to `high`, both above 0 if logarithmic."""

    low: float
    high: float
    ticks: tuple[float, ...]
    labels: tuple[str, ...]
    log: bool = False

    def at(self, value: float) -> float:
        """Return the position of a value: 0 at `low`, 1 at `high`, not clipped; NaN if it cannot be drawn."""
        if not drawable(value, self.log):
            return math.nan
        value = max(-LARGEST, min(LARGEST, value))
        if self.log:
            low = math.log10(self.low)
            return (math.log10(value) - low) / (math.log10(self.high) - low)
        return (value - self.low) / (self.high - self.low)


def clamped(value: float) -> float:
    return 0.0 if abs(value) < SMALLEST else max(-LARGEST, min(LARGEST, value))


def drawable(value: float, log: bool) -> bool:
    """Return whether `value` can be drawn: finite, and above 0 on a logarithmic axis."""
    return math.isfinite(value) and (not log or value >= SMALLEST)


def axis_for(values: Iterable[float], count: int, *, log: bool = False) -> Axis | None:
    """Return an axis around the drawable values, with round ends; None without drawable values.

    Round ends leave free space, so that a growing curve does not move.

    Args:
        count: Approximate number of ticks.
    """
    kept = [clamped(value) for value in values if drawable(value, log)]
    if not kept:
        return None
    low, high = min(kept), max(kept)
    return _log_axis(low, high, count) if log else _linear_axis(*_widened(low, high), count, snap=True)


def fixed_axis(low: float, high: float, count: int, *, log: bool = False) -> Axis:
    """Return an axis from `low` to `high`, with the ends moved apart if they are equal."""
    low, high = (clamped(end) if math.isfinite(end) else 0.0 for end in (low, high))
    low, high = _widened(min(low, high), max(low, high))
    if log and low >= SMALLEST:
        axis = _log_axis(low, high, count)
        inside = [(t, name) for t, name in zip(axis.ticks, axis.labels, strict=True) if low <= t <= high]
        return Axis(low, high, tuple(t for t, _ in inside), tuple(name for _, name in inside), log=True)
    return _linear_axis(low, high, count, snap=False)


def _widened(low: float, high: float) -> tuple[float, float]:
    """Move the ends apart if floating point cannot distinguish positions between them."""
    size = max(abs(low), abs(high))
    if high - low > max(1e-9 * size, SMALLEST):
        return low, high
    pad = 0.1 * size if size else 1.0
    return low - pad, high + pad


def _step(span: float, count: int) -> float:
    """Return the smallest of 1, 2 or 5 times a power of ten that divides `span` into at most `count` parts."""
    rough = span / max(1, count)
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 5, 10, 20) if factor * power >= rough * (1 - 1e-9))


def _linear_axis(low: float, high: float, count: int, *, snap: bool) -> Axis:
    step = _step(high - low, count)
    if snap:
        first, last = math.floor(low / step + 1e-6), math.ceil(high / step - 1e-6)
        low, high = min(low, first * step), max(high, last * step)
    else:
        first, last = math.ceil(low / step - 1e-6), math.floor(high / step + 1e-6)
        if last - first < 1:
            # A single tick does not show the scale; half the step always gives two.
            return _linear_axis(low, high, 2 * count, snap=False)
    ticks = [index * step for index in range(first, last + 1)]
    return Axis(low, high, tuple(ticks), tuple(tick_labels(ticks, step)))


def _log_axis(low: float, high: float, count: int) -> Axis:
    first, last = math.floor(math.log10(low) - 1e-9), math.ceil(math.log10(high) + 1e-9)
    steps = [factor * 10.0**power for power in range(first, last + 1) for factor in (1, 2, 5)]
    steps = [step for step in steps if step >= SMALLEST]
    below = max((step for step in steps if step <= low * (1 + 1e-9)), default=low)
    above = min((step for step in steps if step >= high * (1 - 1e-9)), default=high)
    if above <= below:
        below, above = max(below / 2, SMALLEST), above * 2
    ticks = [step for step in steps if below <= step <= above]
    if len(ticks) > count + 1:
        every = max(1, math.ceil((last - first) / max(1, count)))
        ticks = [
            10.0**power for power in range(first, last + 1) if power % every == 0 and below <= 10.0**power <= above
        ]
    return Axis(below, above, tuple(ticks), tuple(_power_label(tick) for tick in ticks), log=True)


def _power_label(tick: float) -> str:
    """Format 1, 2 or 5 times a power of ten, which needs one digit."""
    if 1e-3 <= tick < 1e4:
        return f"{tick:g}"
    if 1e4 <= tick < 1e15:
        return number(tick).replace(".00", "").replace(".0", "")
    mantissa, exponent = f"{tick:.0e}".split("e")
    return f"{mantissa}e{int(exponent)}"
