"""Pane with the training and validation curves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from textual.app import ComposeResult
from textual.containers import Vertical

from metatui.config.fields import FIELDS
from metatui.config.settings import Settings
from metatui.tui.colors import palette
from metatui.tui.keyboard.actions import Phase
from metatui.tui.model.history import History
from metatui.tui.model.run_model import RunModel
from metatui.tui.widgets.charts import ChartData, LineChart, Mark, Series
from metatui.utils.smoothing import DECAYS
from metatui.utils.text import format_count

CHOICES = (0.0, *DECAYS)
"""Decays for smoothing, where 0 means no smoothing. Each press of the smoothing key selects the next one."""
X_ENDS = (1.0, 1.5, 2.0, 3.0, 5.0, 7.5)
"""While a run is training, the x axis ends at one of these numbers times a power of ten."""
EMPTY = "The loss on training and validation tasks appears here after the first meta-steps."
ENDED = "This run ended before its first meta-step."
NONE_OF_RUNS = "Each of the marked runs ended before its first meta-step."


class MarkedRun(NamedTuple):
    """A marked run, whose curves are drawn in one colour."""

    label: str
    colour: str
    model: RunModel


@dataclass(frozen=True)
class CurveOptions:
    """Display options of the curves. Each option has its own key."""

    log: bool = False
    smoothing: float = 0.0
    against: Literal["iteration", "seconds"] = "iteration"
    metric: Literal["loss", "accuracy"] = "loss"

    def next_smoothing(self) -> CurveOptions:
        return replace(self, smoothing=CHOICES[(CHOICES.index(self.smoothing) + 1) % len(CHOICES)])

    def other_axis(self) -> CurveOptions:
        return replace(self, against="seconds" if self.against == "iteration" else "iteration")

    def other_metric(self) -> CurveOptions:
        return replace(self, metric="accuracy" if self.metric == "loss" else "loss")

    def other_scale(self) -> CurveOptions:
        return replace(self, log=not self.log)


class CurvesPane(Vertical, can_focus=True):
    BORDER_TITLE = "Curves"

    def __init__(self) -> None:
        super().__init__(id="curves", classes="pane in-run")
        self._model: RunModel | None = None
        self._phase = Phase.IDLE
        self._marked: Sequence[MarkedRun] = ()
        self._view = CurveOptions()
        self.chart = LineChart(id="curves-chart")

    @property
    def view(self) -> CurveOptions:
        return self._view

    @view.setter
    def view(self, view: CurveOptions) -> None:
        self._view = view
        self.show(self._model, self._phase, self._marked)

    def compose(self) -> ComposeResult:
        yield self.chart

    def on_resize(self) -> None:
        self.show(self._model, self._phase, self._marked)  # the names and the number of points depend on the width

    def show(self, model: RunModel | None, phase: Phase, marked: Sequence[MarkedRun] = ()) -> None:
        """Show the curves of a run, or those of the marked runs if no run is shown.

        Args:
            phase: state of the run, or IDLE if the app is not following the run.
        """
        self._model, self._phase, self._marked = model, phase, marked
        width = self.size.width
        chart = chart_of_runs(marked, self._view, width) if marked and not model else chart_of(model, self._view, width)
        if model and phase is Phase.STARTING:
            chart = replace(chart, empty=f"Starting: {model.stage}…")
        self.chart.show(chart)


def chart_of(model: RunModel | None, view: CurveOptions, width: int) -> ChartData:
    """Return the chart of a run for a pane of `width` columns."""
    accuracy = view.metric == "accuracy" and model is not None and model.settings.is_classification
    training, validation = _histories(model, accuracy)
    points = 2 * max(20, width)
    scale = 100 if accuracy else 1
    names = curve_names(model.settings) if model else ("", "")
    series = [
        Series(
            name,
            colour,
            [(p.x, scale * p.mean) for p in history.points(points, view.against, smoothing)],
            shorter=(name.replace(" after ", ", "), name.partition(" after ")[0]),
            short=name.partition(" after ")[0] + _averaged(history, points, smoothing),
        )
        for name, colour, history, smoothing in (
            (names[0], palette.TRAIN, training, view.smoothing),
            (names[1], palette.VALIDATION, validation, 0.0),
        )
        if len(history)
    ]
    if best := _best(model, view, accuracy):
        series.append(Series("best", palette.VALIDATION, [(best[0], scale * best[1])], style="points"))
    ends = [x for each in series for x, _ in each.points[-1:]]
    return ChartData(
        tuple(series),
        _changes(model, view),
        _faults((training, validation), points, view),
        title=_title(view, accuracy),
        x_label="meta-steps" if view.against == "iteration" else "seconds of training",
        shorter_x_label="steps" if view.against == "iteration" else "seconds",
        log_y=view.log and not accuracy,
        early_outside=True,
        x_limits=(0.0, _x_end(model, view, max(ends))) if model and ends else None,
        integer_x=view.against == "iteration",
        empty=ENDED if model and model.ended else EMPTY,
    )


def chart_of_runs(runs: Sequence[MarkedRun], view: CurveOptions, width: int) -> ChartData:
    """Return the chart of several runs for a pane of `width` columns: training as lines, validations as points."""
    accuracy = view.metric == "accuracy" and all(run.model.settings.is_classification for run in runs)
    points, scale = 2 * max(20, width), 100 if accuracy else 1
    series: list[Series] = []
    marks: list[Mark] = []
    faults: list[Mark] = []
    for run in runs:
        histories = _histories(run.model, accuracy)
        training, validation = (
            [(p.x, scale * p.mean) for p in history.points(points, view.against, smoothing)]
            for history, smoothing in zip(histories, (view.smoothing, 0.0), strict=True)
        )
        marks += _changes(run.model, view, run.colour, run.label)
        faults += _faults(histories, points, view, run.colour, run.label)
        series += [Series(run.label, run.colour, training)] if training else []
        series += [Series("" if training else run.label, run.colour, validation, style="points")] if validation else []
        if best := _best(run.model, view, accuracy):
            series.append(Series("", run.colour, [(best[0], scale * best[1])], style="rings"))
    return ChartData(
        tuple(series),
        tuple(marks),
        tuple(sorted(faults, key=lambda fault: fault.x)),
        title=f"{_title(view, accuracy)} in training; points: validation, rings: the best",
        shorter_titles=(f"{_title(view, accuracy)} in training; points: validation",),
        x_label="meta-steps" if view.against == "iteration" else "seconds of training",
        shorter_x_label="steps" if view.against == "iteration" else "seconds",
        log_y=view.log and not accuracy,
        integer_x=view.against == "iteration",
        empty=NONE_OF_RUNS,
    )


def _changes(model: RunModel | None, view: CurveOptions, colour: str = "", label: str = "") -> tuple[Mark, ...]:
    """Return a mark for each live change. In a chart of several runs, `label` names the run."""
    return tuple(
        Mark(change.iteration if view.against == "iteration" else change.seconds, change.label, colour, label)
        for change in (model.changes if model else ())
    )


def _faults(
    histories: Sequence[History], points: int, view: CurveOptions, colour: str = "", label: str = ""
) -> tuple[Mark, ...]:
    """Return a mark for each value that is not finite. In a chart of several runs, `label` names the run."""
    failed = {p.x for history in histories for p in history.points(points, view.against) if math.isnan(p.mean)}
    return tuple(Mark(x, "not finite", colour, label) for x in sorted(failed))


def _x_end(model: RunModel, view: CurveOptions, last: float) -> float:
    """Return the upper limit of the x axis for curves that end at `last`.

    During training, the axis grows only a few times, because each growth redraws the whole chart. After half of the
    planned meta-steps, the axis is extended to the last planned one.
    """
    if not model.is_live:
        return last
    planned = float(model.settings.training.iterations) if view.against == "iteration" else math.inf
    power = 10.0 ** math.floor(math.log10(last)) if last > 0 else 1.0
    end = next((share * power for share in X_ENDS if share * power >= last), 10 * power)
    return max(last, planned) if 2 * last > planned else min(end, planned)


def _averaged(history: History, points: int, smoothing: float) -> str:
    """Return a remark on how the values at the cursor are averaged, such as ` (mean of 10)`.

    The remark is empty if the values are not averaged.
    """
    if smoothing:
        return " (smoothed)"
    count = history.values_per_point(points)
    return f" (mean of {count})" if count > 1 else ""


def _title(view: CurveOptions, accuracy: bool) -> str:
    parts = ["Accuracy (%)" if accuracy else "Loss"]
    parts += ["log scale"] if view.log and not accuracy else []
    parts += [f"smoothed {view.smoothing:g}"] if view.smoothing else []
    return ", ".join(parts)


def _histories(model: RunModel | None, accuracy: bool) -> tuple[History, History]:
    """Return the histories of the accuracy (or of the loss, if `accuracy` is false) in training and in validation."""
    if model is None:
        return History(), History()
    return (model.accuracy, model.val_accuracy) if accuracy else (model.meta_loss, model.val_loss)


def curve_names(settings: Settings) -> tuple[str, str]:
    """Return the names of the training and the validation curve, each with its number of inner steps.

    If training and validation have different numbers of shots, the names contain these numbers too.
    """
    low, high = settings.shots_in_training
    training, validation = "training", "validation"
    if (low, high) != (settings.evaluation_shots,) * 2:
        training = f"{low if low == high else f'{low}–{high}'}-shot training"
        validation = f"{settings.evaluation_shots}-shot validation"
    if not FIELDS["algorithm.inner_steps"].is_relevant(settings):
        return training, validation
    return (
        f"{training} after {format_count(settings.algorithm.inner_steps, 'step')}",
        f"{validation} after {format_count(settings.evaluation_steps, 'step')}",
    )


def _best(model: RunModel | None, view: CurveOptions, accuracy: bool) -> tuple[float, float] | None:
    """Return the x and y coordinates of the best validation result, or None if they are unknown."""
    if model is None or model.best is None:
        return None
    curve = model.best.accuracy if accuracy else model.best.loss
    at = model.best.iteration if view.against == "iteration" else model.meta_loss.seconds_at(model.best.iteration)
    return None if curve is None or at is None else (at, curve.mean[-1])
