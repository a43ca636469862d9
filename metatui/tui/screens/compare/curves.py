"""Charts of a comparison: training curves and adaptation curves."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Generic, Literal, TypeVar

from metatui.events import Curve
from metatui.runs.analysis.comparison import Comparison, Metric, Recorded, RecordedRun, TrainingCurve
from metatui.runs.analysis.comparison.labels import measured_in
from metatui.runs.analysis.comparison.seed_groups import by_seed
from metatui.runs.analysis.comparison.values import Averages
from metatui.runs.formatting import split_name
from metatui.tui.colors import palette
from metatui.tui.widgets.charts import ChartData, Mark, Series
from metatui.utils.smoothing import DECAYS
from metatui.utils.text import format_count

R = TypeVar("R", bound=RecordedRun)

Axis = Literal["iterations", "tasks", "seconds"]
AXES: Final[dict[Axis, str]] = {
    "iterations": "meta-steps",
    "tasks": "tasks seen",
    "seconds": "seconds of training",
}

Curves = Literal["both", "validation", "training"]
CURVES: Final[tuple[Curves, ...]] = ("both", "validation", "training")

MAX_BANDS: Final = 4
"""Maximum number of groups of runs for which intervals are drawn as bands. The tables always contain the intervals."""


@dataclass(frozen=True)
class CurveOptions:
    """Display options of the curves. Each key changes one option."""

    axis: Axis = "iterations"
    log: bool = True
    """True to draw losses on a logarithmic axis. The axis of accuracies is always linear."""
    smoothing: int = 0
    """Position of the smoothing decay in `DECAYS`, counted from 1. If it is 0, the decay depends on the length of the
    runs."""
    curves: Curves = "both"
    """The curves to draw: training, validation, or both."""
    metric: Metric | None = None
    """The metric to show. If None, the metric that decides the comparison is shown."""
    colours: Mapping[str, str] = field(default_factory=dict)
    """Palette name of each run's colour, keyed by the name of the run. A group has the colour of its first run."""

    def next_axis(self) -> CurveOptions:
        axes = list(AXES)
        return replace(self, axis=axes[(axes.index(self.axis) + 1) % len(axes)])

    def next_smoothing(self) -> CurveOptions:
        return replace(self, smoothing=(self.smoothing + 1) % (1 + len(DECAYS)))

    def next_curves(self) -> CurveOptions:
        return replace(self, curves=CURVES[(CURVES.index(self.curves) + 1) % len(CURVES)])

    def toggle_log(self) -> CurveOptions:
        return replace(self, log=not self.log)

    def next_metric(self) -> CurveOptions:
        """Return options that show the other metric, accuracy or loss."""
        return replace(self, metric="accuracy" if self.metric == "loss" else "loss")

    def shows_accuracy(self, comparison: Comparison | Recorded) -> bool:
        return (self.metric or comparison.metric) == "accuracy"


@dataclass(frozen=True)
class RunGroup(Generic[R]):
    """A run, or runs that differ only in their seed, drawn in one colour."""

    label: str
    colour: str
    """Name of the colour in the palette."""
    runs: Sequence[R]


def run_groups(runs: Sequence[R], view: CurveOptions) -> list[RunGroup[R]]:
    """Group the runs that differ only in their seed, because a suite can have more runs than there are colours."""
    coloured: list[RunGroup[R]] = []
    for label, alike in by_seed(runs):
        used = Counter(group.colour for group in coloured)
        usual = view.colours.get(alike[0].id, "")
        free = min(palette.RUN_HUES, key=lambda hue: used[hue])
        name = f"{label} ({len(alike)} seeds)" if len(alike) > 1 else label
        coloured.append(RunGroup(name, usual if usual and used[usual] <= used[free] else free, alike))
    return coloured


def run_colours(comparison: Comparison, view: CurveOptions) -> list[str]:
    """Return the colour of each run's group."""
    colours = {run: group.colour for group in run_groups(comparison.runs, view) for run in group.runs}
    return [colours[run] for run in comparison.runs]


