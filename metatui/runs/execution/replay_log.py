"""What a run was told to do on the way, planned or by somebody who watched it, and at which meta-step: out of its
folder, so that a run that is resumed or made again does the same at the same moment."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from metatui.config.fields import FIELDS, change
from metatui.config.schedule import Planned, PlannedChange, PlannedValidation
from metatui.config.settings import Scalar, Settings
from metatui.runs.storage.journal import Entry
from metatui.utils.errors import SettingsError

FREE_ON_RESUME = ("compute", "checkpoint", "logging")
"""Groups that a resumed run may have otherwise: they do not change what is computed."""


@dataclass
class ReplayedCommand:
    """One thing that a run was told."""

    planned: Planned
    made: bool
    """Whether the journal says that it was done. What was not is still to come, or was refused when it came."""
    ahead: bool
    """Whether it comes after where the run was last started or resumed, and has not been done since."""


def replay_log(plan: Iterable[Planned], journal: Iterable[Entry]) -> list[ReplayedCommand]:
    """Everything that a run was told, each thing once, in the order of meta-steps.

    A run resumed from an earlier checkpoint does again what it was told after that, so the journal has it twice; what a
    resumption undid (see `undone`) is left out.

    Args:
        plan: what was planned when the run began.
    """
    items = [ReplayedCommand(planned, made=False, ahead=True) for planned in plan]
    for entry in journal:
        if entry.event == "started":
            for item in items:
                item.ahead = item.planned.iteration >= entry.iteration
        elif entry.event == "undone":
            change = _change(entry, entry.details.get("at"))
            if change and (never := _ahead(items, change)):
                items.remove(never)
        elif planned := _planned(entry):
            if again := _ahead(items, planned):
                again.made, again.ahead = True, False
            else:
                after = bisect_right(items, planned.iteration, key=lambda item: item.planned.iteration)
                items.insert(after, ReplayedCommand(planned, made=True, ahead=False))
    return items


def undone(change: PlannedChange) -> dict[str, Any]:
    """The details of the journal's entry `undone`, by which a resumption says that `change` is not made again."""
    return {"path": change.path, "new": change.value, "at": change.iteration}


def settings_before(
    settings: Settings, journal: Sequence[Entry], items: Sequence[ReplayedCommand], iteration: int
) -> Settings:
    """What a run had, just before what it was told when `iteration` meta-steps were done.

    Args:
        settings: what it was started with.
        items: what `replay_log` says.
    """
    values = _resumed_with(journal)
    for item in items:
        if item.made and item.planned.iteration < iteration and isinstance(item.planned, PlannedChange):
            values[item.planned.path] = item.planned.value
    return change(settings, values)


def settings_after(
    settings: Settings, journal: Sequence[Entry], items: Sequence[ReplayedCommand], iteration: int
) -> Settings:
    """What a run had after `iteration` meta-steps and what it was told then."""
    return settings_before(settings, journal, items, iteration + 1)


def pin_compute(settings: Settings, journal: Sequence[Entry], *, but: Mapping[str, Scalar]) -> Settings:
    """`settings` with what `auto` stood for when the run was last started: measured anew, it might be another engine,
    whose sums round differently.

    Args:
        but: changes that were asked for, which stay as they are in `settings`.
    """
    started = next((entry.details for entry in reversed(journal) if entry.event == "started"), None)
    if started is None:
        return settings
    device = started.get("device")
    compute = settings.compute
    if not isinstance(device, str) or compute.device not in ("auto", device, device.partition(":")[0]):
        return settings
    if compute.device == "auto" and not _is_here(device):
        return settings
    found: dict[str, Any] = {"compute.device": device}
    if compute.engine == "auto":
        found["compute.engine"] = started.get("engine")
    if compute.threads == 0:
        found["compute.threads"] = started.get("threads")
    found = {path: value for path, value in found.items() if value is not None and path not in but}
    try:
        return change(settings, found)
    except SettingsError:  # of another version, or edited, or not possible with what was asked for
        return settings


def _is_here(device: str) -> bool:
    from metatui.learning.hardware.devices import resolve

    try:
        return resolve(device).name == device
    except SettingsError:
        return False


def _ahead(items: Iterable[ReplayedCommand], planned: Planned) -> ReplayedCommand | None:
    return next((item for item in items if item.ahead and item.planned == planned), None)


def _planned(entry: Entry) -> Planned | None:
    """What an entry says was done, if it is to be done again when the run is."""
    if entry.event == "evaluated" and entry.details.get("regular") is False:
        return PlannedValidation(entry.iteration)
    if entry.event == "tweaked" and (made := _change(entry, entry.iteration)) and FIELDS[made.path].live:
        return made
    return None


def _change(entry: Entry, iteration: object) -> PlannedChange | None:
    path, new = entry.details.get("path"), entry.details.get("new")
    if (
        isinstance(path, str)
        and path in FIELDS
        and isinstance(new, bool | int | float | str)
        and type(iteration) is int
    ):
        return PlannedChange(iteration, path, new)
    return None


def _resumed_with(journal: Iterable[Entry]) -> dict[str, Scalar]:
    """How a run is computed is changed when it is resumed, and holds from then on, wherever that began."""
    changes = (_change(entry, entry.iteration) for entry in journal if entry.event == "tweaked")
    return {
        c.path: c.value for c in changes if c and not FIELDS[c.path].live and FIELDS[c.path].group in FREE_ON_RESUME
    }
