"""Charts of a comparison: training curves and adaptation curves."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from metatui.events import Curve
from metatui.runs.analysis.comparison import Comparison, Metric, RunResult, TrainingCurve
from metatui.runs.analysis.comparison.pairwise_tests import seed_groups
from metatui.runs.analysis.comparison.values import Averages
from metatui.tui import palette
from metatui.tui.widgets.charts import ChartData, Mark, Series
from metatui.utils.smoothing import DECAYS

Axis = Literal["iterations", "tasks", "seconds"]
AXES: Final[dict[Axis, str]] = {
    "iterations": "meta-steps",
    "tasks": "tasks seen",
    "seconds": "seconds of training",
}


@dataclass(frozen=True)
class View:
    """Display options of the curves; each key changes one field."""

    axis: Axis = "iterations"
    log: bool = True
    """Logarithmic axis for losses; accuracies always have a linear one."""
    smoothing: int = 0
    """Position in `DECAYS` of the decay of the smoothing, from 1. If it is 0, the length of the runs determines it."""
    metric: Metric | None = None
    """The metric that is shown; None selects the metric that decides the comparison."""
    colours: Mapping[str, str] = field(default_factory=dict)
    """Palette name of the colour of each run, by the name of the run. A group has the colour of its first run."""

    def next_axis(self) -> View:
        axes = list(AXES)
        return replace(self, axis=axes[(axes.index(self.axis) + 1) % len(axes)])

    def next_smoothing(self) -> View:
        return replace(self, smoothing=(self.smoothing + 1) % (1 + len(DECAYS)))

    def toggle_log(self) -> View:
        return replace(self, log=not self.log)

    def next_metric(self) -> View:
        """Switch between accuracy, which decides the comparison of classifiers, and loss."""
        return replace(self, metric="accuracy" if self.metric == "loss" else "loss")

    def shows_accuracy(self, comparison: Comparison) -> bool:
        return (self.metric or comparison.metric) == "accuracy"


@dataclass(frozen=True)
class RunGroup:
    """A run, or runs that differ only in their seed, drawn in one colour."""

    label: str
    colour: str
    """Name of the colour in the palette."""
    runs: Sequence[RunResult]


def run_groups(comparison: Comparison, view: View) -> list[RunGroup]:
    """Group runs that differ in their seed only, because a suite may have more runs than there are distinct hues."""
    groups = [(f"{group.label} ({len(group.runs)} seeds)", group.runs) for group in seed_groups(comparison.runs)]
    grouped = [run for _, runs in groups for run in runs]
    groups += [(run.label, (run,)) for run in comparison.runs if run not in grouped]
    groups.sort(key=lambda group: comparison.runs.index(group[1][0]))
    coloured: list[RunGroup] = []
    for label, runs in groups:
        used = Counter(group.colour for group in coloured)
        usual = view.colours.get(runs[0].id, "")
        free = min(palette.RUN_HUES, key=lambda hue: used[hue])
        coloured.append(RunGroup(label, usual if usual and used[usual] <= used[free] else free, runs))
    return coloured


def run_colours(comparison: Comparison, view: View) -> list[str]:
    """Return the colour of each run's group."""
    colours = {run: group.colour for group in run_groups(comparison, view) for run in group.runs}
    return [colours[run] for run in comparison.runs]


def training(comparison: Comparison, view: View) -> ChartData:
    """Return a chart of all training curves, with marks at live changes and at values that are not finite."""
    accuracy = view.shows_accuracy(comparison)
    series, spans, marks, faults = [], set(), [], set[float]()
    for run, name, colour in _labelled_runs(comparison, view):
        curve = run.training
        values: Sequence[float] = ()
        if curve is not None:
            smooth: TrainingCurve | Averages = curve
            if view.smoothing and curve.averages:
                smooth = curve.averages[view.smoothing - 1]
            spans.add(f"{smooth.decay:g}" if isinstance(smooth, Averages) else f"over {smooth.span:,} meta-steps")
            marks += [Mark(getattr(change.at, view.axis), change.label, colour) for change in curve.changes]
            values = [100 * value for value in smooth.accuracy or ()] if accuracy else smooth.meta_loss
        points = list(zip(getattr(curve, view.axis), values, strict=False)) if curve else []
        series.append(Series(name, colour, points))
        faults.update(x for x, value in points if not math.isfinite(value))
    smoothed = f", smoothed {max(spans)}" if spans else ""
    return ChartData(
        tuple(series),
        tuple(marks),
        tuple(sorted(faults)),
        title=f"{'Query accuracy' if accuracy else 'Meta-loss'} in training{smoothed}",
        x_label=AXES[view.axis],
        y_label="accuracy (%)" if accuracy else "loss",
        log_y=view.log and not accuracy,
        empty="These runs have no training curve.",
    )


def adaptation(comparison: Comparison, view: View) -> ChartData:
    """Return a chart of the metric against the inner step, with 95 % intervals as bands."""
    accuracy = view.shows_accuracy(comparison)
    log = view.log and not accuracy
    runs = _labelled_runs(comparison, view)
    curves = [_curve(run, accuracy) for run, _, _ in runs]
    # An interval that reaches below zero ends at the lowest value of a logarithmic axis.
    lows = (mean - half for curve in curves for mean, half in zip(curve.mean, curve.ci95, strict=True))
    floor = min((low for low in lows if low > 0), default=math.nan) if log else -math.inf
    scale = 100 if accuracy else 1
    means, bands = [], []
    for (run, name, colour), curve in zip(runs, curves, strict=True):
        steps = run.evaluation.steps
        means.append(Series(name, colour, [*zip(steps, (scale * mean for mean in curve.mean), strict=True)]))
        bands.append(Series("", colour, _band(steps, curve, scale, floor), style="band"))
    return ChartData(
        (*means, *bands),
        title=f"{'Accuracy' if accuracy else 'Loss'} on {comparison.protocol.tasks:,} held-out tasks, "
        f"{comparison.protocol.shots}-shot; dotted: 95 %",
        x_label="inner step",
        y_label="accuracy (%)" if accuracy else "loss",
        log_y=log,
        x_limits=(0, comparison.protocol.steps),
        integer_x=True,
        last_values=False,
        empty="These runs were not adapted to any task.",
    )


def _labelled_runs(comparison: Comparison, view: View) -> list[tuple[RunResult, str, str]]:
    """Return each run with its label in the legend and its colour. In a group, only the first run has a label."""
    return [
        (run, "" if index else group.label, group.colour)
        for group in run_groups(comparison, view)
        for index, run in enumerate(group.runs)
    ]


def _curve(run: RunResult, accuracy: bool) -> Curve:
    curve = run.evaluation.accuracy if accuracy else run.evaluation.loss
    assert curve is not None  # the view shows accuracy only for classification
    return curve


def _band(steps: Sequence[int], curve: Curve, scale: float, floor: float) -> list[tuple[float, float]]:
    points = []
    for step, mean, half in zip(steps, curve.mean, curve.ci95, strict=True):
        low = max(mean - half, min(floor, mean))
        points += [(float(step), scale * low), (float(step), scale * (mean + half))]
    return points
