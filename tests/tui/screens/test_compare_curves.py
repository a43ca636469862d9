"""Tests of comparison curves: runs that differ only in their seed share a colour and a legend entry."""

from __future__ import annotations

from dataclasses import replace

import pytest

from metatui.config.fields import change
from metatui.runs.analysis.comparison import Comparison, Protocol, RunResult, TrainingCurve, ValidationCurve
from metatui.runs.analysis.comparison.pairwise_tests import pairs
from metatui.runs.analysis.comparison.seed_groups import seed_groups
from metatui.runs.analysis.comparison.values import Averages, LiveChange, TimeToTarget
from metatui.tui.screens.compare.curves import CurveOptions, adaptation, run_colours, run_groups, training
from metatui.utils.smoothing import DECAYS
from tests.runs.analysis.comparisons import SINUSOID, result

CURVE = TrainingCurve(1, (1, 2), (4, 8), (0.1, 0.2), (3.0, 2.0), None)


def run(name: str, seed: int) -> RunResult:
    settings = change(SINUSOID, {"algorithm.name": name, "training.seed": seed})
    return replace(result(f"{name} {seed}", [1.0, 2.0, 1.5], settings=settings), training=CURVE)


def compared(*runs: RunResult) -> Comparison:
    return Comparison(
        protocol=Protocol(
            source="sinusoid", split="test", tasks=3, shots=10, queries=10, steps=1, seed=0, batch_norm=None,
            rotations=None,
        ),
        runs=runs, pairs=pairs(runs, metric="loss", step=1), seeds=(), target=None, warnings=(),
        groups=seed_groups(runs),
    )  # fmt: skip


COMPARISON = compared(run("maml", 0), run("reptile", 0), run("maml", 1), run("scratch", 0), run("maml", 2))


def test_seeds_of_one_setting_are_a_group() -> None:
    groups = [(group.label, [run.label for run in group.runs]) for group in run_groups(COMPARISON.runs, CurveOptions())]
    assert groups == [
        ("MAML (3 seeds)", ["maml 0", "maml 1", "maml 2"]),
        ("reptile 0", ["reptile 0"]),
        ("scratch 0", ["scratch 0"]),
    ]
    assert run_colours(COMPARISON, CurveOptions()) == ["hue-blue", "hue-orange", "hue-blue", "hue-green", "hue-blue"]


def test_groups_have_the_colours_of_their_first_runs() -> None:
    colours = {COMPARISON.runs[0].id: "hue-purple", COMPARISON.runs[3].id: "hue-purple"}
    hues = [group.colour for group in run_groups(COMPARISON.runs, CurveOptions(colours=colours))]
    assert hues[0] == "hue-purple"
    assert len(set(hues)) == len(hues)


def test_a_repeated_seed_is_kept() -> None:
    twice = compared(run("maml", 0), run("maml", 0), run("maml", 1))
    assert sorted(len(group.runs) for group in run_groups(twice.runs, CurveOptions())) == [1, 2]


def test_the_legend_names_each_group_once() -> None:
    lines = [series for series in training(COMPARISON, CurveOptions()).series if series.style == "line"]
    assert [series.name for series in lines] == ["MAML (3 seeds)", "", "", "reptile 0", "scratch 0"]
    assert [series.colour for series in lines] == ["hue-blue"] * 3 + ["hue-orange", "hue-green"]


def test_seeds_are_adapted_as_one_mean_with_an_interval_over_seeds() -> None:
    runs = [
        replace(run("maml", seed), evaluation=result("x", [mean] * 3).evaluation) for seed, mean in enumerate((1, 3))
    ]
    chart = adaptation(compared(*runs, run("reptile", 0)), CurveOptions(log=False))
    lines = [series for series in chart.series if series.style == "line"]
    assert [series.name for series in lines] == ["MAML (2 seeds)", "reptile 0"]
    assert list(lines[0].points) == [(0, 5.0), (1, 2.0)]
    half = 12.706204736174698  # Student's t with one degree of freedom, times SD / sqrt(2) = 1
    band = next(series for series in chart.series if series.style == "band")
    assert [y for _, y in band.points] == pytest.approx([5.0, 5.0, 2 - half, 2 + half])
    assert chart.title.endswith("dotted: 95 % interval over tasks or seeds")


