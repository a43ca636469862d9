"""Functions that format numbers and validations as short texts."""

from __future__ import annotations

import math

from metatui.events import Evaluation
from metatui.runs.formatting import accuracy
from metatui.utils.numbers import interval

_SUFFIXES = ("", "k", "M", "G", "T")


def best_and_last(best: Evaluation | None, last: Evaluation) -> str:
    """Format the best and the last validation result, for example as `best loss 0.413 at 2,000 · last diverged`."""
    if best is None:
        return f"no finite validation result · last {value(last)}"
    text = f"best {'' if best.accuracy else 'loss '}{value(best)} at {best.iteration:,}"
    return text if best.iteration == last.iteration else f"{text} · last {value(last)}"


def short_metric(evaluation: Evaluation) -> str:
    """Format the metric and its interval after the last inner step, such as `0.41 ± 0.03` or `95.20 ± 0.42 %`."""
    mean, half = evaluation.final
    return accuracy(mean, half) if evaluation.accuracy else interval(mean, half)


def value(evaluation: Evaluation) -> str:
    """Format the metric after the last inner step, but not its interval; return `diverged` if most tasks diverged."""
    mean = evaluation.final[0] if evaluation.is_finite else math.nan
    return percent(mean) if evaluation.accuracy else number(mean)


def number(value: float) -> str:
    """Format a number with three significant digits, such as `0.123`, `12.3`, `4.56k` or `1.20e-5`.

    An integer below 10,000 is formatted with all its digits. The result is `diverged` for a value that is not finite.
    """
    if isinstance(value, int) and abs(value) < 10_000:
        return f"{value:,}"
    value = float(value)
    if not math.isfinite(value):
        return "diverged"
    if value == 0:
        return "0"
    # Rounded first, so that 999.6 becomes 1.00k and not 1000.
    mantissa, exponent = f"{value:.2e}".split("e")
    power = int(exponent)
    if -3 <= power < 3:
        return f"{float(f'{mantissa}e{power}'):.{2 - power}f}"
    if 3 <= power < 15:
        group = power // 3
        return f"{float(f'{mantissa}e{power - 3 * group}'):.{2 - power % 3}f}{_SUFFIXES[group]}"
    return f"{mantissa}e{power}"


def percent(fraction: float) -> str:
    """Format a fraction from 0 to 1 as a percentage with one decimal place, such as `97.3 %`."""
    return f"{100 * fraction:.1f} %" if math.isfinite(fraction) else number(fraction)


def tick_labels(ticks: list[float], step: float) -> list[str]:
    """Format evenly spaced ticks with a common suffix, and with enough decimals to distinguish neighbours."""
    if not ticks or step <= 0:
        return [number(tick) for tick in ticks]
    largest = max(abs(tick) for tick in ticks)
    power = math.floor(math.log10(largest)) if largest else 0
    if power < -3 or power >= 15:
        digits = min(6, max(0, power - math.floor(math.log10(step) + 1e-9)))
        return ["0" if tick == 0 else _scientific(tick, digits) for tick in ticks]
    group = power // 3 if power >= 4 else 0
    scale = 10.0 ** (3 * group)
    decimals = min(6, max(0, -math.floor(math.log10(step / scale) + 1e-9)))
    labels = [f"{tick / scale:.{decimals}f}" for tick in ticks]
    return [f"{label}{_SUFFIXES[group]}" if float(label) else "0" for label in labels]


def _scientific(value: float, digits: int) -> str:
    mantissa, exponent = f"{value:.{digits}e}".split("e")
    return f"{mantissa}e{int(exponent)}"
