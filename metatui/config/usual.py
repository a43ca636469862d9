"""Usual values of the settings of an algorithm, for a kind of task."""

from __future__ import annotations

from metatui.config.declarations import Scalar
from metatui.config.registry import ALGORITHMS, DATA
from metatui.config.settings import Settings

SELECTORS = ("algorithm.name", "task.source")
"""The settings on which the usual values of other settings depend."""


def usual_for(algorithm: str, source: str) -> dict[str, Scalar]:
    """Return the usual values of `algorithm` for the kind of task of the data set `source`, by path; often empty."""
    return ALGORITHMS[algorithm].usual.get(DATA[source].kind, {})


def usual_values(settings: Settings) -> dict[str, Scalar]:
    """Return the usual values for the algorithm and the data set of `settings`, by path."""
    return usual_for(settings.algorithm.name, settings.task.source)


def unusual(settings: Settings) -> dict[str, Scalar]:
    """Return the usual values of the settings that have another value in `settings`, by path."""
    return {path: value for path, value in usual_values(settings).items() if settings.value(path) != value}
