"""A run from disk, as the app shows it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from metatui.config.fields import FIELDS
from metatui.config.settings import Settings
from metatui.events import Curve, Evaluation, Started
from metatui.runs.storage.journal import Entry, last_status
from metatui.runs.storage.run_folder import RunFolder
from metatui.tui.controllers.run_model import JournalLine, LiveChange, Monitor, result_line, validation_line
from metatui.tui.controllers.smoothing import Smoother
from metatui.utils.errors import quote
from metatui.utils.text import sanitize


class Replay:
    """A run from disk, to be read once or again and again while another process trains it.

    Of the metrics, which may be a million lines, only what is new is read each time, piece by piece, and only what the
    charts show of it is kept.
    """

    def __init__(self, run: RunFolder) -> None:
        """Raises BadInput where its settings cannot be used."""
        self.run = run
        self._metrics = Smoother(run.metrics_path)
        self._trained = Monitor(run.settings())
        """Has seen the metrics, and nothing else."""
        self._seconds: dict[int, float] = {}
        """Seconds of training before a validation or a change, by meta-step."""

    def read(self) -> Monitor:
        """All that the folder tells now. Reads files, so it is called in a thread. Raises BadInput."""
        run = self.run
        validations, journal = run.validations(), run.journal()
        tweaks = [entry.iteration for entry in journal if entry.event == "tweaked"]
        self._read_metrics([*(entry.iteration for entry in validations), *tweaks])
        monitor = self._trained.trained_alike(run.id, run.status().capitalize())
        monitor.smoother = self._metrics.copy()
        for entry in validations:
            if evaluation := _evaluation(entry, monitor.settings):
                monitor.add_validation(evaluation, self._seconds.get(entry.iteration, monitor.seconds))
        for entry in journal:
            self._change(monitor, entry)
        monitor.started = next(
            (found for entry in reversed(journal) if (found := _started(entry, monitor.settings))), None
        )
        reached = max([monitor.iteration, *(entry.iteration for entry in journal[-1:])])
        record = run.evaluation().holding(reached, finished=last_status(journal) == "finished")
        monitor.evaluation, monitor.best, monitor.test = record.validation, record.best, record.test
        monitor.views = run.views()
        monitor.journal.extend(line for entry in journal if (line := _line(entry, monitor.settings)))
        if monitor.test:
            monitor.journal.append(result_line(journal[-1].iteration, monitor.test, monitor.best))
        return monitor

    def _change(self, monitor: Monitor, entry: Entry) -> None:
        if entry.event == "started":
            monitor.forget_changes(entry.iteration)
        path, old, new = (entry.details.get(key) for key in ("path", "old", "new"))
        live = isinstance(path, str) and path in FIELDS and FIELDS[path].live
        if (
            entry.event == "tweaked"
            and live
            and isinstance(old, int | float)
            and isinstance(new, int | float)
            and old != new
        ):
            seconds = self._seconds.get(entry.iteration, 0.0)
            monitor.changes.append(LiveChange(entry.iteration, seconds, str(path), old, new))

    def _read_metrics(self, wanted_at: Sequence[int]) -> None:
        while True:
            steps, replaced = self._metrics.read()
            if replaced:
                self._trained = Monitor(self._trained.settings)
                self._seconds.clear()
            if not steps:
                return
            self._trained.take_steps(steps)
            wanted = set(wanted_at) - self._seconds.keys()
            self._seconds |= {p.iteration: p.seconds for p, *_ in steps if p.iteration in wanted}


def _started(entry: Entry, settings: Settings) -> Started | None:
    parameters = entry.details.get("parameters")
    if entry.event != "started" or type(parameters) is not int:
        return None
    device, name, engine, reason = (
        _text(entry.details, key) for key in ("device", "device_name", "engine", "engine_reason")
    )
    return Started(settings, device, name, engine, reason, parameters, entry.iteration)


def _line(entry: Entry, settings: Settings) -> JournalLine | None:
    details, when = entry.details, entry.iteration
    match entry.event:
        case "started":
            verb = "Resumed" if when else "Started"
            device, engine = _text(details, "device_name"), _text(details, "engine")
            return JournalLine(when, f"{verb} on {device}, engine {engine}")
        case "tweaked":
            path = _text(details, "path")
            label = FIELDS[path].label if path in FIELDS else path
            return JournalLine(when, f"{label} changed from {_text(details, 'old')} to {_text(details, 'new')}")
        case "undone":
            path = _text(details, "path")
            label = FIELDS[path].label if path in FIELDS else path
            told = f"{label} stays: its change to {_text(details, 'new')} after {_text(details, 'at')} is undone"
            return JournalLine(when, told)
        case "evaluated":
            evaluation = _evaluation(entry, settings)
            return validation_line(evaluation, best=details.get("best") is True) if evaluation else None
        case "warned":
            return JournalLine(when, _text(details, "text"), "warning")
        case "noted":
            return JournalLine(when, _text(details, "text"))
        case "failed":
            return JournalLine(when, _text(details, "sentence"), "error")
        case "interrupted":
            return JournalLine(when, "Interrupted", "warning")
        case "finished" if warning := details.get("warning"):
            said = sanitize(warning, limit=1000) if isinstance(warning, str) else quote(warning)
            return JournalLine(when, f"Finished. {said}", "warning")
        case "finished" | "stopped" | "paused" | "resumed":
            return JournalLine(when, entry.event.capitalize())
        case _:
            return None


def _evaluation(entry: Entry, settings: Settings) -> Evaluation | None:
    """The last point of a validation's curves, which is all that the journal keeps of it."""
    known = entry.details
    numbers = [known.get(key) for key in ("tasks", "shots", "inner_step")]
    loss = _curve(known, "loss")
    if loss is None or any(type(number) is not int for number in numbers):
        return None
    tasks, shots, step = (int(number) for number in numbers if type(number) is int)
    mode = known.get("batch_norm")
    return Evaluation(
        split=_text(known, "split"),
        tasks=tasks,
        shots=shots,
        queries=settings.task.queries,
        ways=settings.task.ways if settings.is_classification else None,
        batch_norm=sanitize(mode) if isinstance(mode, str) else None,
        iteration=entry.iteration,
        steps=(step,),
        loss=loss,
        accuracy=_curve(known, "accuracy") if settings.is_classification else None,
        seconds=0.0,
        inner_lr=_number(known, "inner_lr") if known.get("inner_lr") is not None else None,
        diverged=diverged if type(diverged := known.get("diverged")) is int else None,
    )


def _curve(details: Mapping[str, Any], key: str) -> Curve | None:
    mean, ci95 = _number(details, key), _number(details, f"{key}_ci95")
    return None if mean is None or ci95 is None else Curve((mean,), (ci95,))


def _number(details: Mapping[str, Any], key: str) -> float | None:
    """A detail that is a number; None if there is none. JSON has null for a number that is not finite."""
    value = details.get(key, "")
    if value is None:
        return math.nan
    return float(value) if isinstance(value, int | float) else None


def _text(details: Mapping[str, Any], key: str) -> str:
    """A detail of a journal line, which anybody may have edited, as one safe line."""
    value = details.get(key)
    if isinstance(value, float):
        return f"{value:.4g}"
    return sanitize(value) if isinstance(value, str) else quote(value)
