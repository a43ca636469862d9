"""A comparison's curves as a chart draws them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from metatui.events import Curve
from metatui.runs.analysis.comparison import Comparison, Metric, RunResult, TrainingCurve
from metatui.runs.analysis.comparison.values import Averages
from metatui.tui.screens.compare.seed_groups import kinds
from metatui.tui.widgets.charts.chart_renderer import Picture
from metatui.tui.widgets.charts.series import Mark, Series
from metatui.utils.smoothing import DECAYS

Against = Literal["iterations", "tasks", "seconds"]
AGAINST: Final[dict[Against, str]] = {
    "iterations": "meta-steps",
    "tasks": "tasks seen",
    "seconds": "seconds of training",
}


@dataclass(frozen=True)
class View:
    """How the curves are looked at; each key changes one of these."""

    against: Against = "iterations"
    log: bool = True
    """Of losses only: accuracies always have a linear axis."""
    smoothing: int = 0
    """0 for the smoothing that depends on the length of the runs, then 1 to 3 for the decays in `DECAYS`."""
    metric: Metric | None = None
    """None is the one that decides."""

    def next_axis(self) -> View:
        axes = list(AGAINST)
        return replace(self, against=axes[(axes.index(self.against) + 1) % len(axes)])

    def next_smoothing(self) -> View:
        return replace(self, smoothing=(self.smoothing + 1) % (1 + len(DECAYS)))

    def of(self, comparison: Comparison) -> Metric:
        return self.metric or comparison.metric

    def other_metric(self, comparison: Comparison) -> View:
        return replace(self, metric="loss" if self.of(comparison) == "accuracy" else "accuracy")


def training(comparison: Comparison, view: View) -> Picture:
    """The training curves over each other."""
    accuracy = view.of(comparison) == "accuracy"
    series, spans, marks = [], set(), []
    for run, name, colour in _drawn(comparison):
        curve = run.training
        values: Sequence[float] = ()
        if curve is not None:
            smooth: TrainingCurve | Averages = curve
            if view.smoothing and curve.averages:
                smooth = curve.averages[view.smoothing - 1]
            spans.add(f"{smooth.decay:g}" if isinstance(smooth, Averages) else f"over {smooth.span:,} meta-steps")
            marks += [Mark(getattr(each.at, view.against), each.label, colour) for each in curve.changes]
            values = [100 * v for v in smooth.accuracy or ()] if accuracy else smooth.meta_loss
        points = list(zip(getattr(curve, view.against), values, strict=False)) if curve else []
        series.append(Series(name, colour, points))
    smoothed = f", smoothed {max(spans)}" if spans else ""
    return Picture(
        tuple(series),
        tuple(marks),
        title=f"{'Query accuracy' if accuracy else 'Meta-loss'} in training{smoothed}",
        x_label=AGAINST[view.against],
        y_label="accuracy (%)" if accuracy else "loss",
        log_y=view.log and not accuracy,
        empty="None of these runs was trained: there is no training curve.",
    )


def adaptation(comparison: Comparison, view: View) -> Picture:
    """The metric against inner step, with bands of 95 % intervals."""
    accuracy = view.of(comparison) == "accuracy"
    log = view.log and not accuracy
    drawn = _drawn(comparison)
    curves = [_curve(run, accuracy) for run, _, _ in drawn]
    # What reaches below zero goes down to the lowest that a logarithmic axis shows.
    lows = (mean - half for curve in curves for mean, half in zip(curve.mean, curve.ci95, strict=True))
    floor = min((low for low in lows if low > 0), default=math.nan) if log else -math.inf
    scale = 100 if accuracy else 1
    means, bands = [], []
    for (run, name, colour), curve in zip(drawn, curves, strict=True):
        steps = run.evaluation.steps
        means.append(Series(name, colour, [*zip(steps, (scale * m for m in curve.mean), strict=True)]))
        bands.append(Series("", colour, _band(steps, curve, scale, floor), style="band"))
    return Picture(
        (*means, *bands),
        title=f"{'Accuracy' if accuracy else 'Loss'} on {comparison.protocol.tasks:,} held-out tasks, "
        f"{comparison.protocol.shots}-shot; dotted: 95 %",
        x_label="inner step",
        y_label="accuracy (%)" if accuracy else "loss",
        log_y=log,
        x_limits=(0, comparison.protocol.steps),
        whole_x=True,
        last_values=False,
        empty="No task was adapted to.",
    )


def _drawn(comparison: Comparison) -> list[tuple[RunResult, str, str]]:
    """Each run with what the legend calls it, nothing for a further seed of the run before, and its colour."""
    return [
        (run, "" if number else kind.label, kind.colour)
        for kind in kinds(comparison)
        for number, run in enumerate(kind.runs)
    ]


def _curve(run: RunResult, accuracy: bool) -> Curve:
    curve = run.evaluation.accuracy if accuracy else run.evaluation.loss
    assert curve is not None  # the deciding metric is accuracy only where there is one
    return curve


def _band(steps: Sequence[int], curve: Curve, scale: float, floor: float) -> list[tuple[float, float]]:
    points = []
    for step, mean, half in zip(steps, curve.mean, curve.ci95, strict=True):
        low = max(mean - half, min(floor, mean))
        points += [(float(step), scale * low), (float(step), scale * (mean + half))]
    return points
