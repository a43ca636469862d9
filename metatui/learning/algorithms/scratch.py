"""Scratch, a reference: no meta-learning at all.

The random initialisation, adapted to each held-out task by the same inner loop as the others. What an algorithm
gains over it is what was learned.
"""

from __future__ import annotations

from metatui.config.settings import AlgorithmSettings
from metatui.learning.algorithms.base import Algorithm, MetaStep


class Scratch(Algorithm):
    """Leaves the initialisation as it is."""

    trains = False

    def meta_step(self, tasks: range, algorithm: AlgorithmSettings, outer_lr: float) -> MetaStep:
        raise NotImplementedError("scratch has no outer loop")
