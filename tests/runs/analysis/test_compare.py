"""Tests that comparisons use identical held-out tasks, leave run folders unchanged, and compute correct statistics."""

from __future__ import annotations

import errno
import math
import os
import re
import shutil
from collections.abc import Generator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
import torch
from scipy import stats

import metatui
from metatui.config.fields import change
from metatui.events import Evaluating, Evaluation, Stop
from metatui.learning.data.episodes import Episodes
from metatui.learning.experiment import Experiment
from metatui.runs.analysis.comparison import (
    Comparing,
    TaskValues,
    compare,
    compare_runs,
    compare_stepwise,
    task_metrics,
    training_curves,
)
from metatui.runs.analysis.comparison.formatting import main_results, protocol_words
from metatui.runs.analysis.comparison.tables import NONE, adaptation, results
from metatui.runs.analysis.evaluate import evaluate
from metatui.runs.analysis.figures import comparison_figure
from metatui.runs.analysis.report import as_html
from metatui.runs.execution.session import Session
from metatui.runs.storage import jsonl
from metatui.runs.storage.metrics import CHUNK
from metatui.runs.storage.run_folder import RunFolder
from metatui.utils.errors import BadInput
from tests.metrics import read_all
from tests.runs.analysis.comparisons import GLYPHS, SINUSOID, train


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def maml(store: Path) -> RunFolder:
    return train(store)


@pytest.fixture(scope="module")
def reptile(store: Path) -> RunFolder:
    """Return a Reptile run whose evaluation protocol differs in every setting from that of the run `maml`."""
    return train(
        store, algorithm__name="reptile", task__shots=5, task__queries=7, evaluation__inner_steps=4,
        evaluation__test_tasks=9, evaluation__seed=3, training__iterations=30,
    )  # fmt: skip


@pytest.fixture(scope="module")
def scratch(store: Path) -> RunFolder:
    return train(store, algorithm__name="scratch")


