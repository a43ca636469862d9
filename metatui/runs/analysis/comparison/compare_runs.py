"""Comparison of runs: adaptation of each run to the same held-out tasks, followed by statistical tests."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from metatui.runs.analysis.comparison.labels import labels
from metatui.runs.analysis.comparison.pairwise_tests import pairs, seed_pairs
from metatui.runs.analysis.comparison.seed_groups import seed_groups
from metatui.runs.analysis.comparison.shared_protocol import SharedProtocol, agree, check_data, result_warnings
from metatui.runs.analysis.comparison.task_metrics import checkpoints_of, measure, recorded_test
from metatui.runs.analysis.comparison.training_curves import (
    costs,
    first_reaching,
    live_changes,
    read_steps,
    smoothing_span,
    training_curve,
    validation_curve,
)
from metatui.runs.analysis.comparison.values import (
    Comparing,
    Comparison,
    Metric,
    Recorded,
    RecordedRun,
    RunResult,
    Steps,
)
from metatui.runs.execution.run_log import pin_compute
from metatui.runs.execution.session import saved_state
from metatui.runs.storage.run_folder import RunFolder
from metatui.runs.storage.store import RunStore
from metatui.utils.errors import BadInput, quote


def compare(
    *runs: RunFolder | str | Path,
    split: str = "test",
    tasks: int | None = None,
    steps: Steps | None = None,
    shots: int | None = None,
    target: float | None = None,
    device: str | None = None,
    titles: Mapping[RunFolder, str] | None = None,
    reuse_test: bool = False,
    runs_dir: str | Path | None = None,
    on_progress: Callable[[Comparing], object] | None = None,
) -> Comparison:
    """Adapt the best parameters of runs to identical held-out tasks and test whether the results differ.

    Args:
        runs: runs to compare, each given as a run, its name, the beginning of its name, or the path of its folder.
        split: `test` or `val`.
        tasks, steps, shots: numbers of held-out tasks, inner steps and shots. They default to the settings of the first
            run, like the rest of the protocol (queries, seed of the held-out tasks, batch norm, rotations). With
            `steps="own"`, each run uses the number of inner steps in its own settings.
        target: accuracy (a fraction) or loss; the comparison shows when each run first reached this value.
        device: device for all runs; defaults to the device in each run's settings.
        titles: texts that replace the names of the algorithms in the labels of runs.
        reuse_test: whether to use the recorded final test instead of a new evaluation, if only one run is given and
            its test used the same protocol. In this case, the result has no per-task `values`, which only comparisons
            of several runs need.
        on_progress: callback that receives the progress before each chunk of tasks.

    Raises:
        BadInput: if a run does not exist or has no intact checkpoint, the runs use different data, or a value is not
            allowed.

    Example:
        >>> settings = metatui.Settings(training={"iterations": 20}, evaluation={"test_tasks": 10})
        >>> maml = metatui.train(settings).run
        >>> scratch = metatui.train(metatui.Settings(algorithm={"name": "scratch"}, evaluation={"test_tasks": 10})).run
        >>> comparison = metatui.compare(maml, scratch, tasks=20)
        >>> [run.label for run in comparison.runs]
        ['MAML', 'scratch']
    """
    store = RunStore(runs_dir)
    folders = [run if isinstance(run, RunFolder) else store.find(run) for run in runs]
    work_steps = compare_stepwise(
        folders,
        split=split,
        tasks=tasks,
        steps=steps,
        shots=shots,
        target=target,
        device=device,
        titles=titles,
        reuse_test=reuse_test,
    )
    with closing(work_steps):
        while True:
            try:
                progress = next(work_steps)
            except StopIteration as done:
                result: Comparison = done.value
                return result
            if on_progress is not None:
                on_progress(progress)


def compare_stepwise(
    runs: Sequence[RunFolder],
    *,
    split: str = "test",
    tasks: int | None = None,
    steps: Steps | None = None,
    shots: int | None = None,
    target: float | None = None,
    device: str | None = None,
    titles: Mapping[RunFolder, str] | None = None,
    reuse_test: bool = False,
) -> Generator[Comparing, None, Comparison]:
    """Run `compare` step by step, yielding the progress before each chunk of tasks.

    Nothing is written to disk; measurements are cached in memory. Raises the same errors as `compare`.
    """
    given = [(titles or {}).get(run, "") for run in runs]
    _check_runs(runs, given)
    checkpoints = [checkpoints_of(run) for run in runs]
    settings, states = zip(*(saved_state(run) for run in runs), strict=True)
    names = labels(runs, settings, given)
    agreed = agree(settings, names, split=split, tasks=tasks, steps=steps, shots=shots, device=device)
    metric: Metric = "accuracy" if settings[0].is_classification else "loss"
    check_target(target, metric)
    span = smoothing_span(runs)
    recorded = []
    for run, name, title, own, same_tasks in zip(runs, names, given, settings, agreed.same_tasks, strict=True):
        made = read_steps(run)
        validation = validation_curve(run, made, metric)
        recorded.append(
            RecordedRun(
                run=run,
                label=name,
                settings=own,
                same_tasks=same_tasks,
                training=training_curve(made, span, live_changes(run, made)),
                validation=validation,
                costs=costs(run, made),
                to_target=None if target is None else first_reaching(validation, target, metric),
                selected=pin_compute(own, run.journal(), but={}),
                title=title,
                lost_metrics=run.lost_metrics() or made.lost(),
            )
        )
    results = []
    first: Recorded | None = Recorded(tuple(recorded), metric)
    reuses = reuse_test and len(runs) == 1 and split == "test" and device is None
    if reuses and (reused := recorded_test(runs[0], agreed.settings[0])):
        evaluation, values = reused
        results.append(RunResult(**vars(recorded[0]), evaluation=evaluation, values=values))
    for i, run in enumerate(runs[len(results) :]):
        how = pin_compute(agreed.settings[i], run.journal(), but={"compute.device": device} if device else {})
        work = measure(run, checkpoints[i], how, states[i], split)
        done, measured = 0, _without_tests(results, agreed, target) if results else None
        while True:
            yield Comparing(names[i], i + 1, len(runs), done, agreed.protocol.tasks, first, measured)
            first = measured = None
            try:
                done = next(work)
            except StopIteration as finished:
                evaluation, values = finished.value
                break
        results.append(RunResult(**vars(recorded[i]), evaluation=evaluation, values=values))
    last = agreed.protocol.steps
    return replace(
        _without_tests(results, agreed, target),
        pairs=pairs(results, metric=metric, step=last),
        seeds=seed_pairs(results, metric=metric, step=last),
    )


def _without_tests(results: Sequence[RunResult], agreed: SharedProtocol, target: float | None) -> Comparison:
    return Comparison(
        protocol=agreed.protocol,
        runs=tuple(results),
        pairs=(),
        seeds=(),
        target=target,
        warnings=(*agreed.warnings, *result_warnings(results)),
        groups=seed_groups(results),
    )


def _check_runs(runs: Sequence[RunFolder], titles: Sequence[str]) -> None:
    """Raise BadInput if the runs cannot be compared. Checkpoints are not read, because reading them takes seconds."""
    if not runs:
        raise BadInput("there are no runs to compare: specify at least one run")
    paths = set()
    for run in runs:
        if (path := run.path.resolve()) in paths:
            raise BadInput(f"run {quote(run.id)} is given twice: specify each run only once")
        paths.add(path)
    settings = [run.settings() for run in runs]
    check_data(settings, labels(runs, settings, titles))


def parse_target(text: str, name: str = "target") -> float:
    """Parse a target: an accuracy (`0.95` or `95%`) or a loss.

    Args:
        name: name of the value in the error message.

    Raises:
        BadInput: if the text is not a number.
    """
    try:
        return float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        allowed = "an accuracy, such as 0.95 or 95%, or a loss"
        raise BadInput(f"{name} is {quote(text)}, but must be {allowed}") from None


def check_target(target: float | None, metric: Metric) -> None:
    """Raise BadInput if `target` is out of range for the metric."""
    if target is None:
        return
    if metric == "accuracy" and not 0 < target <= 1:
        raise BadInput(f"target is {target:g}, but must be an accuracy above 0 and at most 1, such as 0.95 for 95 %")
    if metric == "loss" and not (math.isfinite(target) and target >= 0):
        raise BadInput(f"target is {target:g}, but must be a loss of at least 0")
