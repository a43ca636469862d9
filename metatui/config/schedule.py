"""Plan of a run: changes to its settings, and additional validations, each at a given meta-step.

A preset can contain such a plan. A rerun schedules all changes and validations of the original run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from metatui.config.declarations import Scalar
from metatui.config.fields import FIELDS, change, find_field, text_of
from metatui.config.settings import Settings
from metatui.utils.errors import BadInput, SettingsError, quote

MAX_ENTRIES = 1000
"""Maximum number of scheduled changes and validations."""

STEP_LIMIT = 100_000_000
"""Upper limit (exclusive) of the meta-steps at which changes or validations can be scheduled."""


@dataclass(frozen=True)
class PlannedChange:
    """A scheduled change of a live setting to a new value."""

    iteration: int
    """Number of meta-steps before the change. The next meta-step is the first that uses the new value."""
    path: str
    value: Scalar


@dataclass(frozen=True)
class PlannedValidation:
    """A validation in addition to those that `evaluation.every` schedules.

    It can change the best parameters and stop training early, so a rerun needs it to reproduce the run exactly.
    """

    iteration: int


Planned = PlannedChange | PlannedValidation


def read_changes(items: Any, settings: Settings) -> tuple[Planned, ...]:
    """Read scheduled changes and validations from TOML or JSON tables.

    Args:
        items: tables, each with `iteration` and either `setting` and `value` or `validate = true`.
        settings: settings at the start of training.

    Raises:
        BadInput: if a change is invalid. The message names the number of the change, the field, its value and the
            allowed values.
    """
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise BadInput(f"changes is {quote(items)}, but must be a list of tables, each under [[changes]]")
    if len(items) > MAX_ENTRIES:
        raise _too_many(len(items))
    return checked([_read(item, f"change {number}") for number, item in enumerate(items, 1)], settings)


def checked(changes: Sequence[Planned], settings: Settings) -> tuple[Planned, ...]:
    """Check `changes` by applying them one after the other, and return them with values of the correct types.

    Raises:
        BadInput: if a change is out of order or not allowed.
    """
    if len(changes) > MAX_ENTRIES:
        raise _too_many(len(changes))
    valid: list[Planned] = []
    for number, planned in enumerate(changes, 1):
        if valid and planned.iteration < valid[-1].iteration:
            raise BadInput(
                f"change {number}: iteration is {planned.iteration:,}, but must be at least {valid[-1].iteration:,}, "
                "the iteration of the previous change"
            )
        if isinstance(planned, PlannedChange):
            try:
                settings = change(settings, {planned.path: planned.value})
            except SettingsError as error:
                raise BadInput(f"change {number}: {error.problems[0].sentence}") from None
            except (RecursionError, ValueError):
                raise BadInput(f"change {number}: the value is too large or nested too deeply") from None
            planned = replace(planned, value=settings.value(planned.path))
        valid.append(planned)
    return tuple(valid)


def as_tables(changes: Sequence[Planned]) -> list[dict[str, Any]]:
    """Convert a plan to the tables that `read_changes` reads, for TOML and JSON."""
    return [
        {"iteration": c.iteration, "setting": c.path, "value": c.value}
        if isinstance(c, PlannedChange)
        else {"iteration": c.iteration, "validate": True}
        for c in changes
    ]


def in_words(planned: Planned) -> str:
    """Return a description of a scheduled change or validation for display."""
    return f"{planned.path} = {text_of(planned.value)}" if isinstance(planned, PlannedChange) else "validate"


def brief(path: str, value: Scalar) -> str:
    """Return a short description of a change, for a chart: `inner_lr 0.1`."""
    return f"{path.rpartition('.')[2]} {text_of(value)}"


def _too_many(count: int) -> BadInput:
    return BadInput(f"there are {count:,} changes, but at most {MAX_ENTRIES:,} are allowed")


def _read(item: Mapping[str, Any], here: str) -> Planned:
    keys = ("iteration", "validate") if "validate" in item else ("iteration", "setting", "value")
    for key in item:
        if key not in keys:
            raise BadInput(
                f"{here}: {quote(key)} is unknown: the keys are iteration, setting and value, or iteration and validate"
            )
    for key in keys:
        if key not in item:
            raise BadInput(f"{here}: {key} is missing")
    iteration = item["iteration"]
    if type(iteration) is not int or not 0 <= iteration < STEP_LIMIT:
        raise BadInput(
            f"{here}: iteration is {quote(iteration)}, but must be a whole number of meta-steps from 0 to "
            f"{STEP_LIMIT - 1:,}"
        )
    if "validate" in item:
        if item["validate"] is not True:
            raise BadInput(f"{here}: validate is {quote(item['validate'])}, but must be true")
        return PlannedValidation(iteration)
    path = item["setting"]
    live = ", ".join(name for name, field in FIELDS.items() if field.live)
    if not isinstance(path, str):
        raise BadInput(f"{here}: setting is {quote(path)}, but must be one of {live}")
    try:
        field = find_field(path)
    except SettingsError as error:
        raise BadInput(f"{here}: {error.problems[0].sentence}") from None
    if not field.live:
        raise BadInput(f"{here}: {path} cannot be changed during a run, but {live} can")
    return PlannedChange(iteration, path, item["value"])
