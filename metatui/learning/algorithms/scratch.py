"""Scratch: a baseline without meta-learning.

The random initialisation is adapted to each held-out task with the same inner loop as in the other algorithms. The
improvement of an algorithm over Scratch is what it learned from the training tasks.
"""

from __future__ import annotations

from metatui.config.settings import AlgorithmSettings
from metatui.learning.algorithms.base import Algorithm, MetaStep


class Scratch(Algorithm):
    """Keeps the random initialisation."""

    trains = False

    def meta_step(self, tasks: range, algorithm: AlgorithmSettings, outer_lr: float) -> MetaStep:
        raise NotImplementedError("scratch has no outer loop")