def test_intervals_of_many_runs_are_left_out() -> None:
    for names in (("maml", "fomaml", "reptile", "anil"), ("maml", "fomaml", "reptile", "anil", "scratch")):
        chart = adaptation(compared(*(run(name, 0) for name in names)), CurveOptions(log=False))
        bands = [series for series in chart.series if series.style == "band"]
        assert len(bands) == (4 if len(names) == 4 else 0)
        assert ("dotted" in chart.title) == (len(names) == 4)


def test_validations_are_points_measured_with_their_own_shots() -> None:
    validation = ValidationCurve((1, 2), (4, 8), (0.1, 0.2), (2.5, 2.0), (0.1, 0.1), (0, 0))
    maml, reptile = (replace(run(name, 0), validation=validation) for name in ("maml", "reptile"))
    few = replace(reptile, settings=change(reptile.settings, {"task.shots": 5, "evaluation.shots": 10}))
    comparison = compared(maml, few)
    both = training(comparison, CurveOptions())
    assert [(series.name, series.style) for series in both.series] == [
        ("maml 0, 10-shot, 1 step", "line"), ("", "points"), ("reptile 0, 5-shot, 1 step", "line"), ("", "points"),
    ]  # fmt: skip
    assert both.title.endswith("; points: validation, 10-shot, 2 steps")
    alone = training(comparison, CurveOptions().next_curves())
    assert [series.name for series in alone.series] == ["maml 0", "reptile 0"]
    assert (alone.title, list(alone.series[0].points)) == (
        "Loss on validation tasks, 10-shot, 2 steps", [(1, 2.5), (2, 2.0)],
    )  # fmt: skip
    alike = training(compared(maml, reptile), CurveOptions())
    assert [series.name for series in alike.series] == ["maml 0", "", "reptile 0", ""]
    assert (alike.title, *alike.shorter_titles) == (
        "Meta-loss in training after 1 step, smoothed over 1 meta-step; points: validation after 2 steps",
        "Meta-loss in training after 1 step; points: validation after 2 steps",
        "Training after 1 step; points: validation after 2 steps",
    )
    assert {series.style for series in training(comparison, CurveOptions(curves="training")).series} == {"line"}
    once = replace(maml, validation=ValidationCurve((2,), (8,), (0.2,), (2.5,), (0.1,), (0,)))
    assert [series.style for series in training(compared(once), CurveOptions(curves="validation")).series] == ["points"]


def test_a_ring_marks_the_best_validation() -> None:
    validation = ValidationCurve((1, 2, 3), (4, 8, 12), (0.1, 0.2, 0.3), (2.5, 2.0, 2.2), (0.1,) * 3, (0,) * 3, best=2)
    comparison = compared(replace(run("maml", 0), validation=validation), run("reptile", 0))
    for curves in ("both", "validation"):
        chart = training(comparison, CurveOptions(axis="tasks", curves=curves))
        assert [[*each.points] for each in chart.series if each.style == "rings"] == [[(8, 2.0)]]
        assert chart.title.endswith("; rings: the best")
    titles = training(comparison, CurveOptions()).shorter_titles
    assert (
        titles[0]
        == "Meta-loss after 1 step, smoothed over 1 meta-step; points: validation after 2 steps; rings: the best"
    )
    assert "Points: validation; rings: the best" in titles
    assert "rings" not in training(comparison, CurveOptions(curves="training")).title


def test_training_curves_are_smoothed_and_marked() -> None:
    change = LiveChange(TimeToTarget(1, 4, 0.1), "inner_lr 0.1", "algorithm.inner_lr", 0.01, 0.1)
    averages = tuple(Averages(decay, (decay, decay / 2), None) for decay in DECAYS)
    curve = replace(CURVE, changes=(change,), averages=averages)
    comparison = compared(*(replace(run(name, 0), training=curve) for name in ("maml", "reptile")))
    view = CurveOptions()
    titles = []
    for _ in range(1 + len(DECAYS)):
        titles.append(training(comparison, view).title)
        view = view.next_smoothing()
    assert titles[0] == "Meta-loss in training after 1 step, smoothed over 1 meta-step"
    assert view == CurveOptions()
    chart = training(comparison, CurveOptions(smoothing=2, axis="tasks"))
    assert chart.title == "Meta-loss in training after 1 step, smoothed 0.9"
    assert list(chart.series[0].points) == [(4, 0.9), (8, 0.45)]
    assert [(mark.x, mark.label, mark.colour) for mark in chart.marks[:1]] == [
        (4, "inner_lr 0.1", chart.series[0].colour)
    ]
