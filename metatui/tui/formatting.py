"""Results in words, always with the protocol by which they were measured."""

from __future__ import annotations

import math

from metatui.config.settings import Settings
from metatui.events import Evaluation
from metatui.tui.widgets.charts.format import number, percent
from metatui.utils.numbers import diverged, interval


def headline(evaluation: Evaluation) -> str:
    """Return the result with metric, interval, inner steps, split, tasks, shots and batch norm."""
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
    """Return an accuracy and the half-width of its interval, both given as fractions, in per cent."""
    text = interval(100 * mean, 100 * half)
    return f"{text} %" if math.isfinite(mean) else text


def result_words(test: Evaluation, best: Evaluation | None) -> str:
    """Return a test result with its protocol, and the parameters and inner learning rate that it used."""
    is_best = best is not None and best.iteration == test.iteration
    which = test.checkpoint or ("best" if is_best else "last")
    used = [f"α = {test.inner_lr:g}"] if test.inner_lr is not None else []
    return f"{headline(test)}; {', '.join([*used, f'{which} at meta-step {test.iteration:,}'])}"


def best_and_last(best: Evaluation | None, last: Evaluation) -> str:
    """Return the best and the last validation: `best 0.413 at 2,000 · last nan`."""
    if best is None:
        return f"no finite validation · last {value(last)}"
    text = f"best {value(best)} at {best.iteration:,}"
    return text if best.iteration == last.iteration else f"{text} · last {value(last)}"


def value(evaluation: Evaluation) -> str:
    """Return the metric after the last inner step, without its interval; nan if most tasks diverged."""
    mean = evaluation.final[0] if evaluation.is_finite else math.nan
    return percent(mean) if evaluation.accuracy else number(mean)


def split_name(split: str) -> str:
    return {"train": "training", "val": "validation"}.get(split, split)


def protocol_of(settings: Settings) -> str:
    """Return the test protocol of runs with `settings`."""
    evaluation = settings.evaluation
    shots = f"{settings.evaluation_shots}-shot"
    kind = f"{settings.task.ways}-way {shots}" if settings.is_classification else shots
    batch_norm = f", {evaluation.batch_norm.replace('_', ' ')}" if settings.is_classification else ""
    return f"{kind}, {evaluation.inner_steps} inner steps, {evaluation.test_tasks} test tasks{batch_norm}"