def training(comparison: Comparison | Recorded, view: CurveOptions) -> ChartData:
    """Return a chart of the training curves (lines), of the validations (points), or of both.

    A ring marks the best validation of each run. The chart has marks at live changes and at values that are not finite.
    """
    accuracy = view.shows_accuracy(comparison)
    # Validations record only the metric that decides the comparison.
    validated = accuracy == (comparison.metric == "accuracy") and any(run.validation.mean for run in comparison.runs)
    lines = view.curves != "validation" or not validated
    points = view.curves != "training" and validated
    groups = run_groups(comparison.runs, view)
    in_training, in_validation = measured_in([group.runs[0].settings for group in groups])
    measured = in_training if lines else in_validation
    differs = len({each for each, group in zip(measured, groups, strict=True) if each and group.runs[0].training}) > 1
    series: list[Series] = []
    rings = ""
    spans: set[str] = set()
    marks: list[Mark] = []
    faults: dict[tuple[float, str], Mark] = {}
    for group, how in zip(groups, measured, strict=True):
        name = label = f"{group.label}, {how}" if differs and how else group.label
        for run in group.runs:
            first = len(series)
            if lines:
                curve, smooth = run.training, _smoothed(run.training, view)
                if curve and smooth:
                    span = f"over {format_count(curve.span, 'meta-step')}"
                    spans.add(f"{smooth.decay:g}" if isinstance(smooth, Averages) else span)
                values = _values(smooth, accuracy)
                x: Sequence[float] = getattr(curve, view.axis) if curve else ()
                series.append(Series(name, group.colour, list(zip(x, values, strict=False))))
                name = ""
            if points:
                scale = 100 if accuracy else 1
                y = [scale * mean for mean in run.validation.mean]
                # A line through a single validation would be one dot.
                style: Literal["line", "points"] = "points" if lines or len(y) == 1 else "line"
                series.append(
                    Series(name, group.colour, [*zip(getattr(run.validation, view.axis), y, strict=True)], style)
                )
                name = ""
                if run.validation.best in run.validation.iterations:
                    place = run.validation.iterations.index(run.validation.best)
                    at = getattr(run.validation, view.axis)[place]
                    series.append(Series("", group.colour, [(at, y[place])], style="rings"))
                    rings = "; rings: the best"
            failed = {x for each in series[first:] for x, value in each.points if not math.isfinite(value)}
            faults |= {(x, label): Mark(x, "not finite", group.colour, label) for x in failed}
            changes = run.training.changes if run.training else ()
            marks += [Mark(getattr(change.at, view.axis), change.label, group.colour, label) for change in changes]
    smoothed = f", smoothed {max(spans)}" if spans else ""
    metric = "accuracy" if accuracy else "loss"
    brief = "Query accuracy" if accuracy else "Meta-loss"
    shown = f"{brief} in training"
    trained, validation = ("" if differs else _all_alike(in_training)), f"validation{_all_alike(in_validation)}"
    if lines:
        end = f"; points: {validation}" if points else ""
        titles = [f"{shown}{trained}{smoothed}{end}", f"{shown}{trained}{end}", f"Training{trained}{end}"]
        if rings:
            # A title without the rings is only the last resort, because the chart has both kinds of marks.
            explained = [f"{brief}{trained}{smoothed}{end}{rings}", f"{brief}{trained}{end}{rings}"]
            titles = [f"{titles[0]}{rings}", *explained, f"Points: validation{rings}", *titles]
    else:
        on_tasks = validation.replace("validation", "validation tasks", 1)
        titles = [f"{metric.capitalize()} on {on_tasks}", validation.capitalize()]
        titles = [f"{titles[0]}{rings}", *titles] if rings else titles
    return ChartData(
        tuple(series),
        tuple(marks),
        tuple(faults[key] for key in sorted(faults)),
        title=titles[0],
        shorter_titles=tuple(titles[1:]),
        x_label=AXES[view.axis],
        y_label="accuracy (%)" if accuracy else "loss",
        log_y=view.log and not accuracy,
        empty="These runs have no training curve.",
    )


def _all_alike(measured: Sequence[str]) -> str:
    """Return the part of a title that says how the curves were measured.

    The result is an empty string if this is unknown or differs between curves.
    """
    if len(set(measured)) != 1 or not measured[0]:
        return ""
    return f", {measured[0]}" if "shot" in measured[0] else f" after {measured[0]}"


def _smoothed(curve: TrainingCurve | None, view: CurveOptions) -> TrainingCurve | Averages | None:
    return curve.averages[view.smoothing - 1] if curve and view.smoothing and curve.averages else curve


def _values(curve: TrainingCurve | Averages | None, accuracy: bool) -> Sequence[float]:
    if curve is None:
        return ()
    return [100 * value for value in curve.accuracy or ()] if accuracy else curve.meta_loss


def adaptation(comparison: Comparison, view: CurveOptions) -> ChartData:
    """Return a chart of the metric against the inner step, with 95 % intervals as bands if they would not hide curves.

    Runs that differ only in the seed are drawn as one curve, which is their mean, with the interval across the seeds.
    """
    accuracy = view.shows_accuracy(comparison)
    log = view.log and not accuracy
    colours = [group.colour for group in run_groups(comparison.runs, view)]
    curves = [group.curve("accuracy" if accuracy else "loss") for group in comparison.groups]
    # An interval that reaches below zero ends at the lowest value of a logarithmic axis.
    lows = (mean - half for curve in curves for mean, half in zip(curve.mean, curve.ci95, strict=True))
    floor = min((low for low in lows if low > 0), default=math.nan) if log else -math.inf
    scale = 100 if accuracy else 1
    means, bands = [], []
    for group, colour, curve in zip(comparison.groups, colours, curves, strict=True):
        steps = group.runs[0].evaluation.steps
        means.append(Series(group.name, colour, [*zip(steps, (scale * mean for mean in curve.mean), strict=True)]))
        if len(comparison.groups) <= MAX_BANDS:
            bands.append(Series("", colour, _band(steps, curve, scale, floor), style="band"))
    dotted = f"; dotted: 95 % interval{' over tasks or seeds' if comparison.repeated else ''}" if bands else ""
    metric, shots = "Accuracy" if accuracy else "Loss", f"{comparison.protocol.shots}-shot"
    split = split_name(comparison.protocol.split)
    title = f"{metric} on {comparison.protocol.tasks:,} {split} tasks, {shots}"
    return ChartData(
        (*means, *bands),
        title=f"{title}{dotted}",
        shorter_titles=(title, f"{metric}, {split} split, {shots}"),
        x_label="inner step",
        y_label="accuracy (%)" if accuracy else "loss",
        log_y=log,
        x_limits=(0, comparison.protocol.steps),
        integer_x=True,
        last_values=False,
        empty="The models of these runs were not adapted to any task.",
    )


def _band(steps: Sequence[int], curve: Curve, scale: float, floor: float) -> list[tuple[float, float]]:
    points = []
    for step, mean, half in zip(steps, curve.mean, curve.ci95, strict=True):
        low = max(mean - half, min(floor, mean))
        points += [(float(step), scale * low), (float(step), scale * (mean + half))]
    return points
