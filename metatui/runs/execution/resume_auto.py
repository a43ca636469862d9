"""Which run a batch script goes on with that says `metatui run PRESET --resume auto`."""

from __future__ import annotations

from collections.abc import Sequence

from metatui.config.schedule import Planned
from metatui.config.settings import Settings
from metatui.runs.execution import slurm
from metatui.runs.storage.run_folder import RunFolder
from metatui.runs.storage.store import RunStore
from metatui.utils.errors import BadInput


def unfinished(store: RunStore, settings: Settings, changes: Sequence[Planned] = ()) -> list[RunFolder]:
    """The interrupted runs that were started with just these settings and this plan, newest first; in a job of Slurm,
    those that it wrote before it was requeued come before all others. A run that somebody stopped is over."""
    job = slurm.job()
    found = []
    for summary in store.summaries():  # newest first
        if summary.status != "interrupted" or summary.settings != settings:
            continue
        try:
            if summary.run.changes() == tuple(changes):
                found.append(summary.run)
        except BadInput:
            continue
    return sorted(found, key=lambda run: not (job and _is_of(run, job)))


def _is_of(run: RunFolder, job: dict[str, str]) -> bool:
    same = ("SLURM_JOB_ID", "SLURM_PROCID")
    for entry in run.journal():
        written = entry.details.get("slurm")
        if entry.event == "started" and isinstance(written, dict) and all(written.get(n) == job.get(n) for n in same):
            return True
    return False
