"""Usual values of settings for an algorithm and a kind of task, as declared in `Component.usual`."""

from __future__ import annotations

from typing import Any

from metatui.config.declarations import Scalar
from metatui.config.registry import ALGORITHMS, DATA
from metatui.config.settings import Settings

SELECTORS = ("algorithm.name", "task.source")
"""The settings on which the usual values of other settings depend."""


def usual_for(algorithm: str, source: str) -> dict[str, Scalar]:
    """Return the usual values for `algorithm` and the tasks of the data set `source`, keyed by setting path.

    The result is empty if the algorithm declares no usual values for this kind of task.
    """
    return ALGORITHMS[algorithm].usual.get(DATA[source].kind, {})


def usual_values(settings: Settings) -> dict[str, Scalar]:
    """Return the usual values for the algorithm and the data set of `settings`, keyed by setting path."""
    return usual_for(settings.algorithm.name, settings.task.source)


def with_algorithm(settings: Settings, name: str) -> Settings:
    """Return `settings` with the algorithm `name` and its usual values, without checking constraints."""
    groups: dict[str, dict[str, Any]] = {group: dict(values) for group, values in settings}
    for path, value in ({"algorithm.name": name} | usual_for(name, settings.task.source)).items():
        group, key = path.split(".")
        groups.setdefault(group, {})[key] = value
    return Settings.model_validate(groups)


def deviations_from_usual(settings: Settings) -> dict[str, Scalar]:
    """Return the usual values from which `settings` deviate, keyed by setting path."""
    return {path: value for path, value in usual_values(settings).items() if settings.value(path) != value}
