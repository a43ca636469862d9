"""Log of the executed and planned commands of a run. A resumed or repeated run executes these commands again."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from metatui.config.declarations import Scalar
from metatui.config.fields import FIELDS, change
from metatui.config.schedule import Planned, PlannedChange, PlannedValidation
from metatui.config.settings import Settings
from metatui.runs.storage.journal import Entry, last_status
from metatui.runs.storage.run_folder import RunFolder
from metatui.utils.errors import SettingsError

FREE_ON_RESUME = ("compute", "checkpoint", "logging")
"""Groups of settings that may change when a run is resumed, because they do not affect the mathematics of training."""


@dataclass
class ReplayedCommand:
    """A change or an additional validation, either planned or executed."""

    planned: Planned
    made: bool
    """Whether the journal records the command. If not, the command has not been executed yet or was refused."""
    ahead: bool
    """Whether the command follows the last start or resumption of the run and has not been executed since then."""


def replay_log(plan: Iterable[Planned], journal: Iterable[Entry]) -> list[ReplayedCommand]:
    """Return each command to a run once, in the order of meta-steps.

    A run resumed from an earlier checkpoint repeats the commands that followed this checkpoint, so the journal may
    record a command several times. Commands undone by a resumption (see `undone`) are omitted.

    Args:
        plan: commands that were planned at the start of the run.
    """
    items = [ReplayedCommand(planned, made=False, ahead=True) for planned in plan]
    for entry in journal:
        if entry.event == "started":
            for item in items:
                item.ahead = item.planned.iteration >= entry.iteration
        elif entry.event == "undone":
            change = _change(entry, entry.details.get("at"))
            if change and (dropped := _find_ahead(items, change)):
                items.remove(dropped)
        elif planned := _planned(entry):
            if repeated := _find_ahead(items, planned):
                repeated.made, repeated.ahead = True, False
            else:
                after = bisect_right(items, planned.iteration, key=lambda item: item.planned.iteration)
                items.insert(after, ReplayedCommand(planned, made=True, ahead=False))
    return items


def undone(change: PlannedChange) -> dict[str, Any]:
    """Return the details of a journal entry `undone`, which records that a resumed run does not repeat `change`."""
    return {"path": change.path, "new": change.value, "at": change.iteration}


@dataclass(frozen=True)
class RunLog:
    """Settings, journal and commands of a run."""

    settings: Settings
    """Settings at the start of the run."""
    journal: Sequence[Entry]
    items: Sequence[ReplayedCommand]

    @classmethod
    def read(cls, run: RunFolder) -> RunLog:
        """Read the log of `run`. Raises BadInput if its settings are invalid."""
        journal = run.journal()
        return cls(run.settings(), journal, replay_log(run.changes(), journal))

    @property
    def started(self) -> Mapping[str, Any]:
        """Details of the run's first start; empty if it never started."""
        return next((entry.details for entry in self.journal if entry.event == "started"), {})

    @property
    def is_finished(self) -> bool:
        return last_status(self.journal) == "finished"

    def settings_before(self, iteration: int) -> Settings:
        """Return the settings after `iteration` meta-steps, before the commands at that point."""
        changes = dict(self._compute_changes)
        for item in self.items:
            if item.made and item.planned.iteration < iteration and isinstance(item.planned, PlannedChange):
                changes[item.planned.path] = item.planned.value
        return change(self.settings, changes)

    def settings_after(self, iteration: int) -> Settings:
        """Return the settings after `iteration` meta-steps and after the commands at that point."""
        return self.settings_before(iteration + 1)

    @cached_property
    def _compute_changes(self) -> dict[str, Scalar]:
        """New values of compute settings that were changed when the run was resumed, by path.

        They are kept even if the run is later resumed from an earlier checkpoint.
        """
        changes = (_change(entry, entry.iteration) for entry in self.journal if entry.event == "tweaked")
        return {
            c.path: c.value for c in changes if c and not FIELDS[c.path].live and FIELDS[c.path].group in FREE_ON_RESUME
        }


def pin_compute(settings: Settings, journal: Sequence[Entry], *, but: Mapping[str, Scalar]) -> Settings:
    """Replace automatic compute settings with the values that were selected when the run was last started or resumed.

    A new measurement might select another engine, which rounds sums differently.

    Args:
        but: requested changes; these settings keep their values in `settings`.
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
    resolved: dict[str, Any] = {"compute.device": device}
    if compute.engine == "auto":
        resolved["compute.engine"] = started.get("engine")
    if compute.threads == 0:
        resolved["compute.threads"] = started.get("threads")
    if compute.second_order == "auto":  # older journals do not contain a value: `auto` is kept
        resolved["compute.second_order"] = started.get("second_order")
    resolved = {path: value for path, value in resolved.items() if value is not None and path not in but}
    try:
        return change(settings, resolved)
    except SettingsError:  # from another version, edited by a user, or in conflict with the requested changes
        return settings


def _is_here(device: str) -> bool:
    from metatui.learning.hardware.devices import resolve

    try:
        return resolve(device).name == device
    except SettingsError:
        return False


def _find_ahead(items: Iterable[ReplayedCommand], planned: Planned) -> ReplayedCommand | None:
    return next((item for item in items if item.ahead and item.planned == planned), None)


def _planned(entry: Entry) -> Planned | None:
    """Return the command that `entry` records; None if `entry` records no command that must be repeated."""
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
