"""Ranges of the sine waves of Finn et al. (2017, section 5.1). Imports no torch, because the app uses them, too."""

from __future__ import annotations

import math

AMPLITUDE = (0.1, 5.0)
PHASE = (0.0, math.pi)
X = (-5.0, 5.0)
