"""Commands, device and engine of a run, as its journal records them, so that a resumed run continues with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from metatui.config.declarations import Scalar
from metatui.config.fields import FIELDS, change
from metatui.config.schedule import PlannedChange
from metatui.config.settings import Settings
from metatui.runs.storage.commands import ReplayedCommand, merge_commands, recorded_change
from metatui.runs.storage.journal import Entry, read_journal
from metatui.runs.storage.run_folder import RunFolder
from metatui.utils.errors import SettingsError

FREE_ON_RESUME = ("compute", "checkpoint", "logging")
"""Groups of settings that may change when a run is resumed, because they do not affect the mathematics of training."""


@dataclass(frozen=True)
class RunLog:
    """Settings, journal and commands of a run."""

    settings: Settings
    """Settings at the start of the run."""
    journal: Sequence[Entry]
    items: Sequence[ReplayedCommand]

    @classmethod
    def read(cls, run: RunFolder) -> RunLog:
        """Read the log of `run`. Raises BadInput if its settings are invalid or its journal cannot be read."""
        journal = read_journal(run.journal_path, whole=True)
        return cls(run.settings(), journal, merge_commands(run.changes(), journal))

    @property
    def started(self) -> Mapping[str, Any]:
        """Details of the journal entry about the run's first start; an empty mapping if the run never started."""
        return next((entry.details for entry in self.journal if entry.event == "started"), {})

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
        """New values of compute settings that were changed when the run was resumed, keyed by path.

        These changes still apply if the run is later resumed from an earlier checkpoint.
        """
        changes = (recorded_change(entry, entry.iteration) for entry in self.journal if entry.event == "tweaked")
        return {
            c.path: c.value for c in changes if c and not FIELDS[c.path].live and FIELDS[c.path].group in FREE_ON_RESUME
        }


def pin_compute(settings: Settings, journal: Sequence[Entry], *, but: Mapping[str, Scalar]) -> Settings:
    """Replace compute settings that are `auto` with the values selected when the run was last started or resumed.

    A new measurement might select another engine, which rounds sums differently.

    Args:
        but: requested changes; the settings that they change are not replaced.
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
