"""Significance level and results of statistical tests.

This module does not import torch, so that the app can import it quickly.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

LEVEL = 0.05
"""Significance level for p-values, which are corrected if there are several tests."""


@dataclass(frozen=True)
class PairedTest:
    """Statistics of the differences between two learners on the same tasks. Undefined values are NaN."""

    tasks: int
    """Number of tasks whose difference is finite."""
    left_out: int
    """Number of differences that are left out because they are not finite."""
    mean: float
    ci95: float
    """Half-width of the 95 % interval of the mean, from Student's t distribution."""
    median: float
    """Median of the differences. Unlike the mean, it is hardly influenced by outliers."""
    t: float
    """Statistic of the paired t-test with `tasks` - 1 degrees of freedom."""
    p: float
    """Two-sided p-value of the paired t-test. 1 if all differences are zero; NaN if all are equal but not zero, because
    their variance is then zero."""
    wilcoxon_p: float
    """Two-sided p-value of Wilcoxon's signed-rank test of the differences that are not zero; 1 if all are zero."""
    effect_size: float
    """Cohen's d_z: the mean difference divided by the standard deviation of the differences (Lakens 2013)."""

    @property
    def most_are_finite(self) -> bool:
        """Whether most differences are finite. If not, the finite ones are a biased sample."""
        return self.left_out < self.tasks

    @property
    def deciding_p(self) -> float:
        """The p-value of the t-test, or the p-value of Wilcoxon's test if the t-test is undefined."""
        return self.wilcoxon_p if math.isnan(self.p) else self.p


@dataclass(frozen=True)
class WelchTest:
    """Statistics of the difference between the means of two samples with unequal variances (Welch 1947).

    Undefined values are NaN.
    """

    difference: float
    ci95: float
    """Half-width of the 95 % interval of the difference."""
    t: float
    degrees: float
    """Degrees of freedom of Student's t distribution (Welch and Satterthwaite)."""
    p: float
    """Two-sided p-value. 1 if all values are equal; NaN if both samples are constant but differ from each other."""
