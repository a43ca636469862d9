"""Training of a run as recorded in its files: smoothed curves, validations, costs, and the time to a target."""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from metatui.config.declarations import Scalar
from metatui.config.schedule import PlannedChange, brief
from metatui.runs.analysis.comparison.values import (
    Averages,
    Costs,
    LiveChange,
    Metric,
    TimeToTarget,
    TrainingCurve,
    ValidationCurve,
)
from metatui.runs.storage.commands import merge_commands
from metatui.runs.storage.metrics import last_progress
from metatui.runs.storage.run_folder import RunFolder, lost_after
from metatui.utils.smoothing import DECAYS, span_of

POINTS = 500
"""Maximum number of points of a training curve. Neither a screen nor a page can show more."""

MIN_SPAN = 50
SPAN_SHARE = 0.02
"""Number of meta-steps to smooth over, as a fraction of the meta-steps of the longest run. The minimum is
`MIN_SPAN` meta-steps."""


@dataclass
class Steps:
    """All meta-steps of a run, with one array for each metric."""

    iteration: array[int] = field(default_factory=lambda: array("q"))
    tasks_seen: array[int] = field(default_factory=lambda: array("q"))
    seconds: array[float] = field(default_factory=lambda: array("d"))
    meta_loss: array[float] = field(default_factory=lambda: array("d"))
    accuracy: array[float] = field(default_factory=lambda: array("d"))
    """Query accuracies; NaN for regression."""

    def __len__(self) -> int:
        return len(self.iteration)

    def until(self, iteration: int) -> TimeToTarget:
        """Return the number of tasks and the training time up to meta-step `iteration`."""
        i = bisect_right(self.iteration, iteration) - 1
        return (
            TimeToTarget(iteration, self.tasks_seen[i], self.seconds[i]) if i >= 0 else TimeToTarget(iteration, 0, 0.0)
        )

    def lost(self) -> str | None:
        """Describe the first missing meta-step, like `RunFolder.lost_metrics`; None if none are missing."""
        found = bisect_left(range(len(self)), True, key=lambda i: self.iteration[i] > i + 1)
        return lost_after(found) if found < len(self) else None


def read_steps(run: RunFolder) -> Steps:
    """Return the meta-steps in the metrics file of `run`.

    Raises:
        BadInput: if the file cannot be read.
    """
    try:
        stat = run.metrics_path.stat()
    except OSError:  # scratch may have no metrics
        return Steps()
    return _read(run, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=8)
def _read(run: RunFolder, size: int, modified: int) -> Steps:
    # Cached, because long runs take seconds to read and are often compared again with other inner steps or shots.
    steps, reader = Steps(), run.metrics(whole=True)
    while new := reader.read_new():
        if reader.restarted:
            steps = Steps()
        steps.iteration.extend(p.iteration for p in new)
        steps.tasks_seen.extend(p.tasks_seen for p in new)
        steps.seconds.extend(p.seconds for p in new)
        steps.meta_loss.extend(p.meta_loss for p in new)
        steps.accuracy.extend(math.nan if p.accuracy is None else p.accuracy for p in new)
    return steps


def smoothing_span(runs: Sequence[RunFolder]) -> int:
    """Return the number of meta-steps to smooth over. It is the same for all `runs`."""
    last = [last_progress(run.metrics_path) for run in runs]
    return max([MIN_SPAN, *(round(SPAN_SHARE * each.iteration) for each in last if each)])


def live_changes(run: RunFolder, steps: Steps) -> tuple[LiveChange, ...]:
    """Return the live changes of `run`, except those undone by resuming from an earlier meta-step."""
    settings = run.settings()
    values: dict[str, Scalar] = {}
    changes = []
    for item in merge_commands(run.changes(), run.journal()):
        if item.made and isinstance(change := item.planned, PlannedChange):
            old = values.get(change.path, settings.value(change.path))
            values[change.path] = change.value
            at, label = steps.until(change.iteration), brief(change.path, change.value)
            changes.append(LiveChange(at, label, change.path, old, change.value))
    return tuple(changes)


