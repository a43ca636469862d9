"""Tests of the figures of comparisons: reproducible files, axis ticks, gaps in curves, confidence bands and labels."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from metatui.config.fields import change
from metatui.runs.analysis import figures
from metatui.runs.analysis.comparison import Comparison, Protocol, RunResult, TrainingCurve, ValidationCurve
from metatui.runs.analysis.comparison.seed_groups import seed_groups
from metatui.runs.analysis.comparison.values import LiveChange, TimeToTarget
from metatui.runs.analysis.figures import Panel, Series, comparison_figure, panel_figure, panels, tick_text
from tests.runs.analysis.comparisons import SINUSOID, result

PROTOCOL = Protocol("sinusoid", "test", 4, 1, 10, 1, 0, None, None)


def curve(**changes: object) -> TrainingCurve:
    values = TrainingCurve(50, (1, 50), (4, 200), (0.1, 5.0), (5.0, 1.0), None)
    return replace(values, **changes)  # type: ignore[arg-type]


def comparison(*runs: RunResult) -> Comparison:
    return Comparison(PROTOCOL, runs, (), (), None, ())


@pytest.fixture(scope="module")
def waves() -> Comparison:
    trained = replace(result("MAML", [0.4, 0.5, 0.6, 0.5]), training=curve())
    return comparison(trained, result("<b>$x_1$ & \u4e2d", [0.5, 0.6, 0.7, 0.6]))


@pytest.fixture(scope="module")
def svg(waves: Comparison) -> bytes:
    return comparison_figure(waves, "svg")


def axes_of(draw: Callable[[Axes], None]) -> Axes:
    axes = Figure().subplots()
    draw(axes)
    return axes


def texts(svg: bytes) -> list[str]:
    return [element.text or "" for element in ET.fromstring(svg).iter() if element.tag.endswith("text")]


def test_svg_is_deterministic_and_self_contained(svg: bytes, waves: Comparison) -> None:
    assert svg == comparison_figure(waves, "svg")
    assert not any(word in svg for word in (b"<script", b"<image", b"url(http", b"<!DOCTYPE", b"nan"))
    for element in ET.fromstring(svg).iter():
        for name, value in element.attrib.items():
            assert not name.endswith("href") or value.startswith("#")


def test_labels_are_literal_text(svg: bytes) -> None:
    shown = texts(svg)
    assert "MAML" in shown
    assert "<b>$x_1$ & \u4e2d" in shown
    assert any("sinusoid, test split" in text and "95 %" in text for text in shown)


@pytest.mark.parametrize(("kind", "start"), [("png", b"\x89PNG"), ("pdf", b"%PDF")])
def test_other_formats(kind: figures.Format, start: bytes, waves: Comparison) -> None:
    untrained = comparison(waves.runs[1])  # fewer panels
    data = comparison_figure(untrained, kind)
    assert data.startswith(start)
    assert data == comparison_figure(untrained, kind)
    assert b"/Type3" not in data  # a kind of font that publishers refuse


def test_user_style_is_ignored_and_kept(waves: Comparison) -> None:
    import matplotlib

    panel = figures.adaptation(waves)
    before = panel_figure(panel, waves)
    with matplotlib.rc_context({"lines.linewidth": 9.0, "svg.fonttype": "path"}):
        assert panel_figure(panel, waves) == before
        assert matplotlib.rcParams["lines.linewidth"] == 9.0


def test_training_against_seconds(waves: Comparison) -> None:
    training = figures.training(waves, against="seconds")
    assert training is not None
    assert training.name == "training-seconds"
    assert "seconds of training" in texts(panel_figure(training, waves))


def test_untrained_runs_have_no_training_panel(waves: Comparison) -> None:
    run = waves.runs[1]
    untrained = comparison(replace(run, costs=replace(run.costs, seconds_per_step=None)))
    assert [panel.title for panel in panels(untrained)] == [
        "Adaptation on held-out tasks (test split)", "Loss after 1 inner step",
    ]  # fmt: skip


def test_diverged_runs_are_drawn() -> None:
    lost = result("A", [math.nan, math.inf, math.nan, 1.0])
    diverged = comparison(lost, result("B", [0.5, 0.6, 0.7, 0.6]))
    assert b"nan" not in comparison_figure(diverged, "svg")
    assert any("3 of 4 tasks diverged" in text for text in texts(panel_figure(figures.result(diverged), diverged)))


def test_marks_within_the_curve(waves: Comparison) -> None:
    changes = tuple(
        LiveChange(TimeToTarget(at, at, 1.0), label, "algorithm.inner_lr", 0.01, 0.1)
        for at, label in ((20, "inner_lr 0.1"), (99, "late"))
    )
    run = replace(waves.runs[0], training=curve(changes=changes))
    panel = figures.training(comparison(run))
    assert isinstance(panel, Panel)
    labels = [text.get_text() for text in axes_of(panel.draw).texts]
    assert labels == ["inner_lr 0.1"]
    changed = replace(waves, runs=(run, *waves.runs[1:]))
    sentence = f"{run.label}: Inner learning rate changed from 0.01 to 0.1 at meta-step 20"
    title = " ".join(texts(comparison_figure(changed, "svg")))
    assert f"{sentence} (the evaluated parameters are older, from meta-step 20)" in title


def test_seeds_are_drawn_as_one_group_and_spare_panels_are_hidden(waves: Comparison) -> None:
    validation = ValidationCurve((1, 50), (4, 200), (0.1, 5.0), (5.0, 1.0), (0.1, 0.1), (0, 0))
    runs = [
        replace(
            result(f"MAML {seed}", [loss] * 4, settings=change(SINUSOID, {"training.seed": seed})),
            training=curve(),
            validation=validation,
        )
        for seed, loss in enumerate((0.4, 0.6))
    ]
    compared = replace(comparison(*runs), groups=seed_groups(runs))
    shown = panels(compared)
    assert [panel.name for panel in shown] == ["training", "validation", "adaptation", "result", "time"]
    svg = comparison_figure(compared, "svg")
    assert svg.count(b'id="matplotlib.axis_') == 2 * len(shown)
    assert texts(svg).count("MAML (2 seeds)") == 2, "in the legend and at the bar"
    assert "0.5 ± 1.3" in texts(svg)
    notes = [axes_of(panel.draw).get_xlabel() + panel.note for panel in shown[:2]]
    assert notes == [
        "meta-stepstraining protocol: 1 step for MAML (2 seeds)",
        "meta-stepsvalidation protocol: 2 steps for MAML (2 seeds)",
    ]


def test_logarithmic_axis_only_over_decades() -> None:
    def scale(y: tuple[float, ...], half: tuple[float, ...] | None = None) -> str:
        return axes_of(figures._lines([Series(range(len(y)), y, half)], "x", "y", log=True)).get_yscale()

    assert scale((100.0, 1.0, 0.5), (10.0, 2.0, 0.1)) == "log"
    assert scale((2.0, 1.0)) == "linear"
    assert scale((0.0, 50.0)) == "linear"
    assert scale((math.nan, math.nan)) == "linear"
    assert scale(()) == "linear"


def test_band_below_zero_on_logarithmic_axis() -> None:
    axes = axes_of(figures._lines([Series((0, 1, 2), (100.0, 1.0, 0.5), (10.0, 2.0, 0.1))], "x", "y", log=True))
    (band,) = axes.collections
    (path,) = band.get_paths()
    assert np.asarray(path.vertices)[:, 1].min() == 0.25
    assert axes.get_ylim()[0] > 0


def test_a_single_validation_has_an_error_bar_and_an_axis_from_zero() -> None:
    axes = axes_of(figures._lines([Series((200,), (0.4,), (0.1,)), Series((200,), (0.6,), (0.2,))], "x", "y", log=True))
    assert axes.get_xlim() == (0, 210)
    bars = [np.asarray(bar.get_paths()[0].vertices)[:, 1].tolist() for bar in axes.collections]
    assert bars == [pytest.approx([0.3, 0.5]), pytest.approx([0.4, 0.8])]
    several = axes_of(figures._lines([Series((100, 200), (0.4, 0.3), (0.1, 0.1))], "x", "y", log=False))
    assert several.get_xlim()[0] > 90
    assert not several.containers


@pytest.mark.parametrize(
    ("x", "ticks"),
    [
        (range(21), [0, 5, 10, 15, 20]), (range(6), [0, 1, 2, 3, 4, 5]), ((0, 99), [0, 20, 40, 60, 80]),
        ((1, 2), [1, 2]), ((200,), [0, 50, 100, 150, 200]), ((), [0, 1]),
    ],
)  # fmt: skip
def test_ticks_of_steps_are_whole_and_within_the_range(x: Sequence[int], ticks: list[int]) -> None:
    axes = axes_of(figures._lines([Series(x, [1.0] * len(x))], "inner step", "loss", log=False))
    assert axes.get_xticks().tolist() == ticks


@pytest.mark.parametrize("name", ["A", "a long name of a run that is cut"])
def test_texts_of_bars_stay_within_the_axes(name: str) -> None:
    bars = [(name, 54.7, 1.8, "54.7 ± 1.8 %", 0), ("B", 52.0, math.nan, "52.00 ± inf % (600 tasks)", 1)]
    figure = Figure(figsize=(figures.WIDTH, figures.HEIGHT), layout="constrained")
    with figures._style():
        axes = figure.subplots()
        figures._bars(bars, "accuracy, %")(axes)
        figure.draw_without_rendering()
        edges = [text.get_window_extent().x1 for text in axes.texts]
    assert max(edges) <= axes.get_window_extent().x1
    assert axes.get_xlim()[1] < 130


def test_names_of_bars_tell_runs_apart() -> None:
    names = [f"MAML (inner lr {rate}, inner steps {steps})" for rate in (0.01, 0.001) for steps in (1, 5)]
    axes = axes_of(figures._bars([(name, 1.0, 0.1, "1.0 ± 0.1", 0) for name in names], "loss"))
    shown = [label.get_text() for label in axes.get_yticklabels()]
    assert [text.replace("\n", " ") for text in shown] == names
    assert max(len(line) for text in shown for line in text.splitlines()) <= figures.NAME_WIDTH


def test_training_without_accuracy_is_a_gap() -> None:
    images = result("A", [1.0] * 4, [0.5, 0.6, 0.7, 0.8])
    panel = figures.training(
        comparison(replace(images, training=curve()), replace(images, training=curve(accuracy=(0.5, 0.75))))
    )
    assert panel
    unknown, known = (np.asarray(line.get_ydata(), dtype=float) for line in axes_of(panel.draw).lines)
    assert np.isnan(unknown).all()
    assert known.tolist() == [50.0, 75.0]


def test_nonfinite_values_are_gaps() -> None:
    axes = axes_of(figures._lines([Series((0, 1, 2), (1.0, math.inf, 2.0))], "x", "y", log=False))
    (line,) = axes.lines
    assert np.isfinite(np.asarray(line.get_ydata(), dtype=float)).tolist() == [True, False, True]


def test_tick_text() -> None:
    assert [tick_text(v) for v in (0, 0.3, 1500, 20000, 3e6, 70000)] == ["0", "0.3", "1500", "20k", "3M", "70k"]
