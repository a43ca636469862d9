"""Shared evaluation protocol of all runs of a comparison, and warnings about remaining differences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from metatui.config.declarations import Scalar
from metatui.config.fields import FIELDS, change, text_of
from metatui.config.settings import Settings
from metatui.learning.data.data_set import caveat
from metatui.runs.analysis.comparison.formatting import seconds
from metatui.runs.analysis.comparison.labels import join_names, values_of
from metatui.runs.analysis.comparison.values import Protocol, RunResult, Steps
from metatui.runs.storage.journal import ended_early
from metatui.utils.errors import BadInput
from metatui.utils.numbers import format_diverged
from metatui.utils.text import format_count

DATA = ("task.source", "task.folder")
"""Settings that must be the same for all runs, in addition to the options of the data set.

Otherwise, accuracies and losses would refer to different data.
"""

FIXED_AFTER_TRAINING = ("task.ways", "task.split", "task.split_seed", "task.class_lists")
"""Settings that cannot change after training, because they determine a model's outputs and its training classes.

Runs that differ in these settings have no held-out tasks in common.
"""

SHARED = (
    "evaluation.shots",
    "task.queries",
    "task.rotations",
    "evaluation.inner_steps",
    "evaluation.batch_norm",
)
"""Evaluation settings that are the same for all runs of a comparison. By default, they are those of the first run."""

INPUTS = ("task.image_size", "task.image_mode")
"""Image settings that a trained model depends on. Runs that differ in these settings still have the same tasks."""

MAX_BUDGET_RATIO = 1.1
"""If the numbers of training tasks of two runs differ by more than this factor, the comparison contains a warning."""

MAX_TIME_RATIO = 2
"""If the times per meta-step of runs with the same settings differ by more than this factor, the comparison contains a
warning."""

MIN_TIMED_SECONDS = 1.0
"""Minimum training time in seconds of runs whose times per meta-step are compared, because in shorter runs most of the
time is spent on the warm-up."""


@dataclass(frozen=True)
class SharedProtocol:
    """Protocol of a comparison, and the evaluation settings of each run."""

    protocol: Protocol
    settings: tuple[Settings, ...]
    """Evaluation settings of each run: its own model and inner loop, combined with the shared protocol."""
    same_tasks: tuple[tuple[Scalar, ...], ...]
    """Key of each run; runs with equal keys have the same held-out tasks."""
    warnings: tuple[str, ...]


def agree(
    settings: Sequence[Settings],
    labels: Sequence[str],
    *,
    split: str,
    tasks: int | None,
    steps: Steps | None,
    shots: int | None,
    device: str | None,
) -> SharedProtocol:
    """Return the protocol of all runs: the protocol of the first run, overridden by arguments that are not None.

    Raises:
        BadInput: if the runs use different data, or a value is not allowed.
    """
    check_data(settings, labels)
    first = settings[0]
    own_steps = [each.evaluation_steps for each in settings if FIELDS["evaluation.inner_steps"].is_relevant(each)]
    shared: dict[str, Scalar] = {
        "evaluation.test_tasks": first.evaluation.test_tasks if tasks is None else tasks,
        "evaluation.inner_steps": next(iter(own_steps), 1) if steps is None or steps == "own" else steps,
        "evaluation.shots": 0,
        "task.shots": first.evaluation_shots if shots is None else shots,
        "evaluation.seed": first.evaluation.seed,
        "evaluation.batch_norm": first.evaluation.batch_norm,
        "task.queries": first.task.queries,
        "task.rotations": first.task.rotations,
        # No training episodes are drawn, so their constraints must not reject the evaluation.
        "task.shots_range": "",
        "algorithm.train_shots": 0,
        "algorithm.inner_batch": 0,
    }
    if device is not None:
        shared["compute.device"] = device
    evaluated = tuple(
        change(each, {**shared, "evaluation.inner_steps": each.evaluation_steps} if steps == "own" else shared)
        for each in settings
    )
    agreed = evaluated[0]
    overridden = [path for path in SHARED if not (path == "evaluation.inner_steps" and steps == "own")]
    differences = tuple(_differing(settings, labels, overridden))
    protocol = Protocol(
        source=first.task.source,
        split=split,
        tasks=agreed.evaluation.test_tasks,
        shots=agreed.evaluation_shots,
        queries=agreed.task.queries,
        steps=max(each.evaluation.inner_steps for each in evaluated),
        seed=agreed.evaluation.seed,
        batch_norm=agreed.evaluation.batch_norm if agreed.is_classification else None,
        rotations=agreed.task.rotations if FIELDS["task.rotations"].is_relevant(agreed) else None,
        own_steps=steps == "own",
        differences=tuple(f"{path} is {values}" for path, values in differences),
    )
    return SharedProtocol(
        protocol=protocol,
        settings=evaluated,
        same_tasks=tuple(
            tuple(each.value(path) for path in FIXED_AFTER_TRAINING if FIELDS[path].is_relevant(each))
            for each in settings
        ),
        warnings=tuple(_protocol_warnings(settings, labels, agreed, differences, split)),
    )


def check_data(settings: Sequence[Settings], labels: Sequence[str]) -> None:
    """Raise BadInput if the runs use different data."""
    options = [path for path, field in FIELDS.items() if field.group == settings[0].task.source]
    for path, values in _differing(settings, labels, (*DATA, *options)):
        raise BadInput(f"runs on different data cannot be compared: {path} is {values}")


def _protocol_warnings(
    settings: Sequence[Settings],
    labels: Sequence[str],
    agreed: Settings,
    differences: Sequence[tuple[str, str]],
    split: str,
) -> Iterator[str]:
    for path, values in _differing(settings, labels, FIXED_AFTER_TRAINING):
        yield f"{path} is {values}: these runs have different test tasks and are not compared in pairs"
    for path, values in _differing(settings, labels, INPUTS):
        yield f"{path} is {values}: the runs have the same held-out tasks, but the images are prepared differently"
    for path, values in differences:
        used = text_of(_value(agreed, path))
        yield f"the runs specify different protocols: {path} is {values}; the comparison uses {used} for all runs"
    if split == "val":
        yield (
            "the validation split was also used to select the checkpoints, so these numbers are optimistic: report "
            "results on the test split"
        )


def result_warnings(runs: Sequence[RunResult]) -> Iterator[str]:
    """Yield warnings about the results of runs.

    They concern unfinished runs, held-out tasks drawn from few classes, lost metrics, diverged tasks, missing
    validations, different numbers of training tasks, different machines and uneven times per meta-step.
    """
    for run in runs:
        if (status := run.run.status()) != "finished":
            done, total = run.costs.iterations, run.settings.training.iterations
            is_trained = done >= total or ended_early(run.run.journal(), run.settings.training.early_stop)
            when = (
                "its last meta-step, before the end of its test" if is_trained else f"{done:,} of {total:,} meta-steps"
            )
            yield f"{run.label} is not finished: {status} after {when}"
    caveats = [caveat(run.evaluation) for run in runs]
    for text in dict.fromkeys(filter(None, caveats)):
        concerned = [run.label for run, own in zip(runs, caveats, strict=True) if own == text]
        yield text if len(concerned) == len(runs) else f"{text} ({join_names(concerned)})"
    for run in runs:
        if run.lost_metrics:
            yield f"{run.label} {run.lost_metrics}"
    for run in runs:
        if run.diverged:
            made, rate = format_count(run.evaluation.steps[-1], "inner step"), run.evaluation.inner_lr
            inner_lr = "" if rate is None else f" at an inner learning rate of {rate:g}"
            yield (
                f"{format_diverged(run.diverged, run.evaluation.tasks)} in the evaluation of {run.label} ({made}"
                f"{inner_lr}): means, intervals and tests exclude these tasks"
            )
    for run in runs:
        if run.evaluation.checkpoint == "last" and run.validation.iterations:
            why = "no finite validation result"
            yield f"{run.label} has {why}, so its last parameters were evaluated instead of its best"
    trained = [run for run in runs if run.costs.tasks_seen]
    budgets = [run.costs.tasks_seen or 0 for run in trained]
    if budgets and max(budgets) > MAX_BUDGET_RATIO * min(budgets):
        values = values_of([run.label for run in trained], [f"{tasks:,}" for tasks in budgets])
        yield f"the runs were trained on different numbers of tasks: {values}"
    timed = [run for run in runs if run.costs.seconds_per_step]
    machines = [f"{run.costs.device_name or 'an unknown device'} on {run.costs.host}" for run in timed]
    if len(set(machines)) > 1:
        values = values_of([run.label for run in timed], machines)
        yield f"times and memory use cannot be compared, because they were measured on different machines: {values}"
    yield from _uneven_times(timed)


def _uneven_times(runs: Sequence[RunResult]) -> Iterator[str]:
    """Yield a warning for runs that differ only in the seed, but whose times per meta-step differ considerably."""
    alike: dict[Settings, list[RunResult]] = {}
    for run in runs:
        if (run.costs.seconds or 0) >= MIN_TIMED_SECONDS:
            alike.setdefault(change(run.selected or run.settings, {"training.seed": 0}), []).append(run)
    for group in alike.values():
        times = [run.costs.seconds_per_step or 0 for run in group]
        machines = {(run.costs.host, run.costs.device_name) for run in group}
        if len(machines) == 1 and max(times) > MAX_TIME_RATIO * min(times):
            values = values_of([run.label for run in group], [seconds(time) for time in times])
            yield (
                f"times per meta-step of runs with the same settings differ by more than {MAX_TIME_RATIO}x, "
                f"probably because other programs were running: {values}"
            )


def _differing(settings: Sequence[Settings], labels: Sequence[str], paths: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield the path of each setting that differs between the runs that use it, and a string that lists its values."""
    for path in paths:
        relevant = [(name, each) for name, each in zip(labels, settings, strict=True) if FIELDS[path].is_relevant(each)]
        if len({_value(each, path) for _, each in relevant}) > 1:
            yield path, values_of([name for name, _ in relevant], [text_of(_value(each, path)) for _, each in relevant])


def _value(settings: Settings, path: str) -> Scalar:
    return settings.evaluation_shots if path == "evaluation.shots" else settings.value(path)
