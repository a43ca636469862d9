"""Results in words, always with the protocol that they were measured by."""

from __future__ import annotations

import math

from metatui.config.settings import Settings
from metatui.events import Evaluation
from metatui.tui.widgets.charts.format import number, percent
from metatui.utils.numbers import diverged, interval


def headline(evaluation: Evaluation) -> str:
    """The result with its protocol: metric, interval, inner steps, split, tasks, shots and batch norm."""
    mean, ci95 = evaluation.final
    if evaluation.accuracy:
        result = f"accuracy {accuracy(mean, ci95)}"
        kind = f"{evaluation.ways}-way {evaluation.shots}-shot"
    else:
        result, kind = f"loss {interval(mean, ci95)}", f"{evaluation.shots}-shot"
    steps = evaluation.steps[-1]
    protocol = [
        kind,
        f"{steps} step{'' if steps == 1 else 's'}",
        f"{evaluation.tasks} {split_name(evaluation.split)} tasks",
    ]
    if evaluation.batch_norm:
        protocol.append(evaluation.batch_norm.replace("_", " "))
    lost = f", {diverged(evaluation.diverged, evaluation.tasks)}" if evaluation.diverged else ""
    return f"{result} ({', '.join(protocol)}){lost}"


def accuracy(mean: float, half: float) -> str:
    """Write an accuracy and the half-width of its interval, given as fractions, in per cent."""
    said = interval(100 * mean, 100 * half)
    return f"{said} %" if math.isfinite(mean) else said


def result_words(test: Evaluation, best: Evaluation | None) -> str:
    """Describe a test: its protocol, and the parameters and inner learning rate it used."""
    is_best = best is not None and best.iteration == test.iteration
    which = test.checkpoint or ("best" if is_best else "last")
    used = [f"α = {test.inner_lr:g}"] if test.inner_lr is not None else []
    return f"{headline(test)}; {', '.join([*used, f'{which} at meta-step {test.iteration:,}'])}"


def standing(best: Evaluation | None, last: Evaluation) -> str:
    """Name the best validation and the last one: `best 0.413 at 2,000 · last nan`."""
    if best is None:
        return f"no finite validation · last {value(last)}"
    now = f"best {value(best)} at {best.iteration:,}"
    return now if best.iteration == last.iteration else f"{now} · last {value(last)}"


def value(evaluation: Evaluation) -> str:
    """Write the metric after the last inner step, without its interval; nan where most tasks diverged."""
    mean = evaluation.final[0] if evaluation.is_finite else math.nan
    return percent(mean) if evaluation.accuracy else number(mean)


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
