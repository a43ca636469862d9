"""Pane with the training and validation curves."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

from textual.app import ComposeResult
from textual.containers import Vertical

from metatui.tui import palette
from metatui.tui.model.history import History
from metatui.tui.model.run_model import RunModel
from metatui.tui.widgets.charts import ChartData, LineChart, Mark, Series
from metatui.utils.smoothing import DECAYS

CHOICES = (0.0, *DECAYS)
"""Decays in the order in which the key cycles through them."""
EMPTY = "The loss on training and validation tasks appears here while a run trains. F5 starts one."


@dataclass(frozen=True)
class View:
    """Options of the curves; each key changes one."""

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
    BORDER_TITLE = "Curves"

    def __init__(self) -> None:
        super().__init__(id="curves", classes="pane in-run")
        self._model: RunModel | None = None
        self._view = View()

    @property
    def view(self) -> View:
        return self._view

    @view.setter
    def view(self, view: View) -> None:
        self._view = view
        self.show(self._model)

    def compose(self) -> ComposeResult:
        yield LineChart(id="curves-chart")

    def show(self, model: RunModel | None) -> None:
        """Show the curves of a run."""
        self._model, view = model, self._view
        accuracy = view.metric == "accuracy" and model is not None and model.settings.is_classification
        training, validation = _histories(model, accuracy)
        points = 2 * max(20, self.size.width)
        scale = 100 if accuracy else 1
        series = [
            Series(name, colour, [(p.x, scale * p.mean) for p in history.points(points, view.against, smoothing)])
            for name, colour, history, smoothing in (
                ("training", palette.TRAIN, training, view.smoothing),
                ("validation", palette.VALIDATION, validation, 0.0),
            )
            if len(history)
        ]
        changes = model.changes if model else ()
        data = ChartData(
            tuple(series),
            tuple(Mark(c.iteration if view.against == "iteration" else c.seconds, c.label) for c in changes),
            tuple(point.x for point in validation.points(points, view.against) if math.isnan(point.mean)),
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


def _histories(model: RunModel | None, accuracy: bool) -> tuple[History, History]:
    """Return the histories of training and validation."""
    if model is None:
        return History(), History()
    return (model.accuracy, model.val_accuracy) if accuracy else (model.meta_loss, model.val_loss)
