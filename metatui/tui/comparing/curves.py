"""A comparison's curves as a chart draws them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from metatui.learning.events import Curve
from metatui.runs.comparison import Comparison, Metric, RunResult
from metatui.tui import palette
from metatui.tui.charts.picture import Picture
from metatui.tui.charts.series import Series
from metatui.tui.symbols import GLYPHS, Symbols

Against = Literal["iterations", "tasks", "seconds"]
AGAINST: Final[dict[Against, str]] = {
    "iterations": "meta-steps",
    "tasks": "tasks seen",
    "seconds": "seconds of training",
}

DODGE: Final = 0.08
"""Inner steps between the intervals of two runs at the same step, so that none hides another."""

MARKERS: Final = len(GLYPHS[Symbols.ASCII].lines)


@dataclass(frozen=True)
class View:
    """How the curves are looked at; each key changes one of these."""

    against: Against = "iterations"
    log: bool = True
    """Of losses only: accuracies always have a linear axis."""
    metric: Metric | None = None
    """None is the one that decides."""

    def next_axis(self) -> View:
        axes = list(AGAINST)
        return replace(self, against=axes[(axes.index(self.against) + 1) % len(axes)])

    def of(self, comparison: Comparison) -> Metric:
        return self.metric or comparison.metric

    def other_metric(self, comparison: Comparison) -> View:
        return replace(self, metric="loss" if self.of(comparison) == "accuracy" else "accuracy")


def colour(number: int) -> str:
    """The meaning in the palette of the run with this position."""
    return palette.RUN_HUES[number % len(palette.RUN_HUES)]


def training(comparison: Comparison, view: View) -> Picture:
    """The training curves over each other."""
    accuracy = view.of(comparison) == "accuracy"
    series, spans = [], set()
    for number, run in enumerate(comparison.runs):
        curve = run.training
        values: Sequence[float] = ()
        if curve is not None:
            spans.add(curve.span)
            values = [100 * v for v in curve.accuracy or ()] if accuracy else curve.meta_loss
        points = list(zip(getattr(curve, view.against), values, strict=False)) if curve else []
        series.append(Series(run.label, colour(number), points))
    smoothed = f", smoothed over {max(spans):,} meta-steps" if spans else ""
    return Picture(
        tuple(series),
        title=f"{'Query accuracy' if accuracy else 'Meta-loss'} in training{smoothed}",
        x_label=AGAINST[view.against],
        y_label="accuracy (%)" if accuracy else "loss",
        log_y=view.log and not accuracy,
        empty="None of these runs was trained: there is no training curve.",
    )


def adaptation(comparison: Comparison, view: View) -> Picture:
    """The metric against inner step, with 95 % intervals as upright lines."""
    accuracy = view.of(comparison) == "accuracy"
    scale = 100 if accuracy else 1
    log = view.log and not accuracy
    ends = [mean - half for run in comparison.runs for mean, half in zip(*_both(_curve(run, accuracy)), strict=True)]
    # What reaches below zero goes down to the lowest that a logarithmic axis shows.
    floor = min((end for end in ends if end > 0), default=math.nan) if log else -math.inf
    means, intervals = [], []
    for number, run in enumerate(comparison.runs):
        curve = _curve(run, accuracy)
        shift = DODGE * (number - (len(comparison.runs) - 1) / 2)
        steps = [step + shift for step in run.evaluation.steps]
        means.append(Series(run.label, colour(number), [*zip(steps, (scale * m for m in curve.mean), strict=True)]))
        intervals.append(Series("", colour(number), _upright(steps, curve, scale, floor)))
    # A line's character goes by its position: an interval has that of its run where colours cannot tell.
    gap = [Series("", "", ())] * (-len(means) % MARKERS)
    last = comparison.protocol.steps
    return Picture(
        (*means, *gap, *intervals),
        title=f"{'Accuracy' if accuracy else 'Loss'} on {comparison.protocol.tasks:,} held-out tasks, "
        f"{comparison.protocol.shots}-shot; upright: 95 %",
        x_label="inner step",
        y_label="accuracy (%)" if accuracy else "loss",
        log_y=log,
        x_limits=(-0.25, last + 0.25),
        last_values=False,
        empty="No task was adapted to.",
    )


def _curve(run: RunResult, accuracy: bool) -> Curve:
    curve = run.evaluation.accuracy if accuracy else run.evaluation.loss
    assert curve is not None  # the deciding metric is accuracy only where there is one
    return curve


def _both(curve: Curve) -> tuple[Sequence[float], Sequence[float]]:
    return curve.mean, curve.ci95


def _upright(steps: Sequence[float], curve: Curve, scale: float, floor: float) -> list[tuple[float, float]]:
    points = []
    for x, mean, half in zip(steps, *_both(curve), strict=True):
        if math.isfinite(half):
            low, high = max(mean - half, min(floor, mean)), mean + half
            points += [(x, scale * low), (x, scale * high), (math.nan, math.nan)]
    return points
