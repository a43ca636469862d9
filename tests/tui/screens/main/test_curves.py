"""Tests of the curves pane: the names of curves, the ranges of axes, and the curves of marked runs."""

from __future__ import annotations

import pytest

from metatui.config.fields import change
from metatui.config.settings import Settings
from metatui.events import Evaluated
from metatui.tui.model.run_model import RunModel
from metatui.tui.screens.main.curves import CurveOptions, MarkedRun, chart_of, chart_of_runs, curve_names
from metatui.tui.widgets.charts import ChartData
from metatui.tui.widgets.charts.plot import ChartView as Zoom
from metatui.tui.widgets.charts.plot import draw, paint
from tests.tui.fakes import evaluation, progress
from tests.tui.widgets.test_charts import text, theme


def texts(chart: ChartData, width: int) -> list[str]:
    return text(paint(chart, width, 9, theme()))


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
    model.add_event(progress(1))
    chart = chart_of(model, CurveOptions(), 60)
    (name,) = [series.short for series in chart.series]
    assert name == "training"
    rows = texts(chart, 60)
    assert any(row.split() == ["0", "meta-steps", "1"] for row in rows), "meta-steps are whole numbers"


def test_marked_runs_have_curves() -> None:
    runs = []
    for label, colour in (("maml", "red"), ("fomaml", "blue")):
        model = RunModel(Settings())
        for number in range(1, 11):
            model.add_event(progress(number))
        model.add_event(Evaluated(evaluation(Settings(), 10), (), best=True))
        runs.append(MarkedRun(label, colour, model))
    chart = chart_of_runs(runs, CurveOptions(metric="accuracy"), 60)
    assert [(each.name, each.colour, each.style) for each in chart.series] == [
        ("maml", "red", "line"),
        ("", "red", "points"),
        ("", "red", "rings"),
        ("fomaml", "blue", "line"),
        ("", "blue", "points"),
        ("", "blue", "rings"),
    ]
    assert chart.title == "Loss in training; points: validation, rings: the best"
    assert chart.series[1].points == [(10, 0.5)]


def test_cursor_says_which_values_are_means() -> None:
    model = RunModel(Settings())
    for number in range(1, 401):
        model.add_event(progress(number))
    assert chart_of(model, CurveOptions(), 60).series[0].short == "training (mean of 4)"
    assert chart_of(model, CurveOptions(), 400).series[0].short == "training"
    assert chart_of(model, CurveOptions(smoothing=0.9), 60).series[0].short == "training (smoothed)"


def test_names_of_curves_are_shorter_in_a_narrow_chart() -> None:
    model = RunModel(Settings())
    model.add_event(progress(1))
    model.val_loss.add(1, 0.1, 1.0)
    for width, names in (
        (60, ["training after 1 step", "validation after 10 steps"]),
        (50, ["training, 1 step", "validation, 10 steps"]),
    ):
        chart = chart_of(model, CurveOptions(), width)
        assert [series.short for series in chart.series] == ["training", "validation"]
        (legend,) = (row for row in texts(chart, width) if "training" in row)
        assert all(name in legend for name in names)


@pytest.mark.parametrize(
    ("last", "end"),
    [
        (1, 1), (2, 2), (4, 5), (6, 7.5), (8, 10), (101, 150), (200, 200), (999, 1000), (1001, 1500), (1500, 1500),
        (1501, 3000), (2999, 3000),
    ],
)  # fmt: skip
def test_the_axis_of_a_training_run_grows_in_few_steps(last: int, end: float) -> None:
    model = RunModel(change(Settings(), {"training.iterations": 3000}))
    model.meta_loss.add(last, last / 10, 1.0)
    assert chart_of(model, CurveOptions(), 60).x_limits == (0, end)
    model.status = "Stopped"
    assert chart_of(model, CurveOptions(), 60).x_limits == (0, last)
    model.status = "Running"
    assert chart_of(model, CurveOptions(), 60).x_limits == (0, end)


def test_the_time_axis_grows_without_a_planned_end() -> None:
    model = RunModel(change(Settings(), {"training.iterations": 3000}))
    model.meta_loss.add(2900, 0.029, 1.0)
    limits = chart_of(model, CurveOptions(against="seconds"), 60).x_limits
    assert limits is not None
    assert limits[0] == 0
    assert limits[1] == pytest.approx(0.03)


def test_the_axis_follows_the_later_values_after_a_large_early_one() -> None:
    model = RunModel(Settings())
    for number in range(1, 201):
        model.meta_loss.add(number, number / 100, 30.0 if number < 10 else 1.0 + 0.1 * (number // 10 % 2))
    chart = chart_of(model, CurveOptions(), 60)
    plot = draw(chart, 60, 12, theme()).plot
    assert plot is not None
    assert plot.y.low > 0.9
    assert plot.y.high < 1.3
    whole = draw(chart_of(model, CurveOptions(log=True), 60), 60, 12, theme()).plot
    assert whole is not None
    assert whole.y.high > 30
    early = draw(chart, 60, 12, theme(), Zoom(window=(0, 20))).plot
    assert early is not None
    assert early.y.high > 30, "a zoomed chart shows all its values"
