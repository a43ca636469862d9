"""What a test says, in a sentence that a person can take away."""

from __future__ import annotations

import math

from metatui.runs.analysis.comparison.formatting import points, probability
from metatui.runs.analysis.comparison.values import Metric, Pair, RunResult, SeedPair
from metatui.utils.numbers import interval

LEVEL = 0.05
"""A corrected p under this is called a difference."""


def of_pair(pair: Pair) -> str:
    """`MAML is 2.1 ± 0.4 points above Reptile on the same 600 tasks; a difference this large is not luck (…)`."""
    a, b, test = pair.a.label, pair.b.label, pair.test
    count = test.tasks + test.left_out
    tasks, lost = f"on the same {count:,} tasks", ""
    if test.left_out:
        # Said first: it is a difference by itself, and the remaining tasks are a biased sample.
        lost = f"{a} diverged on {_some(pair.a)} of the same {count:,} tasks and {b} on {_some(pair.b)}"
        if test.tasks < 2 or not test.most_are_there:
            return f"{lost}: the others are too few to compare them"
        tasks, lost = f"on the other {test.tasks:,} tasks", f"{lost}; "
    elif test.tasks < 2:
        return f"Nothing can be said of {a} and {b} {tasks}: one task has no spread"
    none = (
        f"{lost}no difference between them is seen {tasks}"
        if lost
        else f"No difference seen between {a} and {b} {tasks}"
    )
    if test.mean == test.ci95 == 0:
        return f"{none}: their {pair.metric} is the same on each"
    said = _said(pair.metric, test.mean, test.ci95, a, b)
    p = _chance(pair.p_holm, "Wilcoxon p" if math.isnan(test.p) else "p", pair.family, "pairs")
    if pair.p_holm < LEVEL:
        said = f"{lost}{said}" if lost else _capital(said)
        return f"{said} {tasks}; a difference this large is not luck ({p}){_median_against(pair)}"
    return f"{none} ({said}, {p}){_ranks_against(pair)}"


def of_seeds(pair: SeedPair) -> str:
    """The same over seeds: `MAML (3 seeds) is …`."""
    a, b = (f"{group.label} ({len(group.runs)} seeds)" for group in (pair.a, pair.b))
    test = pair.test
    count = pair.a.runs[0].evaluation.tasks
    lost = max(run.diverged for group in (pair.a, pair.b) for run in group.runs)
    diverged = f"; up to {lost:,} of {count:,} tasks diverged in a run and are left out" if lost else ""
    if math.isnan(test.ci95):
        return f"Nothing can be said of {a} and {b}: fewer than two seeds of each have a finite {pair.metric}{diverged}"
    said = _said(pair.metric, test.difference, test.ci95, a, b)
    tasks = f"on the same {count:,} tasks"
    if math.isnan(pair.p_holm):
        return f"{_capital(said)} {tasks}, but the seeds of each are all alike: no test can be made of that{diverged}"
    p = _chance(pair.p_holm, "Welch's p", pair.family, "pairs of settings")
    if pair.p_holm < LEVEL:
        return f"{_capital(said)} {tasks}; a difference this large is not luck of the seeds ({p}){diverged}"
    if diverged:
        return f"No difference between {a} and {b} is seen on the tasks that did not diverge ({said}, {p}){diverged}"
    return f"No difference seen between {a} and {b} {tasks} ({said}, {p})"


def _said(metric: Metric, difference: float, half: float, a: str, b: str) -> str:
    """Which is better, by how much. The interval is of a minus b."""
    above = difference >= 0
    if metric == "accuracy":
        first, second = (a, b) if above else (b, a)
        return f"{first} is {points(abs(difference), half)} points above {second}"
    first, second = (b, a) if above else (a, b)
    return f"the loss of {first} is {interval(abs(difference), half)} below that of {second}"


def _chance(p: float, name: str, family: int, of: str) -> str:
    corrected = f", Holm-corrected for {family} {of}" if family > 1 else ""
    return f"{probability(p, name)}{corrected}"


def _median_against(pair: Pair) -> str:
    """Where a few tasks make the mean, the task in the middle may say the contrary."""
    if pair.test.mean * pair.test.median >= 0:
        return ""
    return f"; but on the task in the middle {_ahead(pair)} is ahead: a few tasks make the mean"


def _ranks_against(pair: Pair) -> str:
    """Where a few tasks hide in the mean what most tasks say."""
    if not pair.wilcoxon_p_holm < LEVEL or pair.test.median == 0 or math.isnan(pair.test.p):
        return ""
    p = _chance(pair.wilcoxon_p_holm, "Wilcoxon p", pair.family, "pairs")
    return f"; but on most tasks {_ahead(pair)} is ahead ({p}): a few tasks make the mean"


def _ahead(pair: Pair) -> str:
    """The better on the task in the middle."""
    a_is_better = pair.test.median > 0 if pair.metric == "accuracy" else pair.test.median < 0
    return pair.a.label if a_is_better else pair.b.label


def _some(run: RunResult) -> str:
    """How many tasks diverged."""
    return f"{run.diverged:,}" if run.diverged else "none"


def _capital(sentence: str) -> str:
    """A sentence's first letter, where it is not a name's."""
    return sentence.replace("the loss", "The loss", 1) if sentence.startswith("the loss") else sentence
