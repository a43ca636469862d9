"""Exponential smoothing of training curves."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

DECAYS = (0.6, 0.9, 0.97)
"""Decays that the app offers."""


@dataclass(slots=True)
class ExponentialAverage:
    """A bias-corrected exponential moving average over meta-steps.

    After the values x_1, ..., x_t, the average is s_t / (1 - decay^t), where s_0 = 0 and
    s_t = decay * s_(t-1) + (1 - decay) * x_t (Kingma and Ba, 2015, Algorithm 1). It is the mean of the values x_i, each
    weighted by decay^(t - i). A value that is not finite has no weight, but counts as a meta-step, as in pandas'
    `ewm(adjust=True, ignore_na=False)`.
    """

    decay: float
    """Factor by which the weight of earlier values shrinks in each step, from 0 (no smoothing) to below 1."""
    value: float = math.nan
    """The average; NaN before the first finite value."""
    weight: float = 0.0
    """Sum of the weights of all values so far. The newest value has weight 1."""

    def __post_init__(self) -> None:
        if not 0 <= self.decay < 1:
            raise ValueError(f"decay is {self.decay}, but must be at least 0 and below 1")

    def extend(self, values: Iterable[float]) -> list[float]:
        """Add values in order and return the average after each value."""
        decay, weight, average = self.decay, self.weight, self.value
        isfinite = math.isfinite
        averages = []
        for value in values:
            weight *= decay
            if isfinite(value):
                weight += 1.0
                share = 1.0 / weight
                mixed = (1.0 - share) * average + share * value
                average = mixed if isfinite(mixed) else value  # for the first value, or if the mean overflows
            averages.append(average)
        self.weight, self.value = weight, average
        return averages


def span_of(decay: float) -> float:
    """Return the length of the moving-average window whose lag equals that of an exponential average with `decay`."""
    return 2 / (1 - decay) - 1
