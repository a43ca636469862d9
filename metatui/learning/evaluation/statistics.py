"""Statistics over tasks and seeds: divergence, intervals, paired tests, Welch's test, Holm's correction, smoothing.

The statistics that decide a comparison are computed here and agree with scipy to 1e-12 (test_statistics.py).
Distributions and the signed-rank test come from scipy. Values that are not finite give NaN, never a warning or error.
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

from metatui.learning.evaluation.significance import PairedTest, WelchTest
from metatui.utils.smoothing import ExponentialAverage

Floats = NDArray[np.float64]

DIVERGED = 1000.0
"""A regression task has diverged if its loss after adaptation exceeds this multiple of its loss before adaptation."""

MAX_ENUMERATED = 13
"""If there are ties or zeros, Wilcoxon's test enumerates all outcomes for up to this many nonzero differences.

With more differences, scipy's normal approximation is good enough. scipy would also use it if only a few of many
differences are not zero, and would then often return a p-value that is much too small.
"""


def diverged_tasks(loss: Tensor, *, regression: bool) -> Tensor:
    """Find the tasks on which adaptation diverged.

    A task diverged if its query loss after the last inner step is not finite. A regression loss has no upper bound and
    is usually meaningless long before it overflows. So a regression task also diverged if its query loss after the last
    inner step is more than `DIVERGED` times a reference: the task's loss before adaptation, or the median of these
    losses over the tasks if the median is larger. The median is necessary because a task that the initial parameters
    happen to fit has a loss near zero before adaptation.

    Args:
        loss: [T, steps + 1], query loss at each inner step, starting at step 0.

    Returns:
        bool [T].
    """
    before, after = loss[:, 0], loss[:, -1]
    lost = ~after.isfinite()
    if regression:
        lost = lost | (after > DIVERGED * torch.maximum(before, before.nanmedian()))
    return lost


def mean_ci95(values: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Compute means and half-widths of 95 % intervals over the tasks, with Student's t distribution.

    Args:
        values: [T, S], one row per task.

    Returns:
        S means and S half-widths. Means are NaN if there are no tasks, and half-widths are NaN if there are fewer than
        two tasks.
    """
    tasks = len(values)
    if tasks < 2:
        nan = (math.nan,) * values.shape[1]
        return tuple(values[0].tolist()) if tasks else nan, nan
    values = values.to(device="cpu", dtype=torch.float64)
    half = _t_quantile(tasks - 1) * values.std(dim=0, correction=1) / tasks**0.5
    return tuple(values.mean(dim=0).tolist()), tuple(half.tolist())


def paired_test(differences: ArrayLike) -> PairedTest:
    """Compare two learners using the differences between their results on the same tasks.

    Args:
        differences: result of the first learner minus that of the second, [T]. Equal differences must be identical to
            the last bit, because Wilcoxon's test ranks them. Compute differences of accuracies from counts.
    """
    everything = np.asarray(differences, dtype=np.float64).reshape(-1)
    d = everything[np.isfinite(everything)]
    n, left_out, nan = len(d), len(everything) - len(d), math.nan
    if n == 0:
        return PairedTest(0, left_out, nan, nan, nan, nan, nan, nan, nan)
    mean, median = _mean(d), float(np.median(d))
    if n == 1:
        return PairedTest(1, left_out, mean, nan, median, nan, nan, nan, nan)
    spread = _deviation(d)
    if spread == 0:
        t, p, effect = (0.0, 1.0, 0.0) if mean == 0 else (math.copysign(math.inf, mean), nan, nan)
        return PairedTest(n, left_out, mean, 0.0, median, t, p, _wilcoxon_p(d), effect)
    error = spread / math.sqrt(n)
    t = mean / error
    return PairedTest(
        tasks=n,
        left_out=left_out,
        mean=mean,
        ci95=_t_quantile(n - 1) * error,
        median=median,
        t=t,
        p=_two_sided(t, n - 1),
        wilcoxon_p=_wilcoxon_p(d),
        effect_size=mean / spread,
    )


@dataclass(frozen=True)
class SampleSummary:
    """Statistics of a sample, such as the results of several seeds. Undefined values are NaN."""

    size: int
    """Number of finite values."""
    mean: float
    deviation: float
    """Standard deviation of the sample, with `size` - 1 in the denominator."""
    ci95: float
    """Half-width of the 95 % interval of the mean, from Student's t distribution with `size` - 1 degrees of freedom."""


def sample_summary(values: ArrayLike) -> SampleSummary:
    """Summarise a sample. Values that are not finite are left out."""
    x = np.asarray(values, dtype=np.float64).reshape(-1)
    x = x[np.isfinite(x)]
    n, nan = len(x), math.nan
    if n < 2:
        return SampleSummary(n, float(x[0]) if n else nan, nan, nan)
    deviation = _deviation(x)
    return SampleSummary(n, _mean(x), deviation, _t_quantile(n - 1) * deviation / math.sqrt(n))


def welch_test(a: ArrayLike, b: ArrayLike) -> WelchTest:
    """Compare the means of two samples, such as results of several seeds.

    Args:
        a, b: at least two values each; values that are not finite are left out. The difference is a minus b.
    """
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
    """Correct p-values for multiple testing (Holm 1979).

    The correction limits the probability that any of the tests is a false positive. NaN stays NaN and does not count as
    a test.
    """
    corrected = [math.nan] * len(p)
    tested = sorted((value, i) for i, value in enumerate(p) if not math.isnan(value))
    least = 0.0
    for rank, (value, i) in enumerate(tested):
        least = max(least, min(1.0, (len(tested) - rank) * value))
        corrected[i] = least
    return tuple(corrected)


def smoothed(values: ArrayLike, span: float) -> Floats:
    """Smooth values with an exponential moving average, as defined in `metatui.utils.smoothing`.

    Args:
        values: [S]; values that are not finite have no weight.
        span: at least 1. The weight of a value decays by a factor of 1 - 2 / (`span` + 1) per step, so that the
            average lags as far behind as a moving average over `span` values.

    Returns:
        [S], NaN before the first finite value.
    """
    average = ExponentialAverage(1 - 2 / (span + 1))
    return np.array(average.extend(np.asarray(values, dtype=np.float64).reshape(-1).tolist()))


def _mean(values: Floats) -> float:
    with np.errstate(all="ignore"):  # the sum may overflow
        return float(values.mean())


def _deviation(values: Floats) -> float:
    if (values == values[0]).all():  # otherwise, rounding of the mean would give a small deviation
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
    if len(sizes) > MAX_ENUMERATED or len(np.unique(sizes)) == len(differences):
        return float(wilcoxon(differences).pvalue)
    # With ties or zeros there is no table of the distribution, but all assignments of signs can be enumerated.
    ranks = rankdata(sizes)
    signs = (np.arange(2 ** len(ranks))[:, None] >> np.arange(len(ranks))) & 1
    sums = signs @ ranks
    observed = ranks[differences[differences != 0] > 0].sum()
    return min(1.0, 2 * min(float((sums <= observed).mean()), float((sums >= observed).mean())))
