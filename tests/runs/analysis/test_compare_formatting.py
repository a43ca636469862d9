"""Tests of the texts in comparisons of runs: conclusions, labels, warnings and numbers."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metatui.config.declarations import Scalar
from metatui.config.fields import change
from metatui.config.settings import Settings
from metatui.runs.analysis.comparison.formatting import memory, note_on_seeds, points, probability, seconds
from metatui.runs.analysis.comparison.labels import join_names, labels
from metatui.runs.analysis.comparison.pairwise_tests import pairs, seed_pairs
from metatui.runs.analysis.comparison.seed_groups import seed_groups
from metatui.runs.analysis.comparison.shared_protocol import SharedProtocol, agree, result_warnings
from metatui.runs.analysis.comparison.tables import differing_settings, groups, paired_tests_table
from metatui.runs.analysis.comparison.values import (
    Comparison,
    Costs,
    LiveChange,
    Protocol,
    RunResult,
    TimeToTarget,
    TrainingCurve,
)
from metatui.runs.formatting import file_size
from metatui.runs.storage.run_folder import RunFolder
from metatui.utils.errors import BadInput
from metatui.utils.numbers import interval
from tests.runs.analysis.comparisons import SINUSOID, result

OMNIGLOT = change(Settings(), {"task.source": "omniglot", "task.shots": 1, "task.queries": 5})


def verdicts(*runs: RunResult, metric: str = "loss") -> list[str]:
    return [pair.verdict for pair in pairs(runs, metric="accuracy" if metric == "accuracy" else "loss", step=1)]


def spread(mean: float, deviation: float, tasks: int = 600) -> list[float]:
    """Return one value per task. The values have exactly the given mean and standard deviation."""
    values = np.random.default_rng(0).normal(size=tasks)
    values = (values - values.mean()) / values.std(ddof=1)
    return list(mean + deviation * values)


def test_accuracies_differ_in_points() -> None:
    better = spread(0.021, 0.05)
    counts = np.round(np.array(better) * 1000) / 1000
    a, b = (
        result("MAML", [1.0] * 600, list(0.9 + counts), queries=1000),
        result("Reptile", [1.0] * 600, [0.9] * 600, queries=1000),
    )
    (message,) = verdicts(a, b, metric="accuracy")
    assert message == (
        "MAML is 2.1 ± 0.4 points above Reptile on the same 600 tasks; the difference is significant (p < 0.0001)"
    )
    assert verdicts(b, a, metric="accuracy") == [message], "independent of the order"


def test_lower_loss_is_better() -> None:
    a, b = result("MAML", spread(0.5, 0.1)), result("Reptile", [0.75] * 600)
    assert verdicts(a, b) == [
        "The loss of MAML is 0.2500 ± 0.0080 below that of Reptile on the same 600 tasks; the difference is "
        "significant (p < 0.0001)"
    ]


def test_no_significant_difference() -> None:
    a, b = result("A", spread(0.51, 0.2)), result("B", [0.5] * 600)
    assert verdicts(a, b) == [
        "No significant difference between A and B on the same 600 tasks (the loss of B is 0.010 ± 0.016 below that of "
        "A, p = 0.22)"
    ]


def test_identical_runs() -> None:
    assert verdicts(result("A", [0.5] * 9), result("B", [0.5] * 9)) == [
        "No significant difference between A and B on the same 9 tasks: their loss is identical on each task"
    ]


def test_holm_correction() -> None:
    runs = [result("A", spread(0.5, 0.1, 20)), result("B", [0.448] * 20), result("C", [0.5] * 20)]
    alone = verdicts(*runs[:2])[0]
    assert "significant (p = 0.031)" in alone
    together = verdicts(*runs)[0]
    assert together.startswith("No significant difference between A and B")
    assert "p = 0.063, Holm-corrected for 3 pairs" in together


def test_pairs_without_a_test_are_not_corrected_for() -> None:
    runs = [result("A", spread(0.5, 0.1, 20)), result("B", [0.448] * 20), result("lost", [1e35] * 20)]
    tested = verdicts(*runs)[0]
    assert tested.endswith("the difference is significant (p = 0.031)")
    four = [*runs, result("C", [0.5] * 20)]
    assert "p = 0.063, Holm-corrected for 3 pairs)" in verdicts(*four)[0]


def test_median_contradicts_mean() -> None:
    worse_on_a_few = [0.4] * 95 + [100.0] * 25
    a, b = result("A", worse_on_a_few), result("B", [0.5] * 120)
    (message,) = verdicts(a, b)
    assert message.startswith("The loss of B is 20.6")
    assert message.endswith("; but A is ahead on the median task, so a few tasks dominate the mean")
    loss, better = [1.0] * 120, [0.9] * 95 + [0.0] * 25
    (message,) = verdicts(result("A", loss, better), result("B", loss, [0.8] * 120), metric="accuracy")
    assert message.startswith("B is ")
    assert message.endswith("; but A is ahead on the median task, so a few tasks dominate the mean")


def test_ranks_contradict_mean() -> None:
    a, b = result("A", [*spread(0.4, 0.01, 59), 1000.0]), result("B", [0.5] * 60)
    (message,) = verdicts(a, b)
    assert message.startswith("No significant difference between A and B on the same 60 tasks")
    assert "; but A is ahead on most tasks (Wilcoxon p < 0.0001), so a few tasks dominate the mean" in message


def test_ranks_contradict_median() -> None:
    """Check that a significant Wilcoxon test is not mentioned if the median favours the other run.

    Run A has the higher loss on 31 of 56 tasks, but the ranks favour A. One task dominates the mean.
    """
    above = [*np.linspace(0.01, 0.02, 30), *-np.linspace(0.03, 0.04, 25), 0.3]
    a, b = result("A", [1 + difference for difference in above]), result("B", [1.0] * 56)
    (pair,) = pairs((a, b), metric="loss", step=1)
    assert (pair.test.median > 0, pair.test.p > 0.05, pair.wilcoxon_p_holm < 0.05) == (True, True, True)
    assert pair.verdict.endswith("p = 0.73)"), "the Wilcoxon p does not show that B is ahead"


def test_constant_difference_uses_wilcoxon() -> None:
    a, b = result("A", [0.25] * 20), result("B", [0.5] * 20)
    (message,) = verdicts(a, b)
    assert (
        "0.25 ± 0 below that of B on the same 20 tasks; the difference is significant (Wilcoxon p < 0.0001)" in message
    )
    (two,) = verdicts(result("A", [0.25] * 2), result("B", [0.5] * 2))
    assert two.startswith("No significant difference between A and B on the same 2 tasks")


def test_diverged_tasks_are_counted() -> None:
    a, b = result("A", [math.nan, math.inf, 0.5, 0.6, 0.4]), result("B", [0.5] * 5)
    assert verdicts(a, b) == [
        "A diverged on 2 of the same 5 tasks and B on none; no significant difference between them on the other 3 "
        "tasks (the loss of B is 0.00 ± 0.25 below that of A, p = 1)"
    ]
    better = result("C", [0.1, 0.11, 0.09, 0.1, 1e30])
    assert verdicts(better, b)[0].startswith(
        "C diverged on 1 of the same 5 tasks and B on none; the loss of C is 0.400 ± 0.013 below that of B on the "
        "other 4 tasks; the difference is significant"
    )


def test_mostly_diverged_runs_are_not_compared() -> None:
    a, b = result("A", [1e35] * 565 + [0.4] * 35), result("B", [0.5] * 600)
    (pair,) = pairs((a, b), metric="loss", step=1)
    assert pair.verdict == (
        "A diverged on 565 of the same 600 tasks and B on none: too few tasks remain to compare the runs"
    )
    assert (pair.test.tasks, pair.test.left_out) == (35, 565)
    assert math.isnan(pair.p_holm)
    assert list(result_warnings([a]))[-1] == (
        "565 of 600 tasks diverged in the evaluation of A (1 inner step): means, intervals and tests exclude these "
        "tasks"
    )


def test_diverged_runs_come_last_and_once() -> None:
    runs = [result("lost", [1e35] * 8), result("A", [0.5] * 8), result("B", [0.4, 0.5] * 4)]
    compared = Comparison(
        Protocol("sinusoid", "test", 8, 1, 10, 1, 0, None, None),
        tuple(runs),
        pairs(runs, metric="loss", step=1),
        (),
        None,
        (),
    )
    tested, lost = compared.conclusions
    assert tested.startswith("The loss of B is")
    assert lost == "lost diverged on 8 of the same 8 tasks: too few tasks remain to compare it with other runs"
    note = note_on_seeds(compared)
    assert note
    assert note.startswith("The tests are paired t-tests over tasks")


def test_diverged_tasks_and_accuracy() -> None:
    a = result("A", [math.nan, 1.0, 1.0, 1.0], [0.0, 0.5, 0.6, 0.7])
    b = result("B", [1.0] * 4, [0.9, 0.5, 0.6, 0.7])
    (pair,) = pairs((a, b), metric="accuracy", step=1)
    assert (pair.test.mean, pair.test.tasks, pair.test.left_out) == (0.0, 3, 1)


def test_verdicts_over_seeds() -> None:
    def seeds(label: str, means: list[float], **changes: float) -> list[RunResult]:
        settings = [change(SINUSOID, {"training.seed": i, **changes}) for i in range(len(means))]
        return [
            result(f"{label}{i}", [m] * 4, settings=s) for i, (m, s) in enumerate(zip(means, settings, strict=True))
        ]

    def conclusions(*runs: RunResult) -> list[str]:
        return [pair.verdict for pair in seed_pairs(runs, metric="loss", step=1)]

    low, high = seeds("A", [0.4, 0.41, 0.42]), seeds("B", [0.6, 0.62], **{"algorithm.inner_lr": 0.5})
    (verdict,) = conclusions(*low, *high)
    assert verdict.startswith("The loss of MAML (inner lr 0.01) (3 seeds) is 0.200 ± ")
    assert " (95 % interval over seeds) below that of MAML (inner lr 0.5) (2 seeds) on the same 4 tasks" in verdict
    assert "; the difference is significant across" in verdict
    (alike,) = conclusions(*low, *seeds("B", [0.3, 0.55], **{"algorithm.inner_lr": 0.5}))
    assert alike.startswith(
        "No significant difference between MAML (inner lr 0.01) (3 seeds) and MAML (inner lr 0.5) (2 seeds)"
    )
    longer = seeds("B", [0.6, 0.62], **{"evaluation.inner_steps": 4})
    (both,) = conclusions(*low, *longer)
    assert " on the same 4 tasks, both after 1 inner step (their settings are 2 and 4); the difference is" in both
    (flat,) = conclusions(*seeds("A", [0.5, 0.5]), *seeds("B", [0.75, 0.75], **{"algorithm.inner_lr": 0.5}))
    assert flat.endswith("but no test is possible: the results do not vary across seeds")
    (lost,) = conclusions(*low, *seeds("B", [math.nan, 0.75], **{"algorithm.inner_lr": 0.5}))
    assert lost.startswith("MAML (inner lr 0.01) (3 seeds) and MAML (inner lr 0.5) (1 of 2 seeds) cannot be compared")
    assert lost.endswith("; up to 4 of 4 tasks per run diverged and are left out")
    several = (*low, *seeds("B", [0.6, math.nan, 0.62], **{"algorithm.inner_lr": 0.5}))
    protocol = Protocol("sinusoid", "test", 4, 1, 10, 1, 0, None, None)
    table = groups(Comparison(protocol, several, (), (), None, (), seed_groups(several)))
    assert table
    assert [row[1] for row in table.rows] == ["3", "2 (1 diverged)"]
    (fewer,) = conclusions(*several)
    assert " below that of MAML (inner lr 0.5) (2 of 3 seeds) on the same 4 tasks" in fewer
    assert conclusions(*low) == []


def test_seeds_of_a_group_have_the_same_live_changes() -> None:
    def run(seed: int, *changes: tuple[int, str, Scalar, Scalar], inner_lr: float = 0.01) -> RunResult:
        settings = change(SINUSOID, {"training.seed": seed, "algorithm.inner_lr": inner_lr})
        made = tuple(LiveChange(TimeToTarget(at, at, 1.0), "", path, old, new) for at, path, old, new in changes)
        curve = TrainingCurve(50, (20,), (40,), (1.0,), (1.0,), None, changes=made)
        return replace(result(f"{seed}", [0.5, 0.6], settings=settings), training=curve)

    def sizes(*runs: RunResult) -> list[int]:
        return [len(group.runs) for group in seed_groups(runs)]

    outer, inner = "algorithm.outer_lr", "algorithm.inner_lr"
    rate = SINUSOID.algorithm.outer_lr
    late, early = (19, outer, 0.1, rate), (9, outer, 0.1, rate)
    assert sizes(run(0, late), run(1)) == [1, 1], "the same last settings"
    assert sizes(run(0, late), run(1, early)) == [1, 1]
    assert sizes(run(0, late), run(1, (19, outer, 0.5, rate))) == [1, 1]
    assert sizes(run(0, late), run(1, late)) == [2]
    assert len(pairs([run(0, late), run(1)], metric="loss", step=1)) == 1
    before, after = run(0, (10, inner, 0.01, 2.0)), run(1, (10, inner, 0.01, 2.0), inner_lr=2.0)
    assert sizes(before, after) == [2], "validated best before and after the same change"
    assert pairs([before, after], metric="loss", step=1) == ()
    assert sizes(run(0, (10, inner, 0.01, 0.5), (10, inner, 0.5, 2.0)), after) == [2], "as repeated by a rerun"
    others = (12, "training.iterations", 10, 20), (5, "compute.tasks_at_once", 0, 2)
    assert sizes(run(0, *others), run(1)) == [2], "the meta-steps are the same"


def folders(*names: str) -> list[RunFolder]:
    return [RunFolder(Path("/runs") / name) for name in names]


def test_labels() -> None:
    def found(*changes: dict[str, Scalar]) -> list[str]:
        settings = [change(SINUSOID, each) for each in changes]
        return labels(folders(*(f"run-{i}" for i in range(len(changes)))), settings)

    assert found({}, {"algorithm.name": "fomaml"}, {"algorithm.name": "reptile"}, {"algorithm.name": "scratch"}) == [
        "MAML", "FOMAML", "Reptile", "scratch",
    ]  # fmt: skip
    assert found({}, {"training.seed": 1}, {"algorithm.name": "reptile"}) == [
        "MAML (seed 0)",
        "MAML (seed 1)",
        "Reptile",
    ]
    assert found({}, {"algorithm.inner_lr": 0.1, "task.shots": 5}) == [
        "MAML (shots 10, inner lr 0.01)", "MAML (shots 5, inner lr 0.1)",
    ]  # fmt: skip
    assert found({}, {"algorithm.inner_lr": 0.1, "task.shots": 5, "training.seed": 1}) == [
        "MAML (shots 10, inner lr 0.01, seed 0)", "MAML (shots 5, inner lr 0.1, seed 1)",
    ]  # fmt: skip
    assert found({}, {"algorithm.inner_steps": 3, "evaluation.inner_steps": 1}) == [
        "MAML (algorithm inner steps 1, evaluation inner steps 2)",
        "MAML (algorithm inner steps 3, evaluation inner steps 1)",
    ]
    images: dict[str, Scalar] = {"task.source": "glyphs"}
    assert found(images, images | {"task.ways_range": "2-5"}) == ["MAML (ways range empty)", "MAML (ways range 2-5)"]
    four: dict[str, Scalar] = {
        "algorithm.inner_lr": 0.1,
        "algorithm.inner_steps": 3,
        "task.shots": 5,
        "training.seed": 1,
    }
    assert found({}, four) == ["run-0", "run-1"]
    assert found({}, {"compute.threads": 2}) == ["run-0", "run-1"]
    assert found({}, {"training.seed": 1}, {"training.seed": 1}) == ["MAML (seed 0)", "run-1", "run-2"]
    same = [RunFolder(Path(f"/{place}/run")) for place in "ab"]
    assert labels(same, [SINUSOID] * 2) == ["/a/run", "/b/run"]


def agreed(*settings: Settings, shots: int | None = None) -> SharedProtocol:
    """Return the shared protocol for comparing runs with these settings. The runs are labelled A, B and C."""
    return agree(settings, "ABC"[: len(settings)], split="test", tasks=None, steps=None, shots=shots, device=None)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("task.rotations", False, "task.rotations is true for A, false for B; the comparison uses true for all"),
        ("task.queries", 15, "task.queries is 5 for A, 15 for B; the comparison uses 5 for all"),
        ("task.shots", 5, "evaluation.shots is 1 for A, 5 for B; the comparison uses 1 for all"),
        ("evaluation.shots", 5, "evaluation.shots is 1 for A, 5 for B; the comparison uses 1 for all"),
        ("evaluation.inner_steps", 3, "evaluation.inner_steps is 10 for A, 3 for B; the comparison uses 10 for all"),
        ("evaluation.batch_norm", "per_example", "evaluation.batch_norm is transductive for A, per_example for B"),
        ("task.split", "finn", "task.split is chapter for A, finn for B: these runs have different test tasks"),
        ("task.ways", 20, "task.ways is 5 for A, 20 for B: these runs have different test tasks"),
    ],
)  # fmt: skip
def test_protocol_warnings(path: str, value: Scalar, message: str) -> None:
    (warning,) = agreed(OMNIGLOT, change(OMNIGLOT, {path: value})).warnings
    assert message in warning


def test_irrelevant_settings_do_not_warn() -> None:
    same: dict[str, Scalar] = {
        "task.ways": 7,
        "task.split": "finn",
        "task.rotations": False,
        "evaluation.batch_norm": "per_example",
    }
    assert agreed(SINUSOID, change(SINUSOID, same)).warnings == ()
    own: dict[str, Scalar] = {
        "algorithm.inner_lr": 0.3,
        "training.seed": 9,
        "evaluation.test_tasks": 50,
        "evaluation.seed": 4,
    }
    assert agreed(SINUSOID, change(SINUSOID, own)).warnings == ()


def test_different_splits_share_no_tasks() -> None:
    finn = change(OMNIGLOT, {"task.split": "finn"})
    found = agree(
        [OMNIGLOT, finn, OMNIGLOT], ["A", "B", "C"], split="test", tasks=None, steps=None, shots=None, device=None
    )
    assert found.same_tasks[0] == found.same_tasks[2] != found.same_tasks[1]
    assert [settings.task.split for settings in found.settings] == ["chapter", "finn", "chapter"]


def test_training_episodes_do_not_restrict_evaluation() -> None:
    """Check that `algorithm.train_shots` does not restrict the episodes of a comparison.

    Ten training shots and 15 queries need more than the 20 drawings per character, but a comparison draws no training
    episodes.
    """
    reptile = change(OMNIGLOT, {"algorithm.name": "reptile", "algorithm.train_shots": 10, "algorithm.inner_batch": 10})
    other = change(OMNIGLOT, {"task.queries": 15})
    found = agreed(other, reptile)
    assert [settings.task.queries for settings in found.settings] == [15, 15]
    with pytest.raises(BadInput, match=r"task\.shots is 6, but must be at most 5 if task\.queries = 15"):
        agreed(other, reptile, shots=6)


def test_different_image_folders() -> None:
    mine = change(OMNIGLOT, {"task.source": "folder", "task.folder": "/mine"})
    with pytest.raises(BadInput, match=r"task\.folder is /mine for A, /yours for B"):
        agreed(mine, change(mine, {"task.folder": "/yours"}))
    assert "task.split_seed is 0 for A, 1 for B" in agreed(mine, change(mine, {"task.split_seed": 1})).warnings[0]
    assert "task.image_size is 32 for A, 64 for B" in agreed(mine, change(mine, {"task.image_size": 64})).warnings[0]


def test_different_machines_warn() -> None:
    def on(label: str, host: str, device: str | None) -> RunResult:
        return result(label, [1.0, 2.0], costs=Costs(20, 1.0, 0.05, 40.0, None, "cpu", device, host))

    runs = [on("A", "x", "EPYC"), on("B", "y", None), on("C", "x", "EPYC")]
    assert [warning for warning in result_warnings(runs) if warning.startswith("times")] == [
        "times and memory use cannot be compared, because they were measured on different machines: EPYC on x for A "
        "and C, an unknown device on y for B"
    ]


@given(st.floats(), st.floats(min_value=0), st.sampled_from([None, 1, 2, 4]))
def test_intervals_are_short(mean: float, half: float, decimals: int | None) -> None:
    assert len(interval(mean, half, decimals=decimals)) <= 27
    assert "nan" not in interval(mean, half, decimals=decimals)


def test_formatted_numbers() -> None:
    assert interval(1.2345, 0.3) == "1.23 ± 0.30"
    assert interval(50.4, 12.0) == "50 ± 12"
    assert interval(0.00012345, 0.0000012) == "1.234e-04 ± 1.2e-06"
    assert interval(0.0041234, 0.0000031) == "4.1234e-03 ± 3.1e-06"
    assert interval(4.4e35, 0.0) == "4.40e+35 ± 0.0e+00"
    assert interval(0.5, 0.0) == "0.5 ± 0"
    assert interval(4.408e35, 1.2e34) == "4.41e+35 ± 1.2e+34"
    assert interval(1.0, 4.4e35) == "1.00e+00 ± 4.4e+35"
    assert interval(math.nan, math.nan) == interval(math.inf, 0.1) == "diverged"
    assert interval(0.5, math.nan) == "0.5 ± unknown"
    assert interval(1.23456, 0.3, decimals=4) == "1.2346 ± 0.3000"
    assert points(0.9651, 0.0042) == "96.5 ± 0.4"
    assert points(0.99912, 0.00031) == "99.912 ± 0.031"
    assert points(1.0, 0.0) == "100 ± 0"
    assert [probability(p) for p in (0.5, 0.0123, 0.00002)] == ["p = 0.5", "p = 0.012", "p < 0.0001"]
    assert [seconds(t) for t in (0.00085, 0.0042, 0.25, 0.9994, 12.34, 59.96, 245, 7800)] == [
        "850 µs", "4.2 ms", "250 ms", "999 ms", "12.3 s", "1 min 00 s", "4 min 05 s", "2 h 10 min",
    ]  # fmt: skip
    assert [memory(n) for n in (412 * 2**20, 3435973837)] == ["412 MiB", "3.2 GiB"]
    assert [file_size(n) for n in (0, 5000, 50_000, 5 * 2**20, 2**34)] == [
        "0 KiB", "4.9 KiB", "49 KiB", "5.0 MiB", "16 GiB",
    ]  # fmt: skip
    assert [join_names(names) for names in (["A"], ["A", "B"], ["A", "B", "C"])] == ["A", "A and B", "A, B and C"]


def test_negative_differences_have_a_minus_sign() -> None:
    a, b = result("MAML", spread(0.5, 0.1)), result("Reptile", [0.75] * 600)
    protocol = Protocol("sinusoid", "test", 600, 10, 10, 1, 0, None, None)
    table = paired_tests_table(Comparison(protocol, (a, b), pairs([a, b], metric="loss", step=1), (), None, ()))
    assert table
    (row,) = table.rows
    assert row[2] == "−0.2500 ± 0.0080"
    assert row[-1].startswith("−2.5")
    table = paired_tests_table(Comparison(protocol, (b, a), pairs([b, a], metric="loss", step=1), (), None, ()))
    assert table
    assert table.rows[0][2] == "+0.2500 ± 0.0080"


@pytest.mark.parametrize(
    ("first", "second", "note"),
    [
        ((610e-3, 61.0), (67.9e-3, 6.8), True),
        ((100e-3, 10.0), (67.9e-3, 6.8), False),
        ((610e-3, 0.6), (67.9e-3, 0.07), False),  # mostly warm-up
    ],
)
def test_uneven_times_of_equal_runs(first: tuple[float, float], second: tuple[float, float], note: bool) -> None:
    def timed(seed: int, step: float, total: float, device: str = "cpu") -> RunResult:
        costs = Costs(100, total, step, 40.0, 2**28, "cpu", "a CPU", "here")
        settings = change(SINUSOID, {"training.seed": seed, "compute.device": device})
        return result(f"seed {seed}", [0.5, 0.6], settings=settings, costs=costs)

    warnings = list(result_warnings([timed(0, *first), timed(1, *second)]))
    text = (
        "times per meta-step of runs with the same settings differ by more than 2x, probably because other programs "
        "were running: 610 ms for seed 0, 67.9 ms for seed 1"
    )
    assert [text in warning for warning in warnings if "times per" in warning] == [True] * note
    others = result_warnings([timed(0, *first), timed(1, *second, device="auto")])
    assert not any("times per" in warning for warning in others), "the settings differ"


def test_value_that_auto_selected_is_no_difference() -> None:
    auto = change(SINUSOID, {"compute.device": "auto", "training.seed": 1})
    a = result("a", [0.5, 0.6])
    b = replace(result("b", [0.5, 0.7], settings=auto), selected=change(auto, {"compute.device": "cpu"}))
    c = replace(b, selected=change(auto, {"compute.device": "mps"}))
    protocol = Protocol("sinusoid", "test", 2, 10, 10, 1, 0, None, None)
    for other, differing in ((b, ["training.seed"]), (c, ["training.seed", "compute.device"])):
        table = differing_settings(Comparison(protocol, (a, other), (), (), None, (), seed_groups([a, other])))
        assert table
        assert [row[0] for row in table.rows] == differing
