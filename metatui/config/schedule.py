"""What is to happen in the middle of a training, planned beforehand: settings that change, and validations.

A preset has such a plan where it says so, and a run that is made again has one of all that the first one was told.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from metatui.config.fields import FIELDS, change, knob_of, text_of
from metatui.config.settings import Scalar, Settings
from metatui.utils.errors import BadInput, SettingsError, quote

MOST = 1000
"""Changes that a plan may have."""

LAST = 100_000_000
"""Meta-steps that a training may have."""


@dataclass(frozen=True)
class PlannedChange:
    """A live setting gets another value."""

    iteration: int
    """Meta-steps done when it is made: the next one is the first that it touches."""
    path: str
    value: Scalar


@dataclass(frozen=True)
class PlannedValidation:
    """A validation beside those that `evaluation.every` asks for. It counts for the best parameters and for early
    stopping, so a training that is to be repeated exactly has to have it too."""

    iteration: int


Planned = PlannedChange | PlannedValidation


def read_changes(items: Any, settings: Settings) -> tuple[Planned, ...]:
    """The plan in tables as TOML or JSON has them, each with `iteration` and either `setting` and `value`, or
    `validate = true`; in order.

    Args:
        settings: what the training starts with.

    Raises:
        BadInput: with the number of the change, the field, its value and what is allowed.
    """
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise BadInput(f"changes is {quote(items)}, but must be a list of tables, each under [[changes]]")
    if len(items) > MOST:
        raise BadInput(f"changes are {len(items):,}, but must be at most {MOST:,}")
    changes = tuple(_read(item, f"change {number}") for number, item in enumerate(items, 1))
    return checked(changes, settings)


def checked(changes: Sequence[Planned], settings: Settings) -> tuple[Planned, ...]:
    """`changes` as they are made to `settings`, one after the other. Raises BadInput where one of them cannot be."""
    made: list[Planned] = []
    if len(changes) > MOST:
        raise BadInput(f"changes are {len(changes):,}, but must be at most {MOST:,}")
    for number, planned in enumerate(changes, 1):
        if made and planned.iteration < made[-1].iteration:
            raise BadInput(
                f"change {number}: iteration is {planned.iteration:,}, but must be at least that of the change before "
                f"it, {made[-1].iteration:,}"
            )
        if isinstance(planned, PlannedChange):
            try:
                settings = change(settings, {planned.path: planned.value})
            except SettingsError as error:
                raise BadInput(f"change {number}: {error.problems[0].sentence}") from None
            except (RecursionError, ValueError):
                raise BadInput(f"change {number}: value is too large or too deep to be a setting") from None
            planned = PlannedChange(planned.iteration, planned.path, settings.value(planned.path))
        made.append(planned)
    return tuple(made)


def as_tables(changes: Sequence[Planned]) -> list[dict[str, Any]]:
    """`changes` as `read_changes` takes them: plain values, for TOML and JSON alike."""
    return [
        {"iteration": c.iteration, "setting": c.path, "value": c.value}
        if isinstance(c, PlannedChange)
        else {"iteration": c.iteration, "validate": True}
        for c in changes
    ]


def in_words(planned: Planned) -> str:
    """What is done, for a person."""
    return f"{planned.path} = {text_of(planned.value)}" if isinstance(planned, PlannedChange) else "validate"


def brief(path: str, value: Scalar) -> str:
    """Describe a change in a few characters, for a chart: `inner_lr 0.1`."""
    return f"{path.rpartition('.')[2]} {text_of(value)}"


def _read(item: Mapping[str, Any], here: str) -> Planned:
    keys = ("iteration", "validate") if "validate" in item else ("iteration", "setting", "value")
    for key in item:
        if key not in keys:
            raise BadInput(f"{here}: {quote(key)} is not known: there are iteration, setting and value, or validate")
    for key in keys:
        if key not in item:
            raise BadInput(f"{here}: {key} is missing")
    iteration = item["iteration"]
    if type(iteration) is not int or not 0 <= iteration < LAST:
        raise BadInput(
            f"{here}: iteration is {quote(iteration)}, but must be a whole number from 0 to {LAST - 1:,}, the "
            "meta-steps done before it"
        )
    if "validate" in item:
        if item["validate"] is not True:
            raise BadInput(f"{here}: validate is {quote(item['validate'])}, but must be true")
        return PlannedValidation(iteration)
    path = item["setting"]
    live = ", ".join(name for name, knob in FIELDS.items() if knob.live)
    if not isinstance(path, str):
        raise BadInput(f"{here}: setting is {quote(path)}, but must be one of {live}")
    try:
        knob = knob_of(path)
    except SettingsError as error:
        raise BadInput(f"{here}: {error.problems[0].sentence}") from None
    if not knob.live:
        raise BadInput(f"{here}: {path} cannot change during a run, but {live} can")
    return PlannedChange(iteration, path, item["value"])
