"""Tests of the statistics: agreement with scipy to 1e-12 on recorded data, error rates in simulations, and edge cases.

A simulation uses a fixed seed to draw 1,000 experiments with a known true value. 95 % confidence intervals must
contain the true value in 93 to 97 % of the experiments. If there is no true difference, p must be below 0.05 in 3 to
7 % of the experiments.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from metatui.learning.evaluation.statistics import MAX_ENUMERATED, holm, mean_ci95, paired_test, smoothed, welch_test

Floats = NDArray[np.float64]

TRIALS = 1000

RECORDED: dict[str, list[list[float]]] = json.loads(Path(__file__).with_name("recorded_tasks.json").read_text())
"""The accuracies and losses of three runs on the same held-out tasks."""


def close(value: float, expected: Any) -> bool:
    return value == pytest.approx(expected, rel=1e-12, abs=1e-300)


@pytest.mark.parametrize(
    ("metric", "first", "second", "tasks"),
    [
        *product(("accuracy", "loss"), (0,), (1, 2), (2, 7, 40, 200)),
        ("accuracy", 1, 2, 200),
        ("loss", 1, 2, 200),
        ("accuracy", 0, 1, MAX_ENUMERATED),
    ],
)
def test_paired_tests_agree_with_scipy(metric: str, first: int, second: int, tasks: int) -> None:
    a, b = (np.array(RECORDED[metric][run][:tasks]) for run in (first, second))
    ours = paired_test(a - b)
    theirs = stats.ttest_rel(a, b)
    low, high = theirs.confidence_interval(0.95)
    assert close(ours.t, theirs.statistic)
    assert close(ours.p, theirs.pvalue)
    assert close(ours.mean - ours.ci95, low)
    assert close(ours.mean + ours.ci95, high)
    assert close(ours.effect_size, (a - b).mean() / (a - b).std(ddof=1))
    assert close(ours.median, float(np.median(a - b)))
    signed_rank = (
        stats.wilcoxon(a, b, method=stats.PermutationMethod()) if tasks <= MAX_ENUMERATED else stats.wilcoxon(a, b)
    )
    assert close(ours.wilcoxon_p, signed_rank.pvalue)
    assert (ours.tasks, ours.left_out) == (tasks, 0)


@pytest.mark.parametrize(("first", "second"), [(2, 2), (3, 5), (50, 8)])
@pytest.mark.parametrize("metric", ["accuracy", "loss"])
def test_welch_test_agrees_with_scipy(metric: str, first: int, second: int) -> None:
    a, b = RECORDED[metric][0][:first], RECORDED[metric][2][-second:]
    ours = welch_test(a, b)
    theirs = stats.ttest_ind(a, b, equal_var=False)
    low, high = theirs.confidence_interval(0.95)
    assert close(ours.t, theirs.statistic)
    assert close(ours.p, theirs.pvalue)
    assert close(ours.degrees, theirs.df)
    assert close(ours.difference - ours.ci95, low)
    assert close(ours.difference + ours.ci95, high)


@pytest.mark.parametrize("metric", ["accuracy", "loss"])
def test_mean_intervals_agree_with_scipy(metric: str) -> None:
    mean, half = mean_ci95(torch.tensor(RECORDED[metric], dtype=torch.float64).T)
    for run, values in enumerate(torch.tensor(RECORDED[metric], dtype=torch.float64).numpy()):
        low, high = stats.ttest_1samp(values, 0).confidence_interval(0.95)
        assert close(mean[run] - half[run], low)
        assert close(mean[run] + half[run], high)


def test_holm_as_published() -> None:
    """Compare `holm` with `p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm")` in R, and check shorter lists."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx((0.03, 0.06, 0.06, 0.02), rel=1e-12)
    assert holm([0.5, 0.6]) == (1.0, 1.0)
    assert holm([0.02]) == (0.02,)
    assert holm([]) == ()


