"""Commands of a run: those that its journal records, and those that are scheduled."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from metatui.config.fields import FIELDS
from metatui.config.schedule import Planned, PlannedChange, PlannedValidation
from metatui.runs.storage.journal import Entry


@dataclass
class ReplayedCommand:
    """A change to a setting or an additional validation, either scheduled for a later meta-step or executed."""

    planned: Planned
    made: bool
    """Whether the journal records the command. If not, the command has not been executed yet or was refused."""
    ahead: bool
    """Whether the command is still due: the run was last started or resumed at or before the command's meta-step, and
    has not executed the command since then."""


def merge_commands(plan: Iterable[Planned], journal: Iterable[Entry]) -> list[ReplayedCommand]:
    """Return each command to a run once, in the order of meta-steps.

    A run resumed from an earlier checkpoint repeats the commands that followed this checkpoint, so the journal may
    record a command several times. Commands undone by a resumption (see `undone_details`) are omitted.

    Args:
        plan: commands that were scheduled at the start of the run.
    """
    items = [ReplayedCommand(planned, made=False, ahead=True) for planned in plan]
    for entry in journal:
        if entry.event == "started":
            for item in items:
                item.ahead = item.planned.iteration >= entry.iteration
        elif entry.event == "undone":
            change = recorded_change(entry, entry.details.get("at"))
            if change and (dropped := _find_ahead(items, change)):
                items.remove(dropped)
        elif planned := _planned(entry):
            if repeated := _find_ahead(items, planned):
                repeated.made, repeated.ahead = True, False
            else:
                after = bisect_right(items, planned.iteration, key=_meta_step)
                items.insert(after, ReplayedCommand(planned, made=True, ahead=False))
    return items


def undone_details(change: PlannedChange) -> dict[str, Any]:
    """Return the details of a journal entry `undone`, which records that a resumed run does not repeat `change`."""
    return {"path": change.path, "new": change.value, "at": change.iteration}


def _find_ahead(items: Sequence[ReplayedCommand], planned: Planned) -> ReplayedCommand | None:
    # A script may change a setting after each meta-step, so only the commands at the same meta-step are compared.
    at = planned.iteration
    same = items[bisect_left(items, at, key=_meta_step) : bisect_right(items, at, key=_meta_step)]
    return next((item for item in same if item.ahead and item.planned == planned), None)


def _meta_step(item: ReplayedCommand) -> int:
    return item.planned.iteration


def _planned(entry: Entry) -> Planned | None:
    """Return the command recorded in `entry` if a resumed run must execute it again, otherwise None."""
    if entry.event == "evaluated" and entry.details.get("regular") is False:
        return PlannedValidation(entry.iteration)
    if entry.event == "tweaked" and (made := recorded_change(entry, entry.iteration)) and FIELDS[made.path].live:
        return made
    return None


def live_change(entry: Entry) -> PlannedChange | None:
    """Return the change of a live setting that `entry` records; None if it records none.

    Changes to the number of tasks in memory at once are left out, because the trainer itself lowers this number.
    """
    made = recorded_change(entry, entry.iteration)
    return made if made and FIELDS[made.path].live and made.path != "compute.tasks_at_once" else None


def recorded_change(entry: Entry, iteration: object) -> PlannedChange | None:
    """Return the change after meta-step `iteration` that `entry` records; None if its setting or value is unknown."""
    path, new = entry.details.get("path"), entry.details.get("new")
    if (
        isinstance(path, str)
        and path in FIELDS
        and isinstance(new, bool | int | float | str)
        and type(iteration) is int
    ):
        return PlannedChange(iteration, path, new)
    return None
