"""Which runs go on in some process."""

from __future__ import annotations

from metatui.runs.storage.store import RunStore
from metatui.runs.storage.summary import RunSummary, summarise


def live_runs(store: RunStore) -> list[RunSummary]:
    """Newest first."""
    live = [summarise(run) for run in store.runs() if run.is_live()]
    return sorted(live, key=lambda run: (run.started, run.id), reverse=True)
