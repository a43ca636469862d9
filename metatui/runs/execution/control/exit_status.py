"""How a run ended whose process has hung up, by what is on disk."""

from __future__ import annotations

from metatui.events import Failed, Finished
from metatui.runs.storage.journal import Entry
from metatui.runs.storage.run_folder import RunFolder
from metatui.utils.errors import BadInput
from metatui.utils.text import sanitize


def ending(run: RunFolder, pid: int, reached: int, *, still_on: bool) -> Finished | Failed:
    """The last event of a run that was seen until meta-step `reached`."""
    if still_on:
        return Failed(reached, f"Process {pid} no longer shows run {run.id}, but goes on with it: attach to it again")
    status = run.status()
    last = next((entry for entry in reversed(run.journal()) if entry.event == status), None)
    if last is None or status not in ("finished", "stopped", "failed"):
        return Failed(
            reached,
            f"Process {pid}, which trained run {run.id}, is gone, so the run is interrupted: "
            f"metatui run --resume {run.id} goes on with it",
        )
    if status == "failed":
        return Failed(last.iteration, sanitize(str(last.details.get("sentence")), limit=2000))
    return _finished(run, last)


def _finished(run: RunFolder, last: Entry) -> Finished:
    seconds, why, warning = (last.details.get(name) for name in ("seconds", "reason", "warning"))
    try:
        record = run.evaluation().holding(last.iteration, finished=last.event == "finished")
        test, views = record.test, run.views()
    except BadInput:
        test, views = None, ()
    return Finished(
        iteration=last.iteration,
        reason=sanitize(why) if isinstance(why, str) else last.event,
        seconds=float(seconds) if isinstance(seconds, int | float) else 0.0,
        test=test,
        views=views if test else (),
        warning=sanitize(warning, limit=400) if isinstance(warning, str) else None,
    )
