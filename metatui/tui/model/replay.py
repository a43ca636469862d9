"""Replay of a run from its folder. Journal entries are converted to the events that the run sent while it trained."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, get_args

from metatui.config.declarations import Scalar
from metatui.config.fields import change
from metatui.config.settings import Settings
from metatui.events import (
    Curve,
    Evaluated,
    Evaluation,
    Event,
    Failed,
    Finished,
    Hinted,
    HintKind,
    Noted,
    Paused,
    Resumed,
    Started,
    Tweaked,
    Warned,
)
from metatui.runs.formatting import detail, entry_message, target_scales
from metatui.runs.storage.journal import Entry, last_status
from metatui.runs.storage.lock import other_user
from metatui.runs.storage.metrics import sampled
from metatui.runs.storage.run_folder import RunFolder
from metatui.tui.model.history import Step
from metatui.tui.model.run_model import RunModel
from metatui.tui.model.smoothing import Smoother
from metatui.utils.errors import BadInput
from metatui.utils.text import sanitize


class Replay:
    """Reads a run from disk. The run can be read repeatedly while another process is training it.

    The metrics file may have a million lines. Each call of `read` reads only new lines, in chunks, and keeps only a
    `History` of each metric.
    """

    def __init__(self, run: RunFolder) -> None:
        """Read the settings of the run. Raises BadInput if they cannot be read."""
        self.run = run
        self._smoother = Smoother(run.metrics_path)
        self._metrics = RunModel(run.settings())
        """A model with the meta-steps read so far, but without other events."""

    def read(self) -> RunModel:
        """Return a model of the run as it is on disk now. Call this method in a thread, because it reads files.

        Raises:
            BadInput: if the results of the run cannot be read.
        """
        run = self.run
        self._read_metrics()
        model = self._metrics.copy_metrics(run.id, run.status().capitalize())
        model.smoother = self._smoother.copy()
        _take_journal(model, run)
        model.views = run.views()
        model.targets = target_scales(run)
        return model

    def _read_metrics(self) -> None:
        while True:
            steps, replaced = self._smoother.read()
            if replaced:
                self._metrics = RunModel(self._metrics.settings)
            if not steps:
                return
            self._metrics.add_steps(steps)


def outline(run: RunFolder, settings: Settings | None = None) -> RunModel:
    """Return a model with the journal and some of the meta-steps. This is fast even for a long run.

    Call this function in a thread, because it reads files.

    Args:
        settings: the settings of the run at its start. If None, they are read, too.

    Raises:
        BadInput: if the settings or the results of the run cannot be read.
    """
    model = RunModel(settings or run.settings(), run.id, run.status().capitalize())
    model.add_steps([Step(progress) for progress in sampled(run.metrics_path)])
    _take_journal(model, run)
    return model


def _take_journal(model: RunModel, run: RunFolder) -> None:
    """Add the journal and the results of `run` to `model`. Raise BadInput if they cannot be read."""
    if model.is_live:
        model.other_user = other_user(run.lock_path)
    journal = run.journal()
    reached = max([model.iteration, *(entry.iteration for entry in journal[-1:])])
    record = run.evaluation().holding(reached, finished=last_status(journal) == "finished")
    for entry in journal:
        test = record.test if entry is journal[-1] else None
        if (event := event_of(entry, model.settings, test)) is not None:
            model.add_event(event)
    # The journal has only the last point of each evaluation's curves; the record has all points.
    model.evaluation, model.best, model.test = record.validation, record.best, record.test


def event_of(entry: Entry, settings: Settings, test: Evaluation | None = None) -> Event | None:
    """Return the event that a journal entry records, or None if the entry is unknown or invalid.

    Args:
        entry: the journal entry. Its details are checked and sanitized, because the journal may have been edited.
        settings: the run's settings before the event.
        test: the run's test result, if the entry records the end of the run.
    """
    details, iteration = entry.details, entry.iteration
    match entry.event:
        case "started":
            device, name, engine = (detail(details, key) for key in ("device", "device_name", "engine"))
            reason = detail(details, "engine_reason") if "engine_reason" in details else ""
            parameters = details.get("parameters")
            count = parameters if type(parameters) is int else 0
            return Started(settings, device, name, engine, reason, count, iteration)
        case "tweaked" | "undone":
            return _change(entry, settings)
        case "evaluated":
            evaluation = _evaluation(entry, settings)
            return Evaluated(evaluation, (), best=details.get("best") is True) if evaluation else None
        case "warned":
            return Warned(iteration, detail(details, "text"))
        case "hinted":
            return _hint(entry, settings)
        case "noted":
            return Noted(iteration, detail(details, "text"))
        case "paused":
            return Paused(iteration)
        case "resumed":
            return Resumed(iteration)
        case "failed":
            return Failed(iteration, detail(details, "sentence"))
        case "interrupted" if "seconds" not in details:  # the process was ended before it could save
            return Warned(iteration, "Interrupted")
        case "finished" | "stopped" | "interrupted":
            reason = "early_stop" if details.get("reason") == "early_stop" else "iterations"
            warning = details.get("warning")
            return Finished(
                iteration,
                reason if entry.event == "finished" else entry.event,
                seconds=0.0,
                test=test,
                warning=sanitize(warning, limit=1000) if isinstance(warning, str) else None,
            )
        case _:
            return None


def _hint(entry: Entry, settings: Settings) -> Hinted | Warned:
    kinds: tuple[HintKind, ...] = get_args(HintKind)
    reason, kind = detail(entry.details, "reason"), entry.details.get("kind")
    with suppress(BadInput, ValueError):
        return Hinted(entry.iteration, kinds[kinds.index(kind)], reason, *_changed(entry, settings))
    return Warned(entry.iteration, reason)


def _changed(entry: Entry, settings: Settings) -> tuple[str, Scalar, Scalar]:
    """Return the path, old value and new value of a setting from a journal entry.

    Raises:
        BadInput: if the entry is invalid.
    """
    path, *values = (entry.details.get(key) for key in ("path", "old", "new"))
    if not isinstance(path, str) or None in values:
        raise BadInput("the entry has no setting or value")
    old, new = (change(settings, {path: value}).value(path) for value in values if value is not None)
    return path, old, new


def _change(entry: Entry, settings: Settings) -> Tweaked | Noted:
    if entry.event == "tweaked":
        with suppress(BadInput):
            return Tweaked(entry.iteration, *_changed(entry, settings))
    return Noted(entry.iteration, entry_message(entry) or "")


def _evaluation(entry: Entry, settings: Settings) -> Evaluation | None:
    """Return the evaluation in a journal entry, or None if the entry is invalid.

    Its curves consist of only their last point, because the journal does not contain the other points.
    """
    details = entry.details
    numbers = [details.get(key) for key in ("tasks", "shots", "inner_step")]
    loss = _curve(details, "loss")
    if loss is None or any(type(number) is not int for number in numbers):
        return None
    tasks, shots, step = (int(number) for number in numbers if type(number) is int)
    mode = details.get("batch_norm")
    return Evaluation(
        split=detail(details, "split"),
        tasks=tasks,
        shots=shots,
        queries=settings.task.queries,
        ways=settings.task.ways if settings.is_classification else None,
        batch_norm=sanitize(mode) if isinstance(mode, str) else None,
        iteration=entry.iteration,
        steps=(step,),
        loss=loss,
        accuracy=_curve(details, "accuracy") if settings.is_classification else None,
        seconds=0.0,
        inner_lr=_number(details, "inner_lr") if details.get("inner_lr") is not None else None,
        diverged=diverged if type(diverged := details.get("diverged")) is int else None,
    )


def _curve(details: Mapping[str, Any], key: str) -> Curve | None:
    mean, ci95 = _number(details, key), _number(details, f"{key}_ci95")
    return None if mean is None or ci95 is None else Curve((mean,), (ci95,))


def _number(details: Mapping[str, Any], key: str) -> float | None:
    """Return a number from a journal entry, NaN if the value is null, or None if it is missing or not a number."""
    value = details.get(key, "")
    if value is None:
        return math.nan
    return float(value) if isinstance(value, int | float) else None
