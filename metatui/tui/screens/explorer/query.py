"""What is looked at: which task, and at which rate. Keys make another one of it, and the helper computes the newest."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final

from metatui.events import RegressionView
from metatui.learning.evaluation.custom_tasks import LARGEST_AMPLITUDE, Drawn, Wave

STEPS: Final = 50
"""Inner steps at most."""

RATE_STEP: Final = 1.25
MOST_RATE_STEPS: Final = 20
"""Up to 87 times the run's own rate, and down to a 87th of it."""

DRAW_STEP: Final = 0.1
"""Of amplitude and of phase, a key."""


@dataclass(frozen=True)
class ExplorerQuery:
    task: int = 0
    drawn: Drawn | None = None
    rate_steps: int = 0
    """How often the rate was multiplied by RATE_STEP."""

    @property
    def rate(self) -> float:
        """What each run's own inner learning rate is multiplied by."""
        return RATE_STEP**self.rate_steps

    def other_task(self, by: int) -> ExplorerQuery:
        return replace(self, task=max(0, self.task + by))

    def other_rate(self, by: int) -> ExplorerQuery:
        """Faster or slower; 0 is the runs' own rate again."""
        steps = max(-MOST_RATE_STEPS, min(MOST_RATE_STEPS, self.rate_steps + by)) if by else 0
        return replace(self, rate_steps=steps)

    def bent(self, amplitude: int, phase: int) -> ExplorerQuery:
        """The drawn wave, higher or lower and further to the right or left, as far as there are such waves."""
        if not isinstance(self.drawn, Wave):
            return self
        high = self.drawn.amplitude + amplitude * DRAW_STEP
        far = self.drawn.phase + phase * DRAW_STEP
        wave = Wave(
            round(max(DRAW_STEP, min(LARGEST_AMPLITUDE, high)), 2), round(max(-math.pi, min(2 * math.pi, far)), 2)
        )
        return replace(self, drawn=wave)


def wave_of(view: RegressionView) -> Wave:
    """The wave that a view shows, to be bent from there."""
    # y = a sin x + b cos x, from where x is 0 and from another point.
    x, y = min(zip(view.grid, view.truth, strict=True), key=lambda point: abs(abs(point[0]) - 1.5))
    _, b = min(zip(view.grid, view.truth, strict=True), key=lambda point: abs(point[0]))
    a = (y - b * math.cos(x)) / math.sin(x)
    return Wave(round(max(DRAW_STEP, math.hypot(a, b)), 2), round(math.atan2(-b, a), 2))
