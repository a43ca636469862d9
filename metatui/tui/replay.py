"""A run from disk, as the app shows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from metatui.errors import shown
from metatui.knobs import KNOBS
from metatui.learning.events import Curve, Evaluation, Started
from metatui.runs.folder import RunFolder
from metatui.runs.journal import Entry
from metatui.settings import Settings
from metatui.text import plain
from metatui.tui.monitor import JournalLine, Monitor
from metatui.tui.protocol import headline
from metatui.tui.smoothing import Smoother


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
        """Of training until a validation, by its meta-step."""

    def read(self) -> Monitor:
        """All that the folder tells now. Reads files, so it is called in a thread. Raises BadInput."""
        run = self.run
        validations = run.validations()
        self._read_metrics([entry.iteration for entry in validations])
        monitor = self._trained.trained_alike(run.id, run.status().capitalize())
        monitor.smoother = self._metrics.copy()
        for entry in validations:
            _validated(monitor, entry, self._seconds.get(entry.iteration, monitor.seconds))
        journal = run.journal()
        monitor.started = next(
            (found for entry in reversed(journal) if (found := _started(entry, monitor.settings))), None
        )
        record = run.evaluation()
        monitor.evaluation, monitor.best, monitor.test = record.validation, record.best, record.test
        monitor.views = run.views()
        monitor.journal.extend(line for entry in journal if (line := _line(entry, monitor.settings)))
        if record.test:
            monitor.journal.append(JournalLine(record.test.iteration, f"Test: {headline(record.test)}", "good"))
        return monitor

    def _read_metrics(self, validated: Sequence[int]) -> None:
        while True:
            steps, replaced = self._metrics.read()
            if replaced:
                self._trained = Monitor(self._trained.settings)
                self._seconds.clear()
            if not steps:
                return
            self._trained.take_steps(steps)
            wanted = set(validated) - self._seconds.keys()
            self._seconds |= {p.iteration: p.seconds for p, *_ in steps if p.iteration in wanted}


def _validated(monitor: Monitor, entry: Entry, seconds: float) -> None:
    for history, key in ((monitor.val_loss, "loss"), (monitor.val_accuracy, "accuracy")):
        value = entry.details.get(key)
        if isinstance(value, int | float):
            history.add(entry.iteration, seconds, float(value))


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
            label = KNOBS[path].label if path in KNOBS else path
            return JournalLine(when, f"{label} changed from {_text(details, 'old')} to {_text(details, 'new')}")
        case "undone":
            path = _text(details, "path")
            label = KNOBS[path].label if path in KNOBS else path
            told = f"{label} stays: its change to {_text(details, 'new')} after {_text(details, 'at')} is undone"
            return JournalLine(when, told)
        case "evaluated":
            evaluation = _evaluation(entry, settings)
            best = ", best so far" if details.get("best") is True else ""
            if evaluation is None:
                return None
            return JournalLine(when, f"Validation: {headline(evaluation)}{best}", "good" if best else "plain")
        case "warned":
            return JournalLine(when, _text(details, "text"), "warning")
        case "noted":
            return JournalLine(when, _text(details, "text"))
        case "failed":
            return JournalLine(when, _text(details, "sentence"), "error")
        case "interrupted":
            return JournalLine(when, "Interrupted", "warning")
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
        batch_norm=plain(mode) if isinstance(mode, str) else None,
        iteration=entry.iteration,
        steps=(step,),
        loss=loss,
        accuracy=_curve(known, "accuracy"),
        seconds=0.0,
    )


def _curve(details: Mapping[str, Any], key: str) -> Curve | None:
    mean, ci95 = details.get(key), details.get(f"{key}_ci95")
    if not isinstance(mean, int | float) or not isinstance(ci95, int | float):
        return None
    return Curve((float(mean),), (float(ci95),))


def _text(details: Mapping[str, Any], key: str) -> str:
    """A detail of a journal line, which anybody may have edited, as one safe line."""
    value = details.get(key)
    if isinstance(value, float):
        return f"{value:.4g}"
    return plain(value) if isinstance(value, str) else shown(value)
