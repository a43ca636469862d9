"""Every two runs held against each other, task by task; and settings with several seeds, seed by seed."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import replace
from itertools import combinations
from typing import TYPE_CHECKING

from metatui.config.settings import Settings
from metatui.runs.analysis.comparison import conclusions
from metatui.runs.analysis.comparison.labels import labels
from metatui.runs.analysis.comparison.values import Metric, Pair, RunResult, SeedGroup, SeedPair
from metatui.runs.execution.replay_log import FREE_ON_RESUME

if TYPE_CHECKING:
    from metatui.learning.evaluation.statistics import Floats


def pairs(runs: Sequence[RunResult], *, metric: Metric, step: int) -> tuple[Pair, ...]:
    """Every two runs that had the same held-out tasks, compared at inner step `step`."""
    from metatui.learning.evaluation.statistics import holm, paired_test

    both = [(a, b) for a, b in combinations(runs, 2) if a.same_tasks == b.same_tasks]
    tests = [paired_test(differences(a, b, metric, step)) for a, b in both]
    p = holm([test.deciding_p if test.most_are_there else math.nan for test in tests])
    ranks = holm([test.wilcoxon_p if test.most_are_there else math.nan for test in tests])
    found = [
        Pair(a, b, metric, step, test, p_holm, wilcoxon_p_holm, family=len(both), verdict="")
        for (a, b), test, p_holm, wilcoxon_p_holm in zip(both, tests, p, ranks, strict=True)
    ]
    return tuple(replace(pair, verdict=conclusions.of_pair(pair)) for pair in found)


def differences(a: RunResult, b: RunResult, metric: Metric, step: int) -> Floats:
    """The differences a minus b at inner step `step`, [T]; nan where either run diverged.

    Those of accuracies are formed from counts of right answers: equal ones are then equal to the last bit, as ranking
    them needs.
    """
    import numpy as np

    x, y = values(a, metric)[:, step], values(b, metric)[:, step]
    lost = a.values.diverged | b.values.diverged
    with np.errstate(invalid="ignore"):  # inf - inf
        found: Floats = x - y
    if metric == "accuracy":
        examples = a.evaluation.queries * (a.evaluation.ways or 1)
        found = (found * examples).round() / examples
    return np.where(lost, np.nan, found)


def seed_pairs(runs: Sequence[RunResult], *, metric: Metric, step: int) -> tuple[SeedPair, ...]:
    """Every two settings that were trained from at least two seeds each, compared by the means of their runs."""
    from metatui.learning.evaluation.statistics import holm, welch_test

    both = [(a, b) for a, b in combinations(seed_groups(runs), 2) if a.runs[0].same_tasks == b.runs[0].same_tasks]
    tests = [welch_test(*([_mean(run, metric, step) for run in group.runs] for group in two)) for two in both]
    p = holm([test.p for test in tests])
    found = [
        SeedPair(a, b, metric, step, test, p_holm, family=len(both), verdict="")
        for (a, b), test, p_holm in zip(both, tests, p, strict=True)
    ]
    return tuple(replace(pair, verdict=conclusions.of_seeds(pair)) for pair in found)


def _mean(run: RunResult, metric: Metric, step: int) -> float:
    """The mean over the tasks that did not diverge; nan where most did."""
    kept = ~run.values.diverged
    return float(values(run, metric)[kept, step].mean()) if 2 * kept.sum() > len(kept) else math.nan


def seed_groups(runs: Sequence[RunResult]) -> list[SeedGroup]:
    """Runs of the same settings from at least two seeds; of a seed that was run twice, the last run."""
    alike: dict[Hashable, dict[int, RunResult]] = defaultdict(dict)
    for run in runs:
        alike[run.same_tasks, _but_for_the_seed(run.settings)][run.settings.training.seed] = run
    groups = [tuple(seeds.values()) for seeds in alike.values() if len(seeds) > 1]
    names = labels([group[0].run for group in groups], [_but_for_the_seed(group[0].settings) for group in groups])
    return [SeedGroup(name, group) for name, group in zip(names, groups, strict=True)]


def values(run: RunResult, metric: Metric) -> Floats:
    """[T, steps + 1]."""
    if metric == "loss":
        return run.values.loss
    assert run.values.accuracy is not None
    return run.values.accuracy


def _but_for_the_seed(settings: Settings) -> Settings:
    """What says how a run learns, and neither from which seed nor where it is computed."""
    same = {group: Settings.model_fields[group].default for group in FREE_ON_RESUME}
    return settings.model_copy(update={**same, "training": settings.training.model_copy(update={"seed": 0})})
