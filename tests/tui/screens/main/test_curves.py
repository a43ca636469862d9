"""Tests of the names of the training and the validation curve."""

from __future__ import annotations

import pytest

from metatui.config.fields import change
from metatui.config.settings import Settings
from metatui.events import Evaluated
from metatui.tui.model.run_model import RunModel
from metatui.tui.screens.main.curves import MarkedRun, View, chart_of, chart_of_runs, curve_names
from metatui.tui.widgets.charts.canvas import Canvas
from metatui.tui.widgets.charts.plot import paint
from tests.tui.fakes import evaluation, progress
from tests.tui.widgets.test_charts import theme


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({}, ("training after 1 step", "validation after 10 steps")),
        (
            {"algorithm.inner_steps": 5, "evaluation.inner_steps": 1},
            ("training after 5 steps", "validation after 1 step"),
        ),
        ({"task.source": "glyphs", "algorithm.name": "protonet"}, ("training", "validation")),
        (
            {"algorithm.name": "reptile", "algorithm.train_shots": 10, "task.shots": 1},
            ("10-shot training after 1 step", "1-shot validation after 10 steps"),
        ),
        (
            {"task.source": "glyphs", "algorithm.name": "protonet", "task.shots_range": "1-5", "task.shots": 5},
            ("1–5-shot training", "5-shot validation"),
        ),
    ],
)
def test_curves_are_named_after_their_inner_steps(changes: dict[str, str | int], names: tuple[str, str]) -> None:
    assert curve_names(change(Settings(), changes)) == names


def test_chart_of_a_run_that_has_just_started() -> None:
    model = RunModel(Settings())
    model.take(progress(1))
    chart = chart_of(model, View(), 60)
    (name,) = [series.short for series in chart.series]
    assert name == "training"
    rows = [str.join("", (part.text for part in row)) for row in paint(chart, 60, 9, theme(), Canvas())]
    assert any(row.split() == ["1", "meta-steps", "2"] for row in rows), "meta-steps are whole numbers"


def test_marked_runs_have_curves() -> None:
    runs = []
    for label, colour in (("maml", "red"), ("fomaml", "blue")):
        model = RunModel(Settings())
        for number in range(1, 11):
            model.take(progress(number))
        model.take(Evaluated(evaluation(Settings(), 10), (), best=True))
        runs.append(MarkedRun(label, colour, model))
    chart = chart_of_runs(runs, View(metric="accuracy"), 60)
    assert [(each.name, each.colour, each.style) for each in chart.series] == [
        ("maml", "red", "line"),
        ("", "red", "points"),
        ("fomaml", "blue", "line"),
        ("", "blue", "points"),
    ]
    assert chart.title == "Loss in training; points: validation"
    assert chart.series[1].points == [(10, 0.5)]


def test_cursor_says_which_values_are_means() -> None:
    model = RunModel(Settings())
    for number in range(1, 401):
        model.take(progress(number))
    assert chart_of(model, View(), 60).series[0].short == "training (mean of 4)"
    assert chart_of(model, View(), 400).series[0].short == "training"
    assert chart_of(model, View(smoothing=0.9), 60).series[0].short == "training (smoothed)"