def training_curve(steps: Steps, span: int, changes: tuple[LiveChange, ...] = ()) -> TrainingCurve | None:
    """Smooth the training curve of a run; return None for a run without meta-steps."""
    import numpy as np

    from metatui.learning.evaluation.statistics import smoothed

    if not len(steps):
        return None
    shown = np.unique(np.linspace(0, len(steps) - 1, min(POINTS, len(steps))).round().astype(int))

    def averaged(values: array[float], span: float) -> tuple[float, ...] | None:
        known = np.isfinite(values).cumsum()[shown]
        if not known[-1]:
            return None
        # If no value since the last point is finite, leave a gap, so that a diverged run has no flat tail.
        return tuple(np.where(np.diff(known, prepend=0) > 0, smoothed(values, span)[shown], math.nan).tolist())

    def both(decay: float) -> Averages:
        return Averages(decay, losses(span_of(decay)), averaged(steps.accuracy, span_of(decay)))

    def losses(span: float) -> tuple[float, ...]:
        return averaged(steps.meta_loss, span) or (math.nan,) * len(shown)

    return TrainingCurve(
        span=span,
        iterations=tuple(steps.iteration[i] for i in shown),
        tasks=tuple(steps.tasks_seen[i] for i in shown),
        seconds=tuple(steps.seconds[i] for i in shown),
        meta_loss=losses(span),
        accuracy=averaged(steps.accuracy, span),
        changes=changes,
        averages=tuple(map(both, DECAYS)),
    )


def validation_curve(run: RunFolder, steps: Steps, metric: Metric) -> ValidationCurve:
    """Return the validations in order of meta-steps.

    If a resumed run repeated validations, only the results of the repetition are included.

    Raises:
        BadInput: if the journal cannot be read.
    """
    validations = run.validations(whole=True)
    when = [steps.until(entry.iteration) for entry in validations]
    return ValidationCurve(
        iterations=tuple(each.iterations for each in when),
        tasks=tuple(each.tasks for each in when),
        seconds=tuple(each.seconds for each in when),
        mean=tuple(_number(entry.details.get(metric)) for entry in validations),
        ci95=tuple(_number(entry.details.get(f"{metric}_ci95")) for entry in validations),
        diverged=tuple(_count(entry.details.get("diverged")) for entry in validations),
        best=max((entry.iteration for entry in validations if entry.details.get("best") is True), default=None),
    )


def first_reaching(curve: ValidationCurve, target: float, metric: Metric) -> TimeToTarget | None:
    """Return the first validation whose mean reaches the target, or None.

    Validations are used because they always have the same number of held-out tasks. A meta-step has few training tasks,
    so its loss is noisy, and the smallest of many noisy losses reaches any target too early. The run may have reached
    the target up to `evaluation.every` meta-steps (the interval between validations) before the returned validation.
    """
    for i, mean in enumerate(curve.mean):
        if mean >= target if metric == "accuracy" else mean <= target:
            return TimeToTarget(curve.iterations[i], curve.tasks[i], curve.seconds[i])
    return None


def costs(run: RunFolder, steps: Steps) -> Costs:
    """Return the time, memory and device of training, as recorded in the run's files."""
    started, peak = None, None
    for entry in run.journal():
        if entry.event == "started":
            started = entry
        elif type(size := entry.details.get("peak_memory_bytes")) is int:
            peak = max(peak or 0, size)
    details = {} if started is None else started.details
    names = (details.get(name) for name in ("device", "device_name", "host"))
    device, device_name, host = (value if isinstance(value, str) else None for value in names)
    iterations = steps.iteration[-1] if steps else 0
    seconds = steps.seconds[-1] if steps else None
    return Costs(
        iterations=iterations,
        seconds=seconds,
        seconds_per_step=seconds / iterations if seconds and iterations else None,
        tasks_per_second=steps.tasks_seen[-1] / seconds if seconds else None,
        peak_memory_bytes=peak,
        device=device,
        device_name=device_name,
        host=host,
        tasks_seen=steps.tasks_seen[-1] if steps else None,
    )


def _count(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
