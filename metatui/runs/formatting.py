"""Formatting of evaluations, events and journal entries as text, shared by the command line, the app and reports."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from metatui import events
from metatui.config.fields import FIELDS, text_of
from metatui.config.registry import DATA
from metatui.config.settings import Settings
from metatui.events import Evaluation
from metatui.learning.data.data_set import SPLIT_NAMES
from metatui.runs.storage.journal import Entry
from metatui.utils.errors import BadInput, quote
from metatui.utils.numbers import format_diverged, interval
from metatui.utils.text import as_sentence, format_count, sanitize

if TYPE_CHECKING:
    from metatui.runs.storage.run_folder import RunFolder

MAX_TARGETS = 3
"""Maximum number of target columns whose standard deviations are shown."""


def headline(evaluation: Evaluation, *, level: bool = False) -> str:
    """Format a result and its protocol: metric, interval, inner steps, split, tasks, shots and batch norm.

    Args:
        level: whether to append `95 % interval`.
    """
    lost = f", {format_diverged(evaluation.diverged, evaluation.tasks)}" if evaluation.diverged else ""
    return f"{metric(evaluation)} ({protocol(evaluation, level=level)}){lost}"


def metric(evaluation: Evaluation) -> str:
    """Format the metric after the last inner step with its interval: `accuracy 95.20 ± 0.42 %`, `loss 0.41 ± 0.03`."""
    mean, ci95 = evaluation.final
    return f"accuracy {accuracy(mean, ci95)}" if evaluation.accuracy else f"loss {interval(mean, ci95)}"


def protocol(evaluation: Evaluation, *, level: bool = False) -> str:
    """Describe how an evaluation was measured: `5-way 1-shot, 10 steps, 600 test tasks, transductive`.

    Args:
        level: whether to append `95 % interval`.
    """
    steps = evaluation.steps[-1]
    parts = [
        f"{evaluation.ways}-way {evaluation.shots}-shot" if evaluation.accuracy else f"{evaluation.shots}-shot",
        format_count(steps, "step"),
        f"{evaluation.tasks} {split_name(evaluation.split)} tasks",
    ]
    if evaluation.batch_norm:
        parts.append(evaluation.batch_norm.replace("_", " "))
    if level:
        parts.append("95 % interval")
    return ", ".join(parts)


def accuracy(mean: float, half: float) -> str:
    """Format an accuracy and the half-width of its interval as percentages; the arguments are fractions."""
    text = interval(100 * mean, 100 * half)
    return f"{text} %" if math.isfinite(mean) else text


def target_scales(run: RunFolder) -> str:
    """Describe the unit of the losses of a run: `standardised; standard deviation 0.541 for voltage`.

    The result is empty if the targets are not standardised, or if the schema of the data set cannot be read.
    """
    schema = None
    with suppress(BadInput):
        schema = run.schema()
    if schema is None or schema.outputs is None:
        return ""
    columns = list(zip(schema.outputs.columns, schema.outputs.scale, strict=True))
    scales = ", ".join(f"{scale:.3g} for {sanitize(name, limit=40)}" for name, scale in columns[:MAX_TARGETS])
    return f"standardised; standard deviation {scales}{', …' if len(columns) > MAX_TARGETS else ''}"


def parameters(evaluation: Evaluation, rate_source: str = "") -> str:
    """Describe the inner learning rate and the parameters that were adapted: `α = 0.01, best at meta-step 2,100`.

    Args:
        rate_source: text after the rate if it does not come from the best validation, such as ` (--inner-lr)`.
    """
    rate = "" if evaluation.inner_lr is None else f"α = {evaluation.inner_lr:g}{rate_source}, "
    which = f"{evaluation.checkpoint} at " if evaluation.checkpoint else ""
    return f"{rate}{which}meta-step {evaluation.iteration:,}"


def result_words(test: Evaluation, best: Evaluation | None) -> str:
    """Describe a test: its protocol, and the parameters and inner learning rate that were used."""
    is_best = best is not None and best.iteration == test.iteration
    which = test.checkpoint or ("best" if is_best else "last")
    used = [f"α = {test.inner_lr:g}"] if test.inner_lr is not None else []
    return f"{headline(test)}; {', '.join([*used, f'{which} at meta-step {test.iteration:,}'])}"


def file_size(size: int) -> str:
    """Format a number of bytes: `412 KiB`, `1.4 MiB`, `23 GiB`."""
    value, unit = size / 2**10, "KiB"
    for larger in ("MiB", "GiB"):
        if value < 1000:
            break
        value, unit = value / 2**10, larger
    return f"{value:.1f} {unit}" if 0 < value < 9.95 else f"{value:,.0f} {unit}"


def with_unit(value: str, unit: str) -> str:
    """Append the unit of a setting, in the singular for the value 1: `5 steps`, `1 step`, `10 s`."""
    if value == "1" and len(unit) > 1:
        unit = unit.removesuffix("es" if unit.endswith("sses") else "s")
    return f"{value} {unit}".strip()


def duration(seconds: float) -> str:
    """Format seconds as m:ss or h:mm:ss."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def split_name(split: str) -> str:
    """Return the full name of a split, such as `validation` for `val`."""
    return SPLIT_NAMES.get(split, split)


