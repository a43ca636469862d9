"""The task and the inner learning rate that the user selected in the explorer."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final, Literal

from metatui.events import RegressionView
from metatui.learning.evaluation.custom_tasks import MAX_AMPLITUDE, ChosenClasses, CustomTask, Wave
from metatui.runs.formatting import split_name

STEPS: Final = 50
"""Number of inner steps of each adaptation."""

RATE_FACTOR: Final = 1.25
MAX_RATE_STEPS: Final = 20
"""Maximum absolute value of `rate_steps`. Inner learning rates range from 1/87 to 87 times the rate of a run."""

WAVE_STEP: Final = 0.1
"""Change in amplitude or phase for each key press."""


@dataclass(frozen=True)
class ExplorerQuery:
    task: int = 0
    split: Literal["test", "val"] = "test"
    """Split from which the held-out task is drawn."""
    drawn: CustomTask | None = None
    """A user-defined task, or None to show the held-out task."""
    rate_steps: int = 0
    """Exponent of RATE_FACTOR in the factor by which the inner learning rate of each run is multiplied."""

    @property
    def rate(self) -> float:
        """Factor by which the inner learning rate of each run is multiplied."""
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
        """Return a query with a rate that is `by` steps higher. If `by` is 0, the runs' own rates are used again."""
        steps = max(-MAX_RATE_STEPS, min(MAX_RATE_STEPS, self.rate_steps + by)) if by else 0
        return replace(self, rate_steps=steps)

    def change_wave(self, amplitude: int, phase: int) -> ExplorerQuery:
        """Return a query with a changed wave. The amplitude and the phase stay within their limits.

        If the task of this query is not a user-defined wave, the query is returned unchanged.
        """
        if not isinstance(self.drawn, Wave):
            return self
        a = self.drawn.amplitude + amplitude * WAVE_STEP
        p = self.drawn.phase + phase * WAVE_STEP
        wave = Wave(round(max(WAVE_STEP, min(MAX_AMPLITUDE, a)), 2), round(max(-math.pi, min(2 * math.pi, p)), 2))
        return replace(self, drawn=wave)


def wave_of(view: RegressionView) -> Wave:
    """Return the wave that a view shows. Its amplitude and phase are computed from points of the true function."""
    # y = a sin x + b cos x, solved at x = 0 and at another point.
    x, y = min(zip(view.grid, view.truth, strict=True), key=lambda point: abs(abs(point[0]) - 1.5))
    _, b = min(zip(view.grid, view.truth, strict=True), key=lambda point: abs(point[0]))
    a = (y - b * math.cos(x)) / math.sin(x)
    return Wave(round(max(WAVE_STEP, math.hypot(a, b)), 2), round(math.atan2(-b, a), 2))