def test_holm_ignores_nan() -> None:
    corrected = holm([0.01, math.nan, 0.04])
    assert corrected[0] == pytest.approx(0.02)
    assert math.isnan(corrected[1])
    assert corrected[2] == pytest.approx(0.04)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_matches_its_definition(p: list[float]) -> None:
    rejected, order = set(), sorted(range(len(p)), key=lambda i: p[i])
    for rank, i in enumerate(order):
        if p[i] * (len(p) - rank) > 0.05:
            break
        rejected.add(i)
    assert {i for i, value in enumerate(holm(p)) if value <= 0.05} == rejected


def normal(random: np.random.Generator) -> Floats:
    """Draw normally distributed differences between the losses of two runs on 30 tasks."""
    return random.normal(0.0, 0.3, 30)


def accuracies(random: np.random.Generator) -> Floats:
    """Draw differences between the accuracies of two runs on 100 tasks with 25 query examples each.

    Each task is equally difficult for both runs.
    """
    difficulty = random.beta(8, 2, 100)
    return (random.binomial(25, difficulty) - random.binomial(25, difficulty)) / 25


def skewed(random: np.random.Generator) -> Floats:
    """Draw differences between the exponentially distributed losses of two runs on 100 tasks."""
    return random.exponential(1.0, 100) - random.exponential(1.0, 100)


@pytest.mark.parametrize("draw", [normal, accuracies, skewed])
def test_paired_test_coverage_and_level(draw: Callable[[np.random.Generator], Floats]) -> None:
    random = np.random.default_rng(1)
    results = [paired_test(draw(random)) for _ in range(TRIALS)]
    assert 0.93 <= share([abs(test.mean) <= test.ci95 for test in results]) <= 0.97
    assert 0.03 <= share([test.p < 0.05 for test in results]) <= 0.07
    assert 0.03 <= share([test.wilcoxon_p < 0.05 for test in results]) <= 0.07


def test_mean_interval_coverage() -> None:
    values = torch.from_numpy(np.random.default_rng(2).gamma(9.0, 1.0, (60, TRIALS)))
    mean, half = mean_ci95(values)
    assert 0.93 <= share([abs(m - 9.0) <= h for m, h in zip(mean, half, strict=True)]) <= 0.97


@pytest.mark.parametrize(("first", "second"), [(5, 5), (10, 4)])
def test_welch_test_coverage_and_level(first: int, second: int) -> None:
    random = np.random.default_rng(3)
    results = [welch_test(random.normal(0.9, 0.01, first), random.normal(0.9, 0.03, second)) for _ in range(TRIALS)]
    assert 0.93 <= share([abs(test.difference) <= test.ci95 for test in results]) <= 0.97
    assert 0.03 <= share([test.p < 0.05 for test in results]) <= 0.07


def test_holm_keeps_the_level_over_many_pairs() -> None:
    """Compare four runs without true differences, which form six pairs.

    At least one pair differs significantly in at most 7 % of the trials with Holm's correction, and in more than 12 %
    without it.
    """
    random = np.random.default_rng(4)
    runs = random.normal(0.0, 1.0, (TRIALS, 4, 60)) + random.normal(0.0, 2.0, (TRIALS, 1, 60))
    pairs = [(i, j) for i in range(4) for j in range(i)]
    p_values = np.stack([stats.ttest_rel(runs[:, i], runs[:, j], axis=1).pvalue for i, j in pairs], axis=1)
    assert share([min(holm(p)) < 0.05 for p in p_values.tolist()]) <= 0.07
    assert share([min(p) < 0.05 for p in p_values.tolist()]) > 0.12


def test_true_difference_is_detected() -> None:
    random = np.random.default_rng(5)
    results = [paired_test(random.normal(0.5, 1.0, 100)) for _ in range(200)]
    assert share([test.p < 0.05 for test in results]) > 0.99
    assert np.mean([test.effect_size for test in results]) == pytest.approx(0.5, abs=0.02)


def share(outcomes: list[bool]) -> float:
    return sum(outcomes) / len(outcomes)


def test_zero_differences() -> None:
    test = paired_test([0.0] * 600)
    assert (test.mean, test.ci95, test.median, test.t, test.effect_size) == (0, 0, 0, 0, 0)
    assert test.p == test.wilcoxon_p == test.deciding_p == 1


