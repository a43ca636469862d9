"""Formatting of comparison results as text, shared by the command line, the app and reports."""

from __future__ import annotations

import math

from metatui.config.fields import FIELDS, text_of
from metatui.config.registry import DATA
from metatui.events import Evaluation
from metatui.runs.analysis.comparison.labels import values_of
from metatui.runs.analysis.comparison.values import Comparison, Metric, SeedGroup
from metatui.runs.execution.run_log import FREE_ON_RESUME
from metatui.runs.formatting import change_text, headline
from metatui.utils.numbers import format_diverged, interval
from metatui.utils.text import format_count

MAX_CHANGES = 10
"""Maximum number of setting changes during a run's training that are listed with its results."""


def points(mean: float, half: float) -> str:
    """Format a mean and the half-width of its interval, both fractions, as percentages: `95.2 ± 0.4`."""
    return interval(100 * mean, 100 * half, decimals=1 if half >= 0.001 else None)


def amount(metric: Metric, mean: float, half: float) -> str:
    """Format a value of the metric with its interval and unit."""
    if metric == "loss" or not math.isfinite(mean):
        return interval(mean, half)
    return f"{points(mean, half)} %"


def result(metric: Metric, evaluation: Evaluation) -> str:
    """Format the metric after the last inner step, and the number of diverged tasks, if any."""
    if not evaluation.diverged:
        return amount(metric, *evaluation.final)
    lost = format_diverged(evaluation.diverged, evaluation.tasks)
    return f"{amount(metric, *evaluation.final)}, {lost}" if evaluation.is_finite else lost


def probability(p: float, name: str = "p") -> str:
    """Format a p value: `p = 0.012`, `p < 0.0001`."""
    return f"{name} < 0.0001" if p < 0.0001 else f"{name} = {p:.2g}"


def seconds(value: float) -> str:
    """Format a duration: `850 µs`, `4.2 ms`, `12.3 s`, `4 min 05 s`, `2 h 10 min`."""
    if value < 0.9995:
        return f"{1e6 * value:.3g} µs" if value < 0.0009995 else f"{1e3 * value:.3g} ms"
    if value < 59.95:
        return f"{value:.1f} s"
    whole = round(value)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"


def memory(size: int) -> str:
    """Format a number of bytes: `412 MiB`, `3.2 GiB`."""
    return f"{size / 2**20:,.0f} MiB" if size < 2**30 else f"{size / 2**30:,.1f} GiB"


def protocol_words(comparison: Comparison) -> str:
    """Describe the protocol: `sinusoid, test split, 600 tasks, 10-shot, 10 queries, 10 inner steps`."""
    protocol = comparison.protocol
    ways = sorted({run.evaluation.ways for run in comparison.runs if run.evaluation.ways})
    kind = f"{'- and '.join(map(str, ways))}-way " if ways else ""
    parts = [protocol.source, f"{protocol.split} split", f"{protocol.tasks:,} tasks", f"{kind}{protocol.shots}-shot"]
    parts.append(f"{format_count(protocol.queries, 'query')}{' per class' if ways else ''}")
    parts.append(inner_steps(comparison))
    if protocol.batch_norm:
        parts.append(f"{protocol.batch_norm.replace('_', ' ')} batch norm")
    if loss_of := DATA[protocol.source].loss_of:
        parts.append(f"loss of {loss_of}")
    return ", ".join(parts)


def inner_steps(comparison: Comparison) -> str:
    """Describe the inner steps of the runs: `3 inner steps`, `each run's own inner steps (3 for A, 20 for B)`."""
    made = comparison.last_steps
    if len(set(made)) == 1 or not comparison.protocol.own_steps:
        return format_count(comparison.protocol.steps, "inner step")
    return f"each run's own inner steps ({values_of([run.label for run in comparison.runs], list(map(str, made)))})"


def after_steps(comparison: Comparison) -> str:
    """Return the end of a title, such as `after 3 inner steps` or `after each run's own inner steps`."""
    protocol = comparison.protocol
    own = protocol.own_steps and len(set(comparison.last_steps)) > 1
    return "after each run's own inner steps" if own else f"after {format_count(protocol.steps, 'inner step')}"


