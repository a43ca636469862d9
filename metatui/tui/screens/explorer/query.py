"""The task and the inner learning rate that the user selected in the explorer."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final, Literal

from metatui.events import RegressionView
from metatui.learning.evaluation.custom_tasks import LARGEST_AMPLITUDE, ChosenClasses, Drawn, Wave
from metatui.tui.formatting import split_name

STEPS: Final = 50
"""Number of inner steps of each adaptation."""

RATE_FACTOR: Final = 1.25
MOST_RATE_STEPS: Final = 20
"""Maximum absolute value of `rate_steps`. Rates range from 1/87 of a run's own rate to 87 times that rate."""

WAVE_STEP: Final = 0.1
"""Change in amplitude or phase for each key press."""


@dataclass(frozen=True)
class ExplorerQuery:
    task: int = 0
    split: Literal["test", "val"] = "test"
    """Split from which the held-out task is drawn."""
    drawn: Drawn | None = None
    """A user-defined task; None for the held-out task."""
    rate_steps: int = 0
    """Number of times that the runs' own rates are multiplied by RATE_FACTOR; if negative, they are divided by it."""

    @property
    def rate(self) -> float:
        """Factor by which each run's own inner learning rate is multiplied."""
        return RATE_FACTOR**self.rate_steps

    def describe(self) -> str:
        match self.drawn:
            case Wave() as wave:
                outside = "" if wave.trained_on else ", outside the training range"
                return f"Your wave: A = {wave.amplitude:.2f}, φ = {wave.phase:.2f}{outside}; points of task {self.task}"
            case ChosenClasses(text):
                return f"Chosen classes: {text}; images of task {self.task}"
            case None:
                return f"Held-out {split_name(self.split)} task {self.task}"

    def change_task(self, by: int) -> ExplorerQuery:
        return replace(self, task=max(0, self.task + by))

    def change_rate(self, by: int) -> ExplorerQuery:
        """Raise or lower the rate by `by` steps. If `by` is 0, return to the runs' own rates."""
        steps = max(-MOST_RATE_STEPS, min(MOST_RATE_STEPS, self.rate_steps + by)) if by else 0
        return replace(self, rate_steps=steps)

    def change_wave(self, amplitude: int, phase: int) -> ExplorerQuery:
        """Change the drawn wave within its parameter limits. If no wave is drawn, return the query unchanged."""
        if not isinstance(self.drawn, Wave):
            return self
        a = self.drawn.amplitude + amplitude * WAVE_STEP
        p = self.drawn.phase + phase * WAVE_STEP
        wave = Wave(round(max(WAVE_STEP, min(LARGEST_AMPLITUDE, a)), 2), round(max(-math.pi, min(2 * math.pi, p)), 2))
        return replace(self, drawn=wave)


def wave_of(view: RegressionView) -> Wave:
    """Compute the amplitude and the phase of the wave that a view shows."""
    # y = a sin x + b cos x, solved at x = 0 and at another point.
    x, y = min(zip(view.grid, view.truth, strict=True), key=lambda point: abs(abs(point[0]) - 1.5))
    _, b = min(zip(view.grid, view.truth, strict=True), key=lambda point: abs(point[0]))
    a = (y - b * math.cos(x)) / math.sin(x)
    return Wave(round(max(WAVE_STEP, math.hypot(a, b)), 2), round(math.atan2(-b, a), 2))