@pytest.mark.parametrize("differing", [1, 2, 5, MAX_ENUMERATED])
def test_few_differing_tasks_among_many_give_the_exact_p(differing: int) -> None:
    differences = [0.0] * 100 + [0.01 * (1 + n // 2) for n in range(differing)]
    assert paired_test(differences).wilcoxon_p == min(1.0, 2 * 0.5**differing)  # all signs are equal


def test_constant_difference_uses_wilcoxon() -> None:
    test = paired_test([-0.1] * 20)
    assert test.mean == pytest.approx(-0.1)
    assert (test.ci95, test.t) == (0.0, -math.inf)
    assert math.isnan(test.p)
    assert test.deciding_p == test.wilcoxon_p < 0.001
    two = paired_test([-0.1] * 2)
    assert two.deciding_p > 0.05, "two tasks are too few"


@pytest.mark.parametrize("differences", [[], [0.5], [math.nan], [math.inf, -math.inf, 0.25]])
def test_too_few_differences_give_nan(differences: list[float]) -> None:
    test = paired_test(differences)
    finite = [d for d in differences if math.isfinite(d)]
    assert (test.tasks, test.left_out) == (len(finite), len(differences) - len(finite))
    assert math.isnan(test.p)
    assert math.isnan(test.ci95)
    assert math.isnan(test.deciding_p)


def test_diverged_tasks_are_left_out_and_counted() -> None:
    d = [0.1, 0.3, math.nan, 0.2, -math.inf]
    assert paired_test(d) == replace(paired_test([0.1, 0.3, 0.2]), left_out=2)


def test_outlier_moves_mean_but_not_median() -> None:
    test = paired_test([*np.linspace(0.1, 0.3, 99), -1000.0])
    assert test.mean < -9
    assert test.median == pytest.approx(0.2, abs=0.01)
    assert test.p > 0.05
    assert test.wilcoxon_p < 1e-6


def test_seeds_without_spread() -> None:
    assert welch_test([0.5, 0.5], [0.5, 0.5, 0.5]).p == 1
    apart = welch_test([0.5, 0.5], [0.25, 0.25])
    assert (apart.difference, apart.ci95, apart.t) == (0.25, 0.0, math.inf)
    assert math.isnan(apart.p)
    one = welch_test([0.5], [0.25, 0.75, math.nan])
    assert one.difference == 0.0
    assert math.isnan(one.p)
    assert math.isnan(welch_test([], [1.0]).difference)


@settings(deadline=None)
@given(st.lists(st.floats(), max_size=30), st.lists(st.floats(), max_size=5))
def test_arbitrary_numbers_never_raise_or_warn(a: list[float], b: list[float]) -> None:
    for test in (paired_test(a), welch_test(a, b)):
        assert math.isnan(test.p) or 0 <= test.p <= 1
    smoothed(a, 3)


def test_smoothing_is_a_weighted_mean() -> None:
    values, span = [3.0, 1.0, 4.0, 1.0, 5.0], 4
    for end in range(1, 6):
        weights = [(1 - 2 / (span + 1)) ** k for k in range(end)][::-1]
        assert smoothed(values, span)[end - 1] == pytest.approx(np.average(values[:end], weights=weights), rel=1e-12)
    assert smoothed(values, 1).tolist() == values


def test_smoothing_has_no_bias_and_skips_non_finite_values() -> None:
    assert smoothed([7.0] * 50, 20) == pytest.approx([7.0] * 50, rel=1e-12)
    line = smoothed([math.nan, 2.0, math.inf, 4.0], 3)
    assert math.isnan(line[0])
    assert line[1:].tolist() == pytest.approx([2.0, 2.0, (2 / 4 + 4) / (1 / 4 + 1)])
    assert smoothed([], 3).size == 0


def test_smoothing_lag_matches_span() -> None:
    """Check that on a straight line, the result lags by (span - 1) / 2, as does a moving average over `span` values."""
    line = np.arange(100_000.0)
    assert line[-1] - smoothed(line, 50)[-1] == pytest.approx(49 / 2)
