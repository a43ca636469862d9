"""What is seen of parameter space: plain values without tensors."""

from __future__ import annotations

import math
from dataclasses import dataclass

Place = tuple[float, float]


@dataclass(frozen=True)
class AdaptationTrajectories:
    """Where one initialisation is moved to by many held-out tasks. The initialisation itself is at (0, 0)."""

    paths: tuple[tuple[Place, ...], ...]
    """For each task its places in the plane of the two principal components, from inner step 0 on."""
    explained: tuple[float, float]
    """Shares of the end points' variance that the two components have."""
    moved: tuple[float, ...]
    """For each task how far its parameters are from the initialisation in the end, in all dimensions."""
    before: tuple[float, ...]
    """For each task its query loss before the first inner step."""
    after: tuple[float, ...]
    """And after the last."""
    parameters: int
    """Dimensions of the space."""

    @property
    def gained(self) -> tuple[float, ...]:
        """For each task how much lower its query loss is in the end."""
        return tuple(b - a for b, a in zip(self.before, self.after, strict=True))


def mean(values: tuple[float, ...]) -> float:
    """Of finite values; nan where there is none."""
    finite = [value for value in values if math.isfinite(value)]
    return sum(finite) / len(finite) if finite else math.nan
