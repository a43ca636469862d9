"""What a helper answers. Each carries the number of the request that it is about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Yielded:
    """Something on the way to the result."""

    request: int
    value: Any


@dataclass(frozen=True)
class StepInfo:
    request: int
    value: Any
    """What was returned."""


@dataclass(frozen=True)
class WorkerError:
    """There will be no result."""

    request: int
    sentence: str
    """Why, for the user."""
    traceback: str = ""
    """For the log; empty where nothing is wrong with metatui itself."""
    dead: bool = False
    """Whether the helper is gone."""


Reply = Yielded | StepInfo | WorkerError
