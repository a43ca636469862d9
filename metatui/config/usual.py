"""Usual values of the settings of an algorithm, for the kind of task of the settings."""

from __future__ import annotations

from metatui.config.declarations import Scalar
from metatui.config.registry import ALGORITHMS
from metatui.config.settings import Settings


def usual_values(settings: Settings) -> dict[str, Scalar]:
    """Return the usual values for the algorithm and the kind of task of `settings`, by path; empty if it has none."""
    kind = "classification" if settings.is_classification else "regression"
    return ALGORITHMS[settings.algorithm.name].usual.get(kind, {})


def unusual(settings: Settings) -> dict[str, Scalar]:
    """Return the usual values of the settings that have another value in `settings`, by path."""
    return {path: value for path, value in usual_values(settings).items() if settings.value(path) != value}
