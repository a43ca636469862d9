"""Ranges of the sine waves of Finn et al. (2017, section 5.1).

This module does not import torch, because the app also uses the ranges.
"""

from __future__ import annotations

import math

AMPLITUDE = (0.1, 5.0)
PHASE = (0.0, math.pi)
X = (-5.0, 5.0)
