"""Paired tests of runs across tasks, tests of settings across seeds, and conclusions from these tests as text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from typing import TYPE_CHECKING

from metatui.config.fields import FIELDS
from metatui.learning.evaluation.significance import LEVEL
from metatui.runs.analysis.comparison.formatting import points, probability
from metatui.runs.analysis.comparison.seed_groups import apart_from_seed, seed_groups
from metatui.runs.analysis.comparison.values import Metric, Pair, RunResult, SeedPair
from metatui.utils.numbers import interval
from metatui.utils.text import format_count

if TYPE_CHECKING:
    from metatui.learning.evaluation.statistics import Floats


def pairs(runs: Sequence[RunResult], *, metric: Metric, step: int) -> tuple[Pair, ...]:
    """Compare all pairs of runs with the same held-out tasks by their metrics after inner step `step`.

    Runs that differ only in the seed are not compared.
    """
    from metatui.learning.evaluation.statistics import holm, paired_test

    seeds = [run.settings.training.seed for run in runs]
    others = [apart_from_seed(run) for run in runs]
    both = [
        (runs[i], runs[j])
        for i, j in combinations(range(len(runs)), 2)
        if runs[i].same_tasks == runs[j].same_tasks and (seeds[i] == seeds[j] or others[i] != others[j])
    ]
    tests = [paired_test(differences(a, b, metric, step)) for a, b in both]
    p = holm([test.deciding_p if test.most_are_finite else math.nan for test in tests])
    family = sum(not math.isnan(each) for each in p)
    ranks = holm([test.wilcoxon_p if test.most_are_finite else math.nan for test in tests])
    tested = (
        Pair(a, b, metric, step, test, p_holm, wilcoxon_p_holm, family, verdict="")
        for (a, b), test, p_holm, wilcoxon_p_holm in zip(both, tests, p, ranks, strict=True)
    )
    return tuple(replace(pair, verdict=pair_verdict(pair)) for pair in tested)


def differences(a: RunResult, b: RunResult, metric: Metric, step: int) -> Floats:
    """Return the difference a minus b of the metric of each task after inner step `step`, as an array of shape [T].

    The difference is NaN for tasks on which either run diverged. Differences between accuracies are computed from
    counts of correct predictions. The differences are ranked, so equal differences must agree to the last bit.
    Subtracting fractions would not ensure this.
    """
    import numpy as np

    x, y = _after(a, metric, step), _after(b, metric, step)
    lost = a.values.diverged | b.values.diverged
    with np.errstate(invalid="ignore"):  # inf - inf
        difference: Floats = x - y
    if metric == "accuracy":
        examples = a.evaluation.queries * (a.evaluation.ways or 1)
        difference = (difference * examples).round() / examples
    return np.where(lost, np.nan, difference)


def seed_pairs(runs: Sequence[RunResult], *, metric: Metric, step: int) -> tuple[SeedPair, ...]:
    """Compare all pairs of groups with at least two seeds each, using the mean result of each run."""
    from metatui.learning.evaluation.statistics import holm, welch_test

    groups = [group for group in seed_groups(runs) if group.is_repeated]
    both = [(a, b) for a, b in combinations(groups, 2) if a.runs[0].same_tasks == b.runs[0].same_tasks]
    tests = [welch_test(*([_mean(run, metric, step) for run in group.runs] for group in two)) for two in both]
    p = holm([test.p for test in tests])
    family = sum(not math.isnan(each) for each in p)
    tested = (
        SeedPair(a, b, metric, step, test, p_holm, family, verdict="")
        for (a, b), test, p_holm in zip(both, tests, p, strict=True)
    )
    return tuple(replace(pair, verdict=seed_verdict(pair)) for pair in tested)


def _mean(run: RunResult, metric: Metric, step: int) -> float:
    """Return the mean over the tasks that did not diverge; NaN if most tasks diverged."""
    kept = ~run.values.diverged
    return float(_after(run, metric, step)[kept].mean()) if 2 * kept.sum() > len(kept) else math.nan


def values(run: RunResult, metric: Metric) -> Floats:
    """Return the metric of each task after each inner step, as an array of shape [T, steps + 1]."""
    if metric == "loss":
        return run.values.loss
    assert run.values.accuracy is not None
    return run.values.accuracy


def _after(run: RunResult, metric: Metric, step: int) -> Floats:
    """Return the metric of each task after inner step `step`, or after the last inner step if that is earlier."""
    every = values(run, metric)
    return every[:, min(step, every.shape[1] - 1)]


def pair_verdict(pair: Pair) -> str:
    """Return the conclusion of a paired test as a sentence without a full stop.

    For example `MAML is 2.1 ± 0.4 points above Reptile on the same 600 tasks; the difference is significant (…)`.
    """
    a, b, test = pair.a.label, pair.b.label, pair.test
    count = test.tasks + test.left_out
    after = _inner_steps(pair.a, pair.b)
    tasks, lost, both = f"on the same {count:,} tasks{after}", "", f"between {a} and {b}"
    if test.left_out:
        # Divergence comes first: it is itself a difference, and the remaining tasks are a biased sample.
        lost = f"{a} diverged on {_diverged(pair.a)} of the same {count:,} tasks and {b} on {_diverged(pair.b)}"
        if not test.most_are_finite:
            return f"{lost}: too few tasks remain to compare the runs"
        tasks, lost, both = f"on the other {test.tasks:,} tasks{after}", f"{lost}; ", "between them"
    elif test.tasks < 2:
        return f"{a} and {b} cannot be compared on a single task"
    no_difference = f"{lost}{'no' if lost else 'No'} significant difference {both} {tasks}"
    if test.mean == test.ci95 == 0:
        return f"{no_difference}: their {pair.metric} is identical on each task"
    better = _better(pair.metric, test.mean, test.ci95, a, b)
    p = _corrected(pair.p_holm, "Wilcoxon p" if math.isnan(test.p) else "p", pair.family, "pairs")
    if pair.p_holm < LEVEL:
        better = f"{lost}{better}" if lost else _capitalized(better)
        return f"{better} {tasks}; the difference is significant ({p}){_median_note(pair)}"
    return f"{no_difference} ({better}, {p}){_rank_note(pair)}"


def seed_verdict(pair: SeedPair) -> str:
    """Return the conclusion of a test across seeds as a sentence without a full stop."""
    a, b = pair.a.name, pair.b.name
    test = pair.test
    count = pair.a.runs[0].evaluation.tasks
    lost = max(run.diverged for group in (pair.a, pair.b) for run in group.runs)
    diverged = f"; up to {lost:,} of {count:,} tasks per run diverged and are left out" if lost else ""
    if math.isnan(test.ci95):
        return f"{a} and {b} cannot be compared: each needs at least two seeds with a finite {pair.metric}{diverged}"
    better = _better(pair.metric, test.difference, test.ci95, a, b, " (95 % interval over seeds)")
    after = _inner_steps(pair.a.runs[0], pair.b.runs[0])
    tasks = f"on the same {count:,} tasks{after}"
    if math.isnan(pair.p_holm):
        why = "the results do not vary across seeds"
        return f"{_capitalized(better)} {tasks}, but no test is possible: {why}{diverged}"
    p = _corrected(pair.p_holm, "Welch's p", pair.family, "pairs of settings")
    if pair.p_holm < LEVEL:
        return f"{_capitalized(better)} {tasks}; the difference is significant across seeds ({p}){diverged}"
    tasks = f"on the tasks that did not diverge{after}" if diverged else tasks
    return f"No significant difference between {a} and {b} {tasks} ({better}, {p}){diverged}"


def _better(metric: Metric, difference: float, half: float, a: str, b: str, over: str = "") -> str:
    """Describe which run is better and by how much, given the difference a minus b.

    Args:
        over: text that follows the interval, such as ` (95 % interval over seeds)`.
    """
    a_is_above = difference >= 0
    if metric == "accuracy":
        first, second = (a, b) if a_is_above else (b, a)
        return f"{first} is {points(abs(difference), half)} points{over} above {second}"
    first, second = (b, a) if a_is_above else (a, b)
    return f"the loss of {first} is {interval(abs(difference), half)}{over} below that of {second}"


def _inner_steps(a: RunResult, b: RunResult) -> str:
    """Return a phrase such as `, after 3 and 5 inner steps` about the inner steps of two runs.

    Return an empty string if the settings of both runs contain the same number.
    """
    if not all(FIELDS["evaluation.inner_steps"].is_relevant(run.settings) for run in (a, b)):
        return ""
    own = a.settings.evaluation_steps, b.settings.evaluation_steps
    if own[0] == own[1]:
        return ""
    made = a.evaluation.steps[-1], b.evaluation.steps[-1]
    if made[0] != made[1]:
        return f", after {made[0]} and {format_count(made[1], 'inner step')}"
    return f", both after {format_count(made[0], 'inner step')} (their settings are {own[0]} and {own[1]})"


def _corrected(p: float, name: str, family: int, of: str) -> str:
    corrected = f", Holm-corrected for {family} {of}" if family > 1 else ""
    return f"{probability(p, name)}{corrected}"


def _median_note(pair: Pair) -> str:
    """Return a note if the median task contradicts the mean, otherwise an empty string."""
    if pair.test.mean * pair.test.median >= 0:
        return ""
    return f"; but {_ahead(pair)} is ahead on the median task, so a few tasks dominate the mean"


def _rank_note(pair: Pair) -> str:
    """Return a note if the ranks show a difference that the mean does not, otherwise an empty string."""
    if not pair.wilcoxon_p_holm < LEVEL or math.isnan(pair.test.p) or _rank_sum(pair) * pair.test.median <= 0:
        return ""
    p = _corrected(pair.wilcoxon_p_holm, "Wilcoxon p", pair.family, "pairs")
    return f"; but {_ahead(pair)} is ahead on most tasks ({p}), so a few tasks dominate the mean"


def _rank_sum(pair: Pair) -> float:
    """Return the sum of the signed ranks of the differences. Its sign and that of the median difference may differ."""
    import numpy as np
    from scipy.stats import rankdata

    each = differences(pair.a, pair.b, pair.metric, pair.step)
    each = each[np.isfinite(each) & (each != 0)]
    return float((np.sign(each) * rankdata(np.abs(each))).sum())


def _ahead(pair: Pair) -> str:
    """Return the label of the run that is better on the median task."""
    a_is_better = pair.test.median > 0 if pair.metric == "accuracy" else pair.test.median < 0
    return pair.a.label if a_is_better else pair.b.label


def _diverged(run: RunResult) -> str:
    return f"{run.diverged:,}" if run.diverged else "none"


def _capitalized(sentence: str) -> str:
    """Capitalize the first word unless it is the name of a run."""
    return sentence.replace("the loss", "The loss", 1) if sentence.startswith("the loss") else sentence
