"""Statistics over tasks and over seeds: intervals, paired tests, Welch's test, Holm's correction, smoothing.

Statistics that decide a comparison are written out here and agree with scipy to 1e-12 (test_statistics.py);
distributions and the signed-rank test are scipy's. Values that are not finite never warn or raise: the result is nan.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtr, stdtrit
from torch import Tensor

from metatui.utils.smoothing import ExponentialAverage

Floats = NDArray[np.float64]

FEW = 13
"""Up to so many differences Wilcoxon's test counts every outcome where there are ties, as newer scipy does."""


def mean_ci95(values: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Means and half-widths of 95 % intervals over the leading axis, by Student's t.

    Args:
        values: [T, S], one row a task.

    Returns:
        S means and S half-widths; nan where there are too few rows: a mean needs one row, an interval two.
    """
    tasks = len(values)
    if tasks < 2:
        nan = (math.nan,) * values.shape[1]
        return tuple(values[0].tolist()) if tasks else nan, nan
    values = values.to(device="cpu", dtype=torch.float64)
    half = _t_quantile(tasks - 1) * values.std(dim=0, correction=1) / tasks**0.5
    return tuple(values.mean(dim=0).tolist()), tuple(half.tolist())


@dataclass(frozen=True)
class PairedTest:
    """Differences of two learners on the same tasks, and what they say. nan for what the differences cannot tell."""

    tasks: int
    """Differences that are finite: the others are left out."""
    left_out: int
    mean: float
    ci95: float
    """Half-width of the 95 % interval of the mean, by Student's t."""
    median: float
    """What the task in the middle says, which no tail moves."""
    t: float
    """Of the paired t-test, with `tasks` - 1 degrees of freedom."""
    p: float
    """Two-sided, of the paired t-test. 1 where every difference is zero, nan where all are the same but not zero: the
    test has no spread to go by."""
    wilcoxon_p: float
    """Two-sided, of Wilcoxon's signed-rank test without the zeros. 1 where every difference is zero."""
    effect_size: float
    """Cohen's d_z: the mean difference over the standard deviation of the differences (Lakens 2013)."""

    @property
    def most_are_there(self) -> bool:
        """Whether most differences are finite. A minority of them would be a biased sample."""
        return self.left_out < self.tasks

    @property
    def deciding_p(self) -> float:
        """The t-test's p; Wilcoxon's where the t-test has none."""
        return self.wilcoxon_p if math.isnan(self.p) else self.p


def paired_test(differences: ArrayLike) -> PairedTest:
    """Compare two learners by their differences on the same tasks.

    Args:
        differences: [T], first minus second. Wilcoxon's test ranks them, so differences that are equal must be so to
            the last bit: form those of accuracies from counts.
    """
    given = np.asarray(differences, dtype=np.float64).reshape(-1)
    d = given[np.isfinite(given)]
    n, nan = len(d), math.nan
    if n == 0:
        return PairedTest(0, len(given), nan, nan, nan, nan, nan, nan, nan)
    mean, median = _mean(d), float(np.median(d))
    if n == 1:
        return PairedTest(1, len(given) - 1, mean, nan, median, nan, nan, nan, nan)
    spread = _deviation(d)
    if spread == 0:
        t, p, effect = (0.0, 1.0, 0.0) if mean == 0 else (math.copysign(math.inf, mean), nan, nan)
        return PairedTest(n, len(given) - n, mean, 0.0, median, t, p, _wilcoxon_p(d), effect)
    error = spread / math.sqrt(n)
    t = mean / error
    return PairedTest(
        tasks=n,
        left_out=len(given) - n,
        mean=mean,
        ci95=_t_quantile(n - 1) * error,
        median=median,
        t=t,
        p=_two_sided(t, n - 1),
        wilcoxon_p=_wilcoxon_p(d),
        effect_size=mean / spread,
    )


@dataclass(frozen=True)
class WelchTest:
    """The difference of two means with unequal variances (Welch 1947). nan for what cannot be told."""

    difference: float
    ci95: float
    """Half-width of the 95 % interval of the difference."""
    t: float
    degrees: float
    """Of freedom, by Welch and Satterthwaite."""
    p: float
    """Two-sided. 1 where all values are the same, nan where there is no spread within either but one between."""


def welch_test(a: ArrayLike, b: ArrayLike) -> WelchTest:
    """The mean of `a` minus that of `b`, from at least two values each: one a seed, say. What is not finite is left
    out."""
    x, y = (np.asarray(values, dtype=np.float64).reshape(-1) for values in (a, b))
    x, y = x[np.isfinite(x)], y[np.isfinite(y)]
    nan = math.nan
    if min(len(x), len(y)) < 2:
        return WelchTest(_mean(x) - _mean(y) if len(x) and len(y) else nan, nan, nan, nan, nan)
    difference = _mean(x) - _mean(y)
    errors = _deviation(x) / math.sqrt(len(x)), _deviation(y) / math.sqrt(len(y))
    error = math.hypot(*errors)
    if error == 0:
        t, p = (math.copysign(math.inf, difference), nan) if difference else (0.0, 1.0)
        return WelchTest(difference, 0.0, t, nan, p)
    t = difference / error
    share, rest = (errors[0] / error) ** 2, (errors[1] / error) ** 2
    degrees = 1 / (share**2 / (len(x) - 1) + rest**2 / (len(y) - 1))
    return WelchTest(difference, _t_quantile(degrees) * error, t, degrees, _two_sided(t, degrees))


def holm(p: Sequence[float]) -> tuple[float, ...]:
    """`p` corrected for there being so many of them (Holm 1979): the chance that any of those called different is not
    stays at the level of one test. Each nan stays, and does not count as a test."""
    corrected = [math.nan] * len(p)
    tested = sorted((value, i) for i, value in enumerate(p) if not math.isnan(value))
    least = 0.0
    for rank, (value, i) in enumerate(tested):
        least = max(least, min(1.0, (len(tested) - rank) * value))
        corrected[i] = least
    return tuple(corrected)


def smoothed(values: ArrayLike, span: float) -> Floats:
    """Average values exponentially, as `metatui.utils.smoothing` defines it.

    Args:
        values: [S]. What is not finite is left out.
        span: at least 1. The weight of a value falls by a factor of 1 - 2 / (`span` + 1) with each that follows, so
            that the weights lie as far back in the mean as those of a moving average over `span` values.

    Returns:
        [S], nan before the first finite value.
    """
    average = ExponentialAverage(1 - 2 / (span + 1))
    return np.array(average.extend(np.asarray(values, dtype=np.float64).reshape(-1).tolist()))


def _mean(values: Floats) -> float:
    with np.errstate(all="ignore"):  # a sum may be larger than any float
        return float(values.mean())


def _deviation(values: Floats) -> float:
    if (values == values[0]).all():  # where rounding of the mean would make it look like a spread
        return 0.0
    with np.errstate(all="ignore"):
        return float(values.std(ddof=1))


def _t_quantile(degrees: float) -> float:
    return float(stdtrit(degrees, 0.975))


def _two_sided(t: float, degrees: float) -> float:
    return 2 * float(stdtr(degrees, -abs(t)))


def _wilcoxon_p(differences: Floats) -> float:
    from scipy.stats import rankdata, wilcoxon

    sizes = np.abs(differences[differences != 0])
    if not len(sizes):
        return 1.0
    if len(differences) > FEW or len(np.unique(sizes)) == len(differences):
        return float(wilcoxon(differences).pvalue)
    # With ties or zeros so few have no tabled distribution, but all ways to give signs to the ranks can be counted.
    ranks = rankdata(sizes)
    signs = (np.arange(2 ** len(ranks))[:, None] >> np.arange(len(ranks))) & 1
    sums = signs @ ranks
    seen = ranks[differences[differences != 0] > 0].sum()
    return min(1.0, 2 * min(float((sums <= seen).mean()), float((sums >= seen).mean())))
