"""The parameters with the best validation result, which are used in the final test."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from metatui.config.settings import Settings
from metatui.events import Evaluation
from metatui.learning.optim.inner import Params
from metatui.learning.training.trainer_state import live_values

REQUIRED = ("best", "best_iteration", "since_best", "validated_at")
"""Values of `BestModel` that every checkpoint has. Checkpoints of older versions lack the other values."""


@dataclass
class BestModel:
    """The best validation result so far, and the counters for early stopping and divergence warnings."""

    value: float | None = None
    """Best validation accuracy, or negative loss for regression; None before the first finite validation result."""
    theta: Params = field(default_factory=dict)
    iteration: int = 0
    settings: dict[str, Any] | None = None
    """Values of the live settings (those that can change during a run) at the best validation, keyed by path; None
    before the first validation with a finite result."""
    diverged: int = 0
    """Number of tasks that diverged in the best validation."""
    since_best: int = 0
    """Number of validations since the best one."""
    diverging: int = 0
    """Number of consecutive validations, including the latest, in which tasks diverged."""
    validated_at: int | None = None
    """Meta-step of the latest validation."""

    def update(self, result: Evaluation, theta: Params, settings: Settings) -> bool:
        """Record a validation of `theta`.

        Returns:
            Whether this validation is the best one so far. Fewer diverged tasks count more than a better mean, because
            the mean leaves out diverged tasks.
        """
        value, diverged = result.final[0] if result.accuracy else -result.final[0], result.diverged or 0
        is_best = result.is_finite and (self.value is None or (-diverged, value) > (-self.diverged, self.value))
        repeated = result.iteration == self.validated_at
        if is_best:
            self.value, self.iteration, self.since_best = value, result.iteration, 0
            self.theta, self.diverged = {name: p.clone() for name, p in theta.items()}, diverged
            self.settings = live_values(settings)
        elif not repeated:
            self.since_best += 1
        if result.is_finite and not diverged:
            self.diverging = 0
        elif not repeated:
            self.diverging += 1
        self.validated_at = result.iteration
        return is_best

    def values(self) -> dict[str, Any]:
        """Return everything except `theta` as JSON values for a checkpoint."""
        return {
            "best": self.value,
            "best_iteration": self.iteration,
            "since_best": self.since_best,
            "best_settings": self.settings,
            "best_diverged": self.diverged,
            "diverging": self.diverging,
            "validated_at": self.validated_at,
        }

    @classmethod
    def restore(cls, values: Mapping[str, Any], theta: Params) -> BestModel:
        """Create a `BestModel` from `theta` and the result of the method `values`."""
        return cls(
            value=values["best"],
            theta=theta,
            iteration=values["best_iteration"],
            settings=values.get("best_settings"),
            diverged=values.get("best_diverged", 0),
            since_best=values["since_best"],
            diverging=values.get("diverging", 0),
            validated_at=values["validated_at"],
        )
