"""Results in words, always with the protocol that they were measured by."""

from __future__ import annotations

from metatui.learning.events import Evaluation
from metatui.settings import Settings


def headline(evaluation: Evaluation) -> str:
    """The result with its protocol: metric, interval, inner steps, split, tasks, shots and batch norm."""
    mean, ci95 = evaluation.final
    if evaluation.accuracy:
        value = f"accuracy {100 * mean:.1f} ± {100 * ci95:.1f} %"
        kind = f"{evaluation.ways}-way {evaluation.shots}-shot"
    else:
        value, kind = f"loss {mean:.4g} ± {ci95:.2g}", f"{evaluation.shots}-shot"
    steps = evaluation.steps[-1]
    protocol = [
        kind,
        f"{steps} step{'' if steps == 1 else 's'}",
        f"{evaluation.tasks} {split_name(evaluation.split)} tasks",
    ]
    if evaluation.batch_norm:
        protocol.append(evaluation.batch_norm.replace("_", " "))
    return f"{value} ({', '.join(protocol)})"


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
