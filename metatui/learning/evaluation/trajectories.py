"""Trajectories of adaptation in parameter space.

This module does not import torch, because the app imports it at start-up.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

Point = tuple[float, float]


@dataclass(frozen=True)
class AdaptationTrajectories:
    """Trajectories from one initialisation, the point (0, 0), to the adapted parameters of many held-out tasks."""

    paths: tuple[tuple[Point, ...], ...]
    """Parameters of each task at inner steps 0, 1, 2, ..., projected onto the first two principal components."""
    explained: tuple[float, float]
    """Fraction of the variance of the end points that each of the two components explains."""
    moved: tuple[float, ...]
    """Distance of each task's adapted parameters from the initialisation in the full parameter space."""
    before: tuple[float, ...]
    """Query loss of each task before the first inner step."""
    after: tuple[float, ...]
    """Query loss of each task after the last inner step."""
    parameters: int
    """Number of parameters, that is, the dimension of parameter space."""

    @property
    def gained(self) -> tuple[float, ...]:
        """Decrease in each task's query loss through adaptation."""
        return tuple(b - a for b, a in zip(self.before, self.after, strict=True))


def mean(values: tuple[float, ...]) -> float:
    """Return the mean of the finite values, or NaN if no value is finite."""
    finite = [value for value in values if math.isfinite(value)]
    return sum(finite) / len(finite) if finite else math.nan
