"""What runs' journals say for a report: where each was trained and with what, and what happened to it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from metatui.runs.analysis.comparison.tables import NONE, TextTable
from metatui.runs.analysis.comparison.values import RunResult
from metatui.runs.storage.journal import Entry
from metatui.utils.text import sanitize

MOST = 200
"""Events of one run that a report names."""

STARTED = ("preset", "metatui", "python", "torch", "host", "device", "device_name", "engine")
"""Details of a start, in this order."""


def environment(runs: Sequence[RunResult]) -> TextTable:
    """A row for each start of each run: a resumed run may have gone on somewhere else."""
    rows = []
    for run in runs:
        for entry in run.run.journal():
            if entry.event == "started":
                told = tuple(_said(entry.details.get(name)) for name in STARTED)
                rows.append((run.label, run.id, _time(entry), f"{entry.iteration:,}", *told))
    headings = (
        "run", "name", "started", "at meta-step", "settings from", "metatui", "Python", "torch", "host", "device",
        "device name", "engine",
    )  # fmt: skip
    return TextTable("Where and with what the runs were trained", headings, tuple(rows), names=len(headings))


def journal(runs: Sequence[RunResult]) -> Iterable[TextTable]:
    """What happened to the runs besides training: settings changed on the way, pauses, warnings, endings."""
    rows: list[tuple[str, ...]] = []
    for run in runs:
        told = [(entry, said) for entry in run.run.journal() if (said := _happened(entry))]
        rows += [(run.label, _time(entry), f"{entry.iteration:,}", said) for entry, said in told[:MOST]]
        if len(told) > MOST:
            rows.append((run.label, NONE, NONE, f"and {len(told) - MOST:,} events more"))
    if rows:
        yield TextTable("What happened on the way", ("run", "time", "meta-step", "event"), tuple(rows), names=4)


def _happened(entry: Entry) -> str | None:
    details = entry.details
    match entry.event:
        case "tweaked":
            path, old, new = (_said(details.get(name)) for name in ("path", "old", "new"))
            return f"{path} changed from {old} to {new}"
        case "undone":
            path, new, at = (_said(details.get(name)) for name in ("path", "new", "at"))
            return f"{path} stays: its change to {new} after meta-step {at} is undone"
        case "started":
            return "gone on from the checkpoint" if entry.iteration else None
        case "warned" | "noted":
            return _said(details.get("text"))
        case "failed":
            return f"failed: {_said(details.get('sentence'))}"
        case "paused" | "resumed" | "interrupted" | "stopped":
            return entry.event
        case "finished":
            ending = "stopped early" if details.get("reason") == "early_stop" else "finished"
            return f"{ending}: {_said(details['warning'])}" if details.get("warning") else ending
        case _:
            return None


def _said(value: object) -> str:
    return NONE if value is None else sanitize(value if isinstance(value, str) else repr(value))


def _time(entry: Entry) -> str:
    return f"{entry.time:%Y-%m-%d %H:%M:%S} UTC"
