"""Tests of comparison curves: runs that differ in their seed only share a colour and a legend entry."""

from __future__ import annotations

from dataclasses import replace

from metatui.config.fields import change
from metatui.runs.analysis.comparison import Comparison, Protocol, RunResult, TrainingCurve
from metatui.runs.analysis.comparison.pairwise_tests import pairs
from metatui.runs.analysis.comparison.values import Averages, LiveChange, TimeToTarget
from metatui.tui.screens.compare.curves import View, adaptation, run_colours, run_groups, training
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
    )  # fmt: skip


COMPARISON = compared(run("maml", 0), run("reptile", 0), run("maml", 1), run("scratch", 0), run("maml", 2))


def test_seeds_of_one_setting_are_a_group() -> None:
    groups = [(group.label, [run.label for run in group.runs]) for group in run_groups(COMPARISON, View())]
    assert groups == [
        ("MAML (3 seeds)", ["maml 0", "maml 1", "maml 2"]),
        ("reptile 0", ["reptile 0"]),
        ("scratch 0", ["scratch 0"]),
    ]
    assert run_colours(COMPARISON, View()) == ["hue-blue", "hue-orange", "hue-blue", "hue-green", "hue-blue"]


def test_groups_have_the_colours_of_their_first_runs() -> None:
    colours = {COMPARISON.runs[0].id: "hue-purple", COMPARISON.runs[3].id: "hue-purple"}
    hues = [group.colour for group in run_groups(COMPARISON, View(colours=colours))]
    assert hues[0] == "hue-purple"
    assert len(set(hues)) == len(hues)


def test_a_repeated_seed_is_kept() -> None:
    twice = compared(run("maml", 0), run("maml", 0), run("maml", 1))
    assert sorted(len(group.runs) for group in run_groups(twice, View())) == [1, 2]


def test_the_legend_names_each_group_once() -> None:
    for chart in (training(COMPARISON, View()), adaptation(COMPARISON, View())):
        lines = [series for series in chart.series if series.style == "line"]
        assert [series.name for series in lines] == ["MAML (3 seeds)", "", "", "reptile 0", "scratch 0"]
        assert [series.colour for series in lines] == ["hue-blue"] * 3 + ["hue-orange", "hue-green"]


def test_training_curves_are_smoothed_and_marked() -> None:
    change = LiveChange(TimeToTarget(1, 4, 0.1), "inner_lr 0.1")
    averages = tuple(Averages(decay, (decay, decay / 2), None) for decay in DECAYS)
    curve = replace(CURVE, changes=(change,), averages=averages)
    comparison = compared(*(replace(run(name, 0), training=curve) for name in ("maml", "reptile")))
    view = View()
    titles = []
    for _ in range(1 + len(DECAYS)):
        titles.append(training(comparison, view).title)
        view = view.next_smoothing()
    assert titles[0] == "Meta-loss in training, smoothed over 1 meta-steps"
    assert view == View()
    chart = training(comparison, View(smoothing=2, axis="tasks"))
    assert chart.title == "Meta-loss in training, smoothed 0.9"
    assert list(chart.series[0].points) == [(4, 0.9), (8, 0.45)]
    assert [(mark.x, mark.label, mark.colour) for mark in chart.marks[:1]] == [
        (4, "inner_lr 0.1", chart.series[0].colour)
    ]
