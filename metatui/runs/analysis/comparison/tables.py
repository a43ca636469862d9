"""Text tables of a comparison, for the terminal and for reports."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from metatui.config.fields import FIELDS, text_of
from metatui.config.settings import Settings
from metatui.runs.analysis.comparison.formatting import (
    after_steps,
    amount,
    deviation,
    group_result,
    memory,
    points,
    seconds,
    target_words,
)
from metatui.runs.analysis.comparison.labels import measured_in
from metatui.runs.analysis.comparison.values import Comparison, Pair
from metatui.utils.numbers import interval, with_minus

NONE = "–"
"""Placeholder for an unknown or missing value."""

MAX_STEPS = 12
"""Maximum number of rows in the table of inner steps. If there are more steps, only some are shown:
0, 1, 2, 3, 5, 10, 20, ... and the last one."""

MAX_VALIDATIONS = 12
"""Maximum number of rows in the table of validations. If there are more validations, an evenly spaced selection is
shown."""


@dataclass(frozen=True)
class TextTable:
    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    names: int = 1
    """Number of columns with text, starting from the left; the remaining columns contain numbers."""


def tables(comparison: Comparison) -> list[TextTable]:
    """Return all tables of a comparison, except those that would be empty."""
    makers = (groups, results, differing_settings, adaptation, seed_tests, paired_tests_table, costs, to_target)
    return [table for make in makers if (table := make(comparison)) is not None]


def groups(comparison: Comparison) -> TextTable | None:
    """Create a table with a row for each group of runs that differ only in the seed; None if there is no such group."""
    if not comparison.repeated:
        return None
    metric = comparison.metric
    rows = []
    for group in comparison.groups:
        over_seeds = group.over_seeds(metric)
        several = over_seeds.seeds > 1
        left_out = len(group.runs) - over_seeds.seeds
        rows.append(
            (
                group.label,
                f"{over_seeds.seeds}" + (f" ({left_out} diverged)" if left_out else ""),
                group_result(metric, group) if over_seeds.seeds else NONE,
                deviation(metric, over_seeds.deviation[-1]) if several else NONE,
            )
        )
    title = f"{metric.capitalize()} over seeds, {after_steps(comparison)}"
    headings = ("settings", "seeds", f"mean {metric}, 95 % interval", "SD")
    return TextTable(title, headings, tuple(rows))


def results(comparison: Comparison) -> TextTable:
    """Create a table of the metric after the last inner step."""
    evaluations = [run.evaluation for run in comparison.runs]
    counted = any(evaluation.diverged for evaluation in evaluations)
    rows = tuple(
        (
            run.label,
            run.id,
            f"{evaluation.iteration:,}" + (" (last)" if evaluation.checkpoint == "last" else ""),
            NONE if evaluation.inner_lr is None else f"{evaluation.inner_lr:g}",
            _amount(comparison, *evaluation.final),
            *([f"{evaluation.diverged or 0:,} of {evaluation.tasks:,}"] if counted else []),
        )
        for run, evaluation in zip(comparison.runs, evaluations, strict=True)
    )
    title = f"{comparison.metric.capitalize()} {after_steps(comparison)}"
    headings = ("run", "name", "at meta-step", "inner lr", comparison.metric, *(["diverged"] if counted else []))
    return TextTable(title, headings, rows, names=2)


def differing_settings(comparison: Comparison) -> TextTable | None:
    """Create a table of the settings that differ, with a column for each group of runs; None if no setting differs.

    A setting that only some of the runs use is left out if it has its default value, and a setting that is `auto` for
    some of the runs is left out if `auto` selected the value of the other runs.
    """
    rows = []
    for path in FIELDS:
        columns = [
            list(dict.fromkeys(used_value(run.settings, path) for run in group.runs)) for group in comparison.groups
        ]
        selected = {used_value(run.selected or run.settings, path) for run in comparison.runs}
        if _differ(path, {value for column in columns for value in column}) and _differ(path, selected):
            rows.append((path, *map(", ".join, columns)))
    headings = ("setting", *(group.label for group in comparison.groups))
    return TextTable("Settings that differ", headings, tuple(rows)) if rows else None


def _differ(path: str, values: set[str]) -> bool:
    return len(values - {NONE}) > 1 or (NONE in values and bool(values - {NONE, text_of(FIELDS[path].default)}))


def used_value(settings: Settings, path: str) -> str:
    """Return the value of a setting as text; `NONE` if the setting is empty, or has no effect."""
    return (text_of(settings.effective(path)) or NONE) if FIELDS[path].is_relevant(settings) else NONE


def adaptation(comparison: Comparison) -> TextTable:
    """Create a table of the metric at each inner step."""
    last = {step for step in comparison.last_steps if comparison.protocol.own_steps}
    shown = sorted({*_shown_steps(comparison.protocol.steps), *last})
    curves = [run.evaluation.accuracy or run.evaluation.loss for run in comparison.runs]
    rows = tuple(
        (
            str(step),
            *(
                _amount(comparison, curve.mean[step], curve.ci95[step]) if step < len(curve.mean) else NONE
                for curve in curves
            ),
        )
        for step in shown
    )
    return TextTable("Adaptation", ("inner step", *(run.label for run in comparison.runs)), rows)


def validations(comparison: Comparison) -> TextTable | None:
    """Create a table of the validations during training; None if there are no validations."""
    curves = [run.validation for run in comparison.runs]
    by_iteration = [
        dict(zip(curve.iterations, zip(curve.mean, curve.ci95, curve.diverged, strict=True), strict=True))
        for curve in curves
    ]
    iterations = sorted({iteration for each in by_iteration for iteration in each})
    if not iterations:
        return None
    apart = -(-len(iterations) // MAX_VALIDATIONS)
    shown = iterations[::-apart][::-1]  # always including the last one
    rows = tuple(
        (
            f"{iteration:,}",
            *(_validated(comparison, *each[iteration]) if iteration in each else NONE for each in by_iteration),
        )
        for iteration in shown
    )
    _, measured = measured_in([run.settings for run in comparison.runs])
    alike = f", {measured[0]}" if measured[0] and len(set(measured)) == 1 else ""
    names = [
        f"{run.label}, {how}" if how and not alike else run.label
        for run, how in zip(comparison.runs, measured, strict=True)
    ]
    return TextTable(f"Validations during training{alike}", ("meta-step", *names), rows)


def _validated(comparison: Comparison, mean: float, half: float, diverged: int) -> str:
    return _amount(comparison, mean, half) + (f" ({diverged:,} diverged)" if diverged else "")


def seed_tests(comparison: Comparison) -> TextTable | None:
    """Create a table of the tests across seeds; return None if there are no such tests."""
    if not comparison.seeds:
        return None
    points_or_loss, write = ("points", points) if comparison.metric == "accuracy" else ("loss", interval)
    rows = tuple(
        (
            pair.a.name,
            pair.b.name,
            _signed(write, pair.test.difference, pair.test.ci95) if math.isfinite(pair.test.ci95) else NONE,
            _probability(pair.test.p),
            _probability(pair.p_holm),
        )
        for pair in comparison.seeds
    )
    headings = ("a", "b", f"a − b, {points_or_loss}", "Welch's p", "p, Holm")
    return TextTable("Pairs of settings, across seeds", headings, rows, names=2)


def paired_tests_table(comparison: Comparison) -> TextTable | None:
    """Create a table of the paired tests; return None if no two runs were evaluated on the same tasks."""
    if not comparison.pairs:
        return None
    counted = any(pair.test.left_out for pair in comparison.pairs)
    points_or_loss = "points" if comparison.metric == "accuracy" else "loss"
    rows = tuple(
        (
            pair.a.label,
            pair.b.label,
            *([f"{pair.test.tasks:,}"] if counted else []),
            *(_tested(pair) if pair.test.most_are_finite else [NONE] * 5),
        )
        for pair in comparison.pairs
    )
    tasks = ("tasks",) if counted else ()
    headings = ("a", "b", *tasks, f"a − b, {points_or_loss}", "p", "p, Holm", "Wilcoxon p", "Cohen's d_z")
    return TextTable("Pairs on the same tasks", headings, rows, names=2)


def _tested(pair: Pair) -> list[str]:
    test, write = pair.test, points if pair.metric == "accuracy" else interval
    return [
        _signed(write, test.mean, test.ci95),
        _probability(test.p),
        _probability(pair.p_holm),
        _probability(test.wilcoxon_p),
        with_minus(f"{test.effect_size:+.2f}") if math.isfinite(test.effect_size) else NONE,
    ]


def _signed(write: Callable[[float, float], str], mean: float, half: float) -> str:
    """Format a difference with its interval and its sign. Negative numbers start with a minus sign, not a hyphen."""
    return with_minus(f"{'+' if mean > 0 else ''}{write(mean, half)}")


def costs(comparison: Comparison) -> TextTable:
    """Create a table of the cost of training. Relative speeds are left out if the runs differ only in the seed."""
    timed = None if len(comparison.groups) == 1 and comparison.repeated else comparison.timed
    rows = tuple(
        (
            run.label,
            seconds(run.costs.seconds_per_step) if run.costs.seconds_per_step else NONE,
            *([f"{ratio:.2f}x" if (ratio := comparison.speed_ratio(run)) else NONE] if timed else []),
            f"{run.costs.tasks_seen:,}" if run.costs.tasks_seen else NONE,
            f"{run.costs.tasks_per_second:,.0f}" if run.costs.tasks_per_second else NONE,
            seconds(run.costs.seconds) if run.costs.seconds else NONE,
            memory(run.costs.peak_memory_bytes) if run.costs.peak_memory_bytes else NONE,
        )
        for run in comparison.runs
    )
    relative = f"; speed (meta-steps/s) relative to {timed.label}" if timed else ""
    headings = ("run", "per meta-step", *(["speed"] if timed else []), "tasks seen", "tasks/s", "total", "peak memory")
    return TextTable(f"Cost of training{relative}", headings, rows)


def to_target(comparison: Comparison) -> TextTable | None:
    """Create a table of the time at which each run reached the target; None if there is no target."""
    target = target_words(comparison)
    if target is None:
        return None
    rows = tuple(
        (run.label, f"{when.iterations:,}", f"{when.tasks:,}", seconds(when.seconds))
        if (when := run.to_target)
        else (run.label, "not reached", NONE, NONE)
        for run in comparison.runs
    )
    return TextTable(f"First validation with {target} or better", ("run", "meta-steps", "tasks", "time"), rows)


def _amount(comparison: Comparison, mean: float, half: float) -> str:
    """Format a value of the metric; return `NONE` if most tasks diverged."""
    return amount(comparison.metric, mean, half) if math.isfinite(mean) else NONE


def _shown_steps(last: int) -> Sequence[int]:
    if last < MAX_STEPS:
        return range(last + 1)
    round_ones = (factor * 10**power for power in range(4) for factor in (1, 2, 3, 5))
    return sorted({0, last, *(step for step in round_ones if step < last)})


def _probability(p: float) -> str:
    if math.isnan(p):
        return NONE
    return "<0.0001" if p < 0.0001 else f"{p:.2g}"