def target_words(comparison: Comparison) -> str | None:
    """Describe the target: `an accuracy of 95 %`, `a loss of 0.5`; None if there is no target."""
    target = comparison.target
    if target is None:
        return None
    return f"an accuracy of {100 * target:g} %" if comparison.metric == "accuracy" else f"a loss of {target:g}"


def main_results(comparison: Comparison) -> tuple[str, ...]:
    """Return the main results as sentences without a full stop.

    These are the results across seeds and the conclusions or, if there are neither, the result of each run. The last
    sentences describe the settings that were changed during training.
    """
    results = (f"{run.label}: {headline(run.evaluation, level=True)}" for run in comparison.runs)
    return (
        *((*results_over_seeds(comparison), *comparison.conclusions) or results),
        *changes_in_training(comparison),
    )


def changes_in_training(comparison: Comparison) -> tuple[str, ...]:
    """Describe the settings that were changed during training, each in a sentence without a full stop.

    Settings that do not affect the results, such as the number of tasks in memory at once, are left out.
    """
    sentences: list[str] = []
    for run in comparison.runs:
        changes = [
            change
            for change in (run.training.changes if run.training else ())
            if FIELDS[change.path].group not in FREE_ON_RESUME
        ]
        for change in changes[:MAX_CHANGES]:
            text, at = change_text(change.path, text_of(change.old), text_of(change.new)), change.at.iterations
            measured = run.evaluation.iteration
            before = f" (the evaluated parameters are older, from meta-step {measured:,})" if measured <= at else ""
            sentences.append(f"{run.label}: {text} at meta-step {at:,}{before}")
        if (rest := len(changes) - MAX_CHANGES) > 0:
            sentences.append(f"{run.label}: {format_count(rest, 'more setting change')} (see its journal)")
    return tuple(sentences)


def results_over_seeds(comparison: Comparison) -> tuple[str, ...]:
    """Return the result of each group with several seeds as a sentence without a full stop."""
    return tuple(
        f"{group.name}: mean {comparison.metric} {group_result(comparison.metric, group)} over the seeds, "
        f"all on the same {format_count(comparison.protocol.tasks, 'task')} (95 % interval over the seeds alone, SD "
        f"{deviation(comparison.metric, group.over_seeds(comparison.metric).deviation[-1])})"
        for group in comparison.repeated
    )


def group_result(metric: Metric, group: SeedGroup) -> str:
    """Format the metric of a group after the last inner step: the mean and, with several seeds, its interval."""
    over_seeds = group.over_seeds(metric)
    mean, half = over_seeds.mean[-1], over_seeds.ci95[-1]
    if group.is_repeated or not math.isfinite(mean):
        return amount(metric, mean, half)
    return f"{100 * mean:.1f} %" if metric == "accuracy" else f"{mean:.4g}"


def deviation(metric: Metric, value: float) -> str:
    """Format a standard deviation: `0.42 points` for an accuracy, `0.031` for a loss; `unknown` if it is undefined."""
    if not math.isfinite(value):
        return "unknown"
    return f"{100 * value:.2g} points" if metric == "accuracy" else f"{value:.2g}"


def intervals(comparison: Comparison) -> str:
    """Describe the confidence level of the intervals, and whether they are computed across tasks or across seeds."""
    seeds = "; for groups of several seeds, over the seeds" if comparison.repeated else ""
    return f"95 % intervals over tasks{seeds}"


def note_on_seeds(comparison: Comparison) -> str | None:
    """Return a note on what paired tests compare.

    The result is None if there are no paired tests, or if there are also tests over seeds.
    """
    if not any(pair.test.most_are_finite for pair in comparison.pairs) or comparison.seeds:
        return None
    return (
        "The tests are paired t-tests over tasks, which compare the trained models. To compare the settings of the "
        "runs, repeat each run with several seeds, for example with 'metatui rerun RUN --seeds 1,2'."
    )
