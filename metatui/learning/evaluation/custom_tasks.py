"""Tasks that the user defines in the explorer.

This module does not import torch, because the app imports it at start-up.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from metatui.learning.data.wave_ranges import AMPLITUDE, PHASE
from metatui.utils.errors import BadInput

MAX_AMPLITUDE = 10.0


@dataclass(frozen=True)
class Wave:
    """The sine wave y = amplitude * sin(x - phase). Raises BadInput if a value is out of range."""

    amplitude: float
    phase: float

    def __post_init__(self) -> None:
        if not 0 < self.amplitude <= MAX_AMPLITUDE:
            raise BadInput(f"amplitude is {self.amplitude:g}, but must be above 0 and at most {MAX_AMPLITUDE:g}")
        if not -2 * math.pi <= self.phase <= 2 * math.pi:
            raise BadInput(f"phase is {self.phase:g}, but must be from -2π to 2π")

    @property
    def trained_on(self) -> bool:
        """True if the wave is within the ranges of the training tasks."""
        return AMPLITUDE[0] <= self.amplitude <= AMPLITUDE[1] and PHASE[0] <= self.phase <= PHASE[1]


@dataclass(frozen=True)
class ChosenClasses:
    """A task of held-out classes, given as comma-separated class numbers, names or prefixes of names."""

    text: str


CustomTask = Wave | ChosenClasses