def test_unreadable_metrics_fail_the_comparison(maml: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Check that a comparison fails, instead of showing a shortened curve, if the metrics cannot be read."""

    def damaged(path: Path) -> NoReturn:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    training_curves._read.cache_clear()
    monkeypatch.setattr(jsonl, "open_regular", damaged)
    with pytest.raises(BadInput, match=r"metrics.*cannot be read: input/output error"):
        training_curves.read_steps(maml)


@pytest.fixture
def empty_cache() -> None:
    task_metrics._cache.clear()


@pytest.fixture
def drawn(empty_cache: None, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, tuple[int, ...], Episodes]]:
    """Return a list of all draws of episodes during the test, each with its split, task numbers and episodes."""
    seen = []
    draw = Experiment.episodes

    def recorded(self: Experiment, split: Any, tasks: Any, **rest: Any) -> Episodes:
        episodes = draw(self, split, tasks, **rest)
        seen.append((split, tuple(tasks), episodes))
        return episodes

    monkeypatch.setattr(Experiment, "episodes", recorded)
    return seen


@pytest.mark.parametrize("split", ["test", "val"])
def test_all_runs_see_identical_episodes(
    maml: RunFolder,
    reptile: RunFolder,
    scratch: RunFolder,
    drawn: list[tuple[str, tuple[int, ...], Episodes]],
    split: str,
) -> None:
    comparison = compare(maml, reptile, scratch, split=split)
    assert [(name, numbers) for name, numbers, _ in drawn] == [(split, tuple(range(6)))] * 3
    first, *others = [episodes for *_, episodes in drawn]
    for episodes in others:
        for name in ("support_x", "support_y", "query_x", "query_y"):
            assert torch.equal(getattr(first, name), getattr(episodes, name))
    assert first.support_x.shape == (6, 10, 1)
    assert len({run.same_tasks for run in comparison.runs}) == 1


def test_first_run_matches_evaluate(maml: RunFolder, reptile: RunFolder) -> None:
    compared, alone = compare(maml, reptile).runs[0].evaluation, evaluate(maml)
    assert (compared.loss, compared.steps, compared.iteration) == (alone.loss, alone.steps, alone.iteration)
    other = compare(reptile, maml, tasks=7, steps=3, shots=2, split="val").runs[0].evaluation
    assert other.loss == evaluate(reptile, tasks=7, steps=3, shots=2, split="val").loss


def test_run_folders_are_unchanged(store: Path, maml: RunFolder, reptile: RunFolder, empty_cache: None) -> None:
    def everything() -> dict[Path, tuple[int, bytes]]:
        return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in store.rglob("*") if path.is_file()}

    before, folders = everything(), sorted(store.rglob("*"))
    assert any(path.suffix == ".safetensors" for path in before)
    compare(maml, reptile, target=4.0)
    assert everything() == before
    assert sorted(store.rglob("*")) == folders


def test_paired_tests_match_scipy(maml: RunFolder, reptile: RunFolder, scratch: RunFolder) -> None:
    comparison = compare(maml, reptile, scratch, tasks=40)
    assert [(pair.a.label, pair.b.label) for pair in comparison.pairs] == [
        ("MAML", "Reptile"), ("MAML", "scratch"), ("Reptile", "scratch"),
    ]  # fmt: skip
    assert all((pair.metric, pair.step, pair.family) == ("loss", 2, 3) for pair in comparison.pairs)
    for pair in comparison.pairs:
        a, b = (run.values.loss for run in (pair.a, pair.b))
        assert a.shape == (40, 3)
        theirs = stats.ttest_rel(a[:, -1], b[:, -1])
        assert pair.test.t == pytest.approx(theirs.statistic, rel=1e-12)
        assert pair.test.p == pytest.approx(theirs.pvalue, rel=1e-12)
        assert pair.test.mean == pytest.approx(pair.a.evaluation.final[0] - pair.b.evaluation.final[0], rel=1e-9)
        assert pair.p_holm >= pair.test.p


def test_accuracies_are_compared_by_counts(store: Path) -> None:
    one, other = train(store, GLYPHS), train(store, GLYPHS, training__seed=1, algorithm__name="fomaml")
    comparison = compare(one, other, tasks=30)
    (pair,) = comparison.pairs
    assert (pair.metric, comparison.metric) == ("accuracy", "accuracy")
    a, b = (run.values.accuracy for run in (pair.a, pair.b))
    assert a is not None
    assert b is not None
    wins, losses = (a > b)[:, -1].sum(), (a < b)[:, -1].sum()
    assert wins + losses > 5
    assert pair.test.wilcoxon_p == stats.wilcoxon(np.round((a - b)[:, -1] * 6)).pvalue
    assert [run.label for run in comparison.runs] == ["MAML", "FOMAML"]


def test_task_values_are_read_only(maml: RunFolder) -> None:
    values = compare(maml).runs[0].values
    with pytest.raises(ValueError, match="read-only"):
        values.loss[0, 0] = 1.0


def test_single_run_has_no_pairs(maml: RunFolder) -> None:
    comparison = compare(maml)
    assert (comparison.pairs, comparison.seeds, comparison.warnings) == ((), (), ())


def test_cache_until_the_run_continues(tmp_path: Path, drawn: list[tuple[str, tuple[int, ...], Episodes]]) -> None:
    a, b = train(tmp_path), train(tmp_path, algorithm__name="fomaml")
    first = compare(a, b)
    seen = len([split for split, *_ in drawn if split == "test"])
    assert compare(a, b).runs[0].evaluation == first.runs[0].evaluation
    compare(b, a)
    assert len([split for split, *_ in drawn if split == "test"]) == seen
    compare(a, b, steps=3)
    assert len([split for split, *_ in drawn if split == "test"]) == seen + 2
    for _ in Session.resume(b, {"training.iterations": 30}):
        pass
    drawn.clear()
    assert compare(a, b).runs[1].costs.iterations == 30
    assert [split for split, *_ in drawn] == ["test"]


def test_cache_size(maml: RunFolder, empty_cache: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task_metrics, "CACHE_SIZE", 2)
    for tasks in (2, 3, 4):
        compare(maml, tasks=tasks)
    assert [evaluation.tasks for evaluation, _ in task_metrics._cache.values()] == [3, 4]


def test_progress_and_cancellation(maml: RunFolder, reptile: RunFolder, empty_cache: None) -> None:
    seen: list[Comparing] = []
    compare(maml, reptile, tasks=250, steps=1, on_progress=seen.append)
    for number, name in ((1, "MAML"), (2, "Reptile")):
        own = [now for now in seen if now.number == number]
        assert {(now.run, now.runs, now.tasks) for now in own} == {(name, 2, 250)}
        assert [own[0].done, own[-1].done] == [0, 250]
        assert [now.done for now in own] == sorted(now.done for now in own)
    working = compare_stepwise([reptile, maml], tasks=300, steps=1)
    next(working)
    next(working)
    working.close()
    assert len(task_metrics._cache) == 2, "partial measurements are not cached"


def test_time_to_target_uses_validations(maml: RunFolder, reptile: RunFolder, scratch: RunFolder) -> None:
    comparison = compare(maml, scratch)
    curve = comparison.runs[0].validation
    assert curve.iterations == (10, 20)
    assert curve.tasks == (20, 40)
    metrics = {p.iteration: p.seconds for p in read_all(maml.metrics())}
    assert curve.seconds == (metrics[10], metrics[20])
    assert comparison.runs[0].to_target is None

    first, second = curve.mean
    assert second < first, "it learns"
    assert curve.best == 20
    reached = compare(maml, scratch, target=second).runs
    assert reached[0].to_target is not None
    assert (reached[0].to_target.iterations, reached[0].to_target.tasks) == (20, 40)
    assert reached[1].to_target is None
    at_once = compare(scratch, maml, target=1000.0).runs[0].to_target
    assert at_once is not None
    assert (at_once.iterations, at_once.tasks, at_once.seconds) == (0, 0, 0.0)


def test_costs_match_the_records(maml: RunFolder, scratch: RunFolder) -> None:
    comparison = compare(scratch, maml)
    untrained, trained = (run.costs for run in comparison.runs)
    last = read_all(maml.metrics())[-1]
    assert trained.iterations == 20
    assert trained.seconds_per_step == last.seconds / 20
    assert trained.tasks_per_second == 40 / last.seconds
    assert trained.peak_memory_bytes == maml.journal()[-1].details["peak_memory_bytes"]
    assert (trained.device, untrained.seconds_per_step, untrained.tasks_per_second) == ("cpu", None, None)
    assert comparison.speed_ratio(comparison.runs[0]) is None
    assert comparison.speed_ratio(comparison.runs[1]) == 1.0
    assert comparison.runs[0].training is None


def test_training_curves_share_a_span(maml: RunFolder, reptile: RunFolder) -> None:
    one, other = (run.training for run in compare(maml, reptile).runs)
    assert one is not None
    assert other is not None
    assert one.span == other.span == 50
    assert one.iterations == tuple(range(1, 21))
    assert other.iterations[-1] == 30
    assert one.accuracy is None
    losses = [p.meta_loss for p in read_all(maml.metrics())]
    assert one.meta_loss[0] == pytest.approx(losses[0])
    assert min(losses) < one.meta_loss[-1] < max(losses)


def test_different_protocols_warn(maml: RunFolder, reptile: RunFolder) -> None:
    comparison = compare(maml, reptile)
    own = "the runs specify different protocols: "
    assert comparison.warnings == (
        f"{own}evaluation.shots is 10 for MAML, 5 for Reptile; the comparison uses 10 for all runs",
        f"{own}task.queries is 10 for MAML, 7 for Reptile; the comparison uses 10 for all runs",
        f"{own}evaluation.inner_steps is 2 for MAML, 4 for Reptile; the comparison uses 2 for all runs",
        "the runs were trained on different numbers of tasks: 40 for MAML, 60 for Reptile",
    )
    assert comparison.protocol.differences[2] == "evaluation.inner_steps is 2 for MAML, 4 for Reptile"
    assert [run.costs.tasks_seen for run in comparison.runs] == [40, 60]
    (verdict,) = comparison.verdicts
    assert "on the same 6 tasks, both after 2 inner steps (their settings are 2 and 4)" in verdict
    shots = compare(reptile, maml, shots=3).warnings[0]
    assert shots == f"{own}evaluation.shots is 5 for Reptile, 10 for MAML; the comparison uses 3 for all runs"
    assert "the validation split was also used to select the checkpoints" in compare(maml, split="val").warnings[0]


def test_each_run_can_have_its_own_steps(maml: RunFolder, reptile: RunFolder) -> None:
    comparison = compare(maml, reptile, steps="own", tasks=5)
    assert comparison.last_steps == (2, 4)
    assert comparison.protocol.steps == 4
    assert not any("inner_steps" in each for each in (*comparison.warnings, *comparison.protocol.differences))
    assert "each run's own inner steps (2 for MAML, 4 for Reptile)" in protocol_words(comparison)
    (pair,) = comparison.pairs
    means = [run.evaluation.final[0] for run in comparison.runs]
    assert pair.test.mean == pytest.approx(means[0] - means[1])
    assert means[0] == compare(maml, reptile, tasks=5).runs[0].evaluation.final[0]
    assert "on the same 5 tasks, after 2 and 4 inner steps" in pair.verdict
    table = adaptation(comparison)
    assert [(row[0], row[1] == NONE) for row in table.rows] == [
        ("0", False), ("1", False), ("2", False), ("3", True), ("4", True),
    ]  # fmt: skip
    assert results(comparison).title == "Loss after each run's own inner steps"
    assert b"own inner steps" in comparison_figure(comparison, "svg")


def test_runs_with_different_ways_are_not_paired(store: Path) -> None:
    three, four = train(store, GLYPHS), train(store, GLYPHS, task__ways=4, algorithm__name="fomaml")
    again = train(store, GLYPHS, algorithm__name="reptile")
    comparison = compare(three, four, again)
    assert [(pair.a.label, pair.b.label) for pair in comparison.pairs] == [("MAML", "Reptile")]
    assert [run.evaluation.ways for run in comparison.runs] == [3, 4, 3]
    assert comparison.warnings == (
        "task.ways is 3 for MAML and Reptile, 4 for FOMAML: these runs have different test tasks and are not compared "
        "in pairs",
    )


def test_test_of_a_single_run_is_reused(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured = []

    def measure(*given: Any) -> Generator[int, None, tuple[Evaluation, TaskValues]]:
        measured.append(given)
        return task_metrics.measure(*given)

    monkeypatch.setattr(compare_runs, "measure", measure)
    for base in (SINUSOID, GLYPHS):
        run = train(store, base, training__seed=9)
        (reused,) = compare(run, reuse_test=True).runs
        assert not measured
        (again,) = compare(run).runs
        assert len(measured) == 1
        assert replace(reused.evaluation, seconds=0.0) == replace(again.evaluation, seconds=0.0)
        assert (reused.diverged, len(reused.values.loss), len(again.values.loss)) == (0, 0, again.evaluation.tasks)
        compare(run, reuse_test=True, tasks=3)
        assert len(measured) == 2, "another protocol"
        measured.clear()


def test_titles_replace_names_of_algorithms(store: Path, maml: RunFolder, scratch: RunFolder) -> None:
    titles = {maml: "mine", scratch: ""}
    comparison = compare(maml, scratch, titles=titles, tasks=2)
    assert [run.label for run in comparison.runs] == ["mine", "scratch"]
    assert [group.label for group in comparison.groups] == ["mine", "scratch"]


def test_comparison_over_seeds(store: Path, maml: RunFolder, scratch: RunFolder) -> None:
    mamls = [maml, *(train(store, training__seed=seed) for seed in (1, 2))]
    scratches = [scratch, train(store, algorithm__name="scratch", training__seed=1)]
    comparison = compare(*mamls, *scratches)
    (pair,) = comparison.seeds
    assert (pair.a.label, len(pair.a.runs), pair.b.label, len(pair.b.runs)) == ("MAML", 3, "scratch", 2)
    means = [[run.evaluation.final[0] for run in group.runs] for group in (pair.a, pair.b)]
    theirs = stats.ttest_ind(*means, equal_var=False)
    assert pair.test.p == pytest.approx(theirs.pvalue, rel=1e-9)
    assert "MAML (3 seeds)" in pair.verdict
    assert len(comparison.pairs) == 6, "runs that differ only in the seed are not compared"
    assert "(95 % interval over seeds)" in pair.verdict
    assert [group.name for group in comparison.groups] == ["MAML (3 seeds)", "scratch (2 seeds)"]
    for group, values in zip(comparison.groups, means, strict=True):
        curve = group.loss
        low, high = stats.t.interval(0.95, len(values) - 1, loc=np.mean(values), scale=stats.sem(values))
        assert curve.seeds == len(values)
        assert curve.mean[-1] == pytest.approx(np.mean(values), rel=1e-12)
        assert curve.deviation[-1] == pytest.approx(np.std(values, ddof=1), rel=1e-9)
        assert curve.ci95[-1] == pytest.approx((high - low) / 2, rel=1e-9)
        assert len(curve.mean) == 3
    twice = compare(maml, train(store), scratch, scratches[1])
    assert twice.seeds == (), "a repeated seed is not a second seed"
    assert sorted(len(group.runs) for group in twice.groups) == [1, 1, 2]
    alone = compare(*mamls)
    assert (alone.pairs, alone.seeds, alone.conclusions) == ((), (), ())
    (sentence,) = main_results(alone)
    over = r"over the seeds, all on the same \d+ tasks \(95 % interval over the seeds alone, SD [\d.]+\)"
    assert re.fullmatch(rf"MAML \(3 seeds\): mean loss \S+ ± \S+ {over}", sentence)


def test_training_is_reported_before_the_first_run_is_evaluated(maml: RunFolder, reptile: RunFolder) -> None:
    first, *others = list(compare_stepwise([maml, reptile], tasks=3))
    assert isinstance(first, Comparing)
    assert first.recorded is not None
    assert [(run.label, run.training is not None) for run in first.recorded.runs] == [("MAML", True), ("Reptile", True)]
    assert all(now.recorded is None for now in others)


def test_each_run_is_reported_without_tests_before_the_next_one_is_evaluated(
    maml: RunFolder, reptile: RunFolder, scratch: RunFolder
) -> None:
    runs = [maml, reptile, scratch]
    reports = list(compare_stepwise(runs, tasks=4))
    assert [(now.number, now.done) for now in reports if now.measured] == [(2, 0), (3, 0)]
    partial = [now.measured for now in reports if now.measured]
    assert [[run.label for run in each.runs] for each in partial] == [["MAML"], ["MAML", "Reptile"]]
    complete = compare(*runs, tasks=4)
    assert len(complete.pairs) == 3
    for each in partial:
        assert (each.pairs, each.seeds, each.conclusions) == ((), (), ())
        assert each.protocol == complete.protocol
        assert [run.evaluation.loss for run in each.runs] == [
            run.evaluation.loss for run in complete.runs[: len(each.runs)]
        ]


def test_diverged_tasks_are_left_out(store: Path, maml: RunFolder) -> None:
    wild = train(store, algorithm__name="scratch", algorithm__inner_lr=0.5, model__hidden=(40, 40))
    comparison = compare(wild, maml, steps=60, tasks=30)
    diverged = comparison.runs[0].diverged
    assert 0 < diverged < 30
    (warning,) = (each for each in comparison.warnings if "diverged" in each)
    assert warning.startswith(f"{diverged} of 30 tasks diverged in the evaluation of scratch (60 inner steps")
    (pair,) = comparison.pairs
    assert (pair.test.tasks, pair.test.left_out) == (30 - diverged, diverged)
    assert not math.isfinite(comparison.runs[0].evaluation.final[0])
    assert pair.verdict == (
        f"scratch diverged on {diverged} of the same 30 tasks and MAML on none: "
        "too few tasks remain to compare the runs"
    )


@pytest.mark.parametrize(
    ("iteration", "when"), [(10, "10 of 20 meta-steps"), (20, "its last meta-step, before the end of its test")]
)
def test_unfinished_runs_warn(tmp_path: Path, maml: RunFolder, iteration: int, when: str) -> None:
    session = Session.start(maml.settings(), runs_dir=tmp_path)
    events = iter(session)
    for event in events:
        if getattr(event, "iteration", 0) == iteration:
            session.interrupt()
    (warning,) = compare(session.run).warnings
    assert warning == f"MAML is not finished: interrupted after {when}"


def test_lost_metrics_warn(tmp_path: Path, maml: RunFolder) -> None:
    run = RunFolder(tmp_path / "copy")
    shutil.copytree(maml.path, run.path)
    lines = run.metrics_path.read_bytes().splitlines(keepends=True)
    run.metrics_path.write_bytes(b"".join(lines[4:]))
    comparison = compare(run)
    assert comparison.warnings == ("MAML has a metrics.jsonl that starts at meta-step 5",)
    assert "MAML has a metrics.jsonl that starts at meta-step 5" in as_html(comparison)
    run.metrics_path.write_bytes(b"".join([*lines[:4], b"\0" * (2 * CHUNK + 1), *lines[8:]]))
    comparison = compare(run)
    assert comparison.warnings == (
        "MAML has a metrics.jsonl with missing or damaged lines, the first of them for meta-step 5",
    )
    assert comparison.runs[0].costs.iterations == 20
    run.metrics_path.unlink()
    assert compare(run).warnings == ("MAML reached meta-step 20, but its metrics.jsonl is missing, empty or damaged",)


def test_run_stopped_during_its_test_after_early_stopping_warns(tmp_path: Path) -> None:
    changes = {"training.early_stop": 1, "evaluation.every": 2, "algorithm.outer_lr": 1.0}
    session = Session.start(change(SINUSOID, changes), runs_dir=tmp_path)
    for event in session:
        if isinstance(event, Evaluating) and event.split == "test":
            session.submit(Stop())
    assert session.run.status() == "stopped"
    assert session.outcome.iteration < SINUSOID.training.iterations
    (warning,) = compare(session.run).warnings
    assert warning == "MAML is not finished: stopped after its last meta-step, before the end of its test"


def test_compare_from_the_library(store: Path, maml: RunFolder, reptile: RunFolder) -> None:
    comparison = metatui.compare(maml.id, reptile.path, runs_dir=store, tasks=3)
    assert [run.id for run in comparison.runs] == [maml.id, reptile.id]


def test_bad_input_is_refused(store: Path, maml: RunFolder, tmp_path: Path) -> None:
    glyphs = train(store, GLYPHS, algorithm__name="reptile")
    with pytest.raises(BadInput, match=r"task\.source is sinusoid for MAML, glyphs for Reptile"):
        compare(maml, glyphs)
    with pytest.raises(BadInput, match="is given twice"):
        compare(maml, RunFolder(maml.path / ".." / maml.path.name))
    with pytest.raises(BadInput, match="there are no runs to compare"):
        compare()
    with pytest.raises(BadInput, match=r"evaluation\.test_tasks is 1, but must be a whole number from 2"):
        compare(maml, tasks=1)
    with pytest.raises(BadInput, match=r"task\.shots is 0, but must be"):
        compare(maml, shots=0)
    with pytest.raises(BadInput, match=r"evaluation\.inner_steps is 0, but must be"):
        compare(maml, steps=0)
    with pytest.raises(BadInput, match="split is 'train', but must be val or test"):
        compare(maml, split="train")
    with pytest.raises(BadInput, match=r"target is 95, but must be an accuracy above 0 and at most 1"):
        compare(glyphs, target=95)
    for target in (-1.0, math.nan, math.inf):
        with pytest.raises(BadInput, match="but must be a loss of at least 0"):
            compare(maml, target=target)
    with pytest.raises(BadInput, match=r"compute\.device is 'cuda:7'"):
        compare(maml, device="cuda:7")
    empty = Session.start(maml.settings(), runs_dir=tmp_path)
    empty.close()
    with pytest.raises(BadInput, match="has no checkpoint yet"):
        compare(empty.run)


@pytest.fixture(autouse=True)
def no_warnings(recwarn: pytest.WarningsRecorder) -> Iterator[None]:
    yield
    assert not recwarn.list
