"""Tasks that a person draws, to see how an initialisation adapts to them. Plain values without tensors."""

from __future__ import annotations

import math
from dataclasses import dataclass

from metatui.utils.errors import BadInput

AMPLITUDE = (0.1, 5.0)
PHASE = (0.0, math.pi)
"""What sinusoids are trained on; a drawn one may lie beyond."""

LARGEST_AMPLITUDE = 10.0


@dataclass(frozen=True)
class Wave:
    """y = amplitude * sin(x - phase). Raises BadInput for what is no such wave."""

    amplitude: float
    phase: float

    def __post_init__(self) -> None:
        if not 0 < self.amplitude <= LARGEST_AMPLITUDE:
            raise BadInput(f"amplitude is {self.amplitude:g}, but must be above 0 and up to {LARGEST_AMPLITUDE:g}")
        if not -2 * math.pi <= self.phase <= 2 * math.pi:
            raise BadInput(f"phase is {self.phase:g}, but must be from -2π to 2π")

    @property
    def trained_on(self) -> bool:
        """Whether training tasks may be like it."""
        return AMPLITUDE[0] <= self.amplitude <= AMPLITUDE[1] and PHASE[0] <= self.phase <= PHASE[1]


@dataclass(frozen=True)
class ChosenClasses:
    """Held-out classes of images, as they are asked for: numbers and names, or how names begin, with commas between."""

    text: str


Drawn = Wave | ChosenClasses