def protocol_of(settings: Settings) -> str:
    """Describe the test protocol of runs with `settings`."""
    evaluation = settings.evaluation
    shots = f"{settings.evaluation_shots}-shot"
    kind = f"{settings.task.ways}-way {shots}" if settings.is_classification else shots
    batch_norm = f", {evaluation.batch_norm.replace('_', ' ')}" if settings.is_classification else ""
    has_steps = FIELDS["evaluation.inner_steps"].is_relevant(settings)
    steps = f", {format_count(evaluation.inner_steps, 'inner step')}" if has_steps else ""
    loss_of = DATA[settings.task.source].loss_of
    loss = f", loss of {loss_of}" if loss_of else ""
    return f"{kind}{steps}, {evaluation.test_tasks} test tasks{batch_norm}{loss}"


def training_metrics(meta_loss: float | None, accuracy: float | None, tasks_seen: int, seconds: float) -> str:
    """Format the metrics of a meta-step and the speed: `meta-loss 0.41, accuracy 95.2 %, 1,200 tasks/s`."""
    loss = "not finite" if meta_loss is None else f"{meta_loss:.4g}"
    percent = f", accuracy {100 * accuracy:.1f} %" if accuracy is not None else ""
    speed = f", {tasks_seen / seconds:,.0f} tasks/s" if seconds > 0 else ""
    return f"meta-loss {loss}{percent}{speed}"


FINISHED = {
    "iterations": "Finished",
    "early_stop": "Finished early: the validation result stopped improving",
    "stopped": "Stopped and saved",
    "interrupted": "Interrupted and saved",
}
"""Messages about the end of a run, keyed by the reason in its `Finished` event."""


def entry_message(entry: Entry) -> str | None:
    """Describe a journal entry other than an evaluation; None for entries that need no message."""
    details = entry.details
    match entry.event:
        case "started":
            verb = "Resumed" if entry.iteration else "Started"
            reason = f" ({detail(details, 'engine_reason')})" if details.get("engine_reason") else ""
            return f"{verb} on {detail(details, 'device_name')}, engine {detail(details, 'engine')}{reason}"
        case "tweaked":
            return change_text(detail(details, "path"), detail(details, "old"), detail(details, "new"))
        case "undone":
            label = setting_label(detail(details, "path"))
            new, at = detail(details, "new"), detail(details, "at")
            return f"{label}: the change to {new} after meta-step {at} was undone"
        case "warned":
            return as_sentence(detail(details, "text"))
        case "hinted":
            path, old, new = (detail(details, key) for key in ("path", "old", "new"))
            return f"{detail(details, 'reason')}. {advice(path, old, new)}"
        case "noted":
            return detail(details, "text")
        case "failed":
            return as_sentence(detail(details, "sentence"))
        case "interrupted":
            return "Interrupted"
        case "finished" if warning := details.get("warning"):
            text = sanitize(warning, limit=1000) if isinstance(warning, str) else quote(warning)
            return f"Finished. {text}"
        case "finished" if details.get("reason") == "early_stop":
            return FINISHED["early_stop"]
        case "finished" | "stopped" | "paused" | "resumed":
            return entry.event.capitalize()
        case _:
            return None


def change_text(path: str, old: str, new: str) -> str:
    """Describe a changed setting: `Inner learning rate changed from 0.01 to 0.02`."""
    return f"{setting_label(path)} changed from {old} to {new}"


def hint_text(hint: events.Hinted) -> str:
    """Describe a hint: its reason, and the setting that may help."""
    return f"{hint.reason}. {advice(hint.path, text_of(hint.old), text_of(hint.new))}"


def advice(path: str, old: str, new: str) -> str:
    """Suggest a change to a setting: `Try algorithm.outer_lr = 0.1 instead of 0.001`."""
    return f"Try {path} = {new} instead of {old}"


def setting_label(path: str) -> str:
    """Return the label of a setting in the app's form, or `path` if the setting is unknown."""
    return FIELDS[path].label if path in FIELDS else path


def detail(details: Mapping[str, Any], key: str) -> str:
    """Return a detail of a journal entry as one safe line of text.

    Journals edited by users may contain values of any type.
    """
    value = details.get(key)
    if isinstance(value, float):
        return f"{value:.4g}"
    return sanitize(value) if isinstance(value, str) else quote(value)
