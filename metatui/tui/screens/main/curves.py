"""Training and validation curves, and how they are looked at."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

from textual.app import ComposeResult
from textual.containers import Vertical

from metatui.tui import palette
from metatui.tui.controllers.history import History
from metatui.tui.controllers.run_model import Monitor
from metatui.tui.widgets.charts import ChartData, LineChart, Mark, Series
from metatui.utils.smoothing import DECAYS

CHOICES = (0.0, *DECAYS)
"""Decays in the order in which the key cycles through them."""
EMPTY = "The meta-loss of training tasks and the loss of validation tasks appear here as a run goes on. F5 starts one."


@dataclass(frozen=True)
class View:
    """How the curves are looked at; each key changes one of these."""

    log: bool = False
    smoothing: float = 0.0
    against: Literal["iteration", "seconds"] = "iteration"
    metric: Literal["loss", "accuracy"] = "loss"

    def next_smoothing(self) -> View:
        return replace(self, smoothing=CHOICES[(CHOICES.index(self.smoothing) + 1) % len(CHOICES)])

    def other_axis(self) -> View:
        return replace(self, against="seconds" if self.against == "iteration" else "iteration")

    def other_metric(self) -> View:
        return replace(self, metric="accuracy" if self.metric == "loss" else "loss")

    def other_scale(self) -> View:
        return replace(self, log=not self.log)


class CurvesPane(Vertical, can_focus=True):
    """The chart. Its title says how it is drawn."""

    BORDER_TITLE = "Curves"

    def __init__(self) -> None:
        super().__init__(id="curves", classes="pane in-run")
        self.view = View()

    def compose(self) -> ComposeResult:
        yield LineChart(id="curves-chart")

    def show(self, monitor: Monitor | None) -> None:
        view = self.view
        accuracy = view.metric == "accuracy" and monitor is not None and monitor.settings.is_classification
        histories = _histories(monitor, accuracy)
        width = max(20, self.size.width)
        series = [
            Series(name, colour, _points(history, view, width, 100 if accuracy else 1, smoothing))
            for name, colour, history, smoothing in (
                ("training", palette.TRAIN, histories[0], view.smoothing),
                ("validation", palette.VALIDATION, histories[1], 0.0),
            )
            if len(history)
        ]
        data = ChartData(
            tuple(series),
            tuple(_marks(monitor, view)),
            tuple(point.x for point in histories[1].points(2 * width, view.against) if math.isnan(point.mean)),
            title=self._title(accuracy),
            x_label="meta-steps" if view.against == "iteration" else "seconds of training",
            y_label="accuracy (%)" if accuracy else "loss",
            log_y=view.log and not accuracy,
            empty=EMPTY,
        )
        self.query_one(LineChart).show(data)

    def _title(self, accuracy: bool) -> str:
        parts = ["Accuracy" if accuracy else "Loss after adaptation"]
        parts += ["log scale"] if self.view.log and not accuracy else []
        parts += [f"smoothed {self.view.smoothing:g}"] if self.view.smoothing else []
        return ", ".join(parts)


def _histories(monitor: Monitor | None, accuracy: bool) -> tuple[History, History]:
    if monitor is None:
        return History(), History()
    return (monitor.accuracy, monitor.val_accuracy) if accuracy else (monitor.meta_loss, monitor.val_loss)


def _marks(monitor: Monitor | None, view: View) -> list[Mark]:
    """Return a mark for each live change."""
    changes = monitor.changes if monitor else ()
    return [Mark(c.iteration if view.against == "iteration" else c.seconds, c.label) for c in changes]


def _points(history: History, view: View, width: int, scale: float, smoothing: float) -> list[tuple[float, float]]:
    return [(point.x, scale * point.mean) for point in history.points(2 * width, view.against, smoothing)]
