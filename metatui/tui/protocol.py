"""Results in words, always with the protocol that they were measured by."""

from __future__ import annotations

import math

from metatui.learning.events import Evaluation
from metatui.settings import Settings


def headline(evaluation: Evaluation) -> str:
    """The result with its protocol: metric, interval, inner steps, split, tasks, shots and batch norm."""
    mean, ci95 = evaluation.final
    if evaluation.accuracy:
        value = f"accuracy {interval(100 * mean, 100 * ci95)} %"
        kind = f"{evaluation.ways}-way {evaluation.shots}-shot"
    else:
        value, kind = f"loss {interval(mean, ci95)}", f"{evaluation.shots}-shot"
    steps = evaluation.steps[-1]
    protocol = [
        kind,
        f"{steps} step{'' if steps == 1 else 's'}",
        f"{evaluation.tasks} {split_name(evaluation.split)} tasks",
    ]
    if evaluation.batch_norm:
        protocol.append(evaluation.batch_norm.replace("_", " "))
    return f"{value} ({', '.join(protocol)})"


def interval(mean: float, half: float) -> str:
    """A mean and the half-width of its interval: two significant digits of that, and the mean to as many decimals.

    `1.21 ± 0.30`, `98.0 ± 1.2`, `50 ± 12`; both with an exponent where the interval is under 0.0001.
    """
    if not (math.isfinite(mean) and math.isfinite(half)) or half <= 0:
        return f"{mean:.4g} ± {half:.2g}"
    decimals = 1 - int(f"{half:.1e}".split("e")[1])
    if decimals > 5:
        return f"{mean:.3e} ± {half:.1e}"
    return f"{mean:.{max(0, decimals)}f} ± {half:.{max(0, decimals)}f}"


def split_name(split: str) -> str:
    """A split as a person says it."""
    return {"train": "training", "val": "validation"}.get(split, split)


def protocol_of(settings: Settings) -> str:
    """How runs with `settings` are tested."""
    evaluation = settings.evaluation
    shots = f"{settings.evaluation_shots}-shot"
    kind = f"{settings.task.ways}-way {shots}" if settings.is_classification else shots
    batch_norm = f", {evaluation.batch_norm.replace('_', ' ')}" if settings.is_classification else ""
    return f"{kind}, {evaluation.inner_steps} inner steps, {evaluation.test_tasks} test tasks{batch_norm}"
