"""Tests of results after a live change.

The best parameters are evaluated with the settings that were in effect when they were validated.
"""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

import metatui
from metatui.cli import main
from metatui.cli.console.progress import PlainDisplay
from metatui.config.fields import FIELDS, change
from metatui.config.schedule import PlannedChange
from metatui.config.settings import Settings
from metatui.events import Change, Evaluated, Evaluation, Event, Finished, Hinted, Progress
from metatui.learning.training.trainer_state import ADAPTATION
from metatui.runs.analysis.comparison import compare
from metatui.runs.analysis.comparison.formatting import changes_in_training, main_results
from metatui.runs.analysis.comparison.tables import validations
from metatui.runs.analysis.evaluate import evaluate
from metatui.runs.analysis.explore import explore_stepwise
from metatui.runs.analysis.exports import export
from metatui.runs.analysis.metrics_csv import VALIDATION_COLUMNS, validation_rows
from metatui.runs.analysis.parameter_space import project_stepwise
from metatui.runs.execution.session import Session, saved_state
from metatui.runs.storage.checkpoints import read_checkpoint, save_checkpoint
from metatui.runs.storage.journal import read_journal
from metatui.runs.storage.run_folder import RunFolder
from metatui.runs.storage.summary import summarise
from metatui.tui.screens.compare.curves import CurveOptions
from metatui.tui.screens.compare.pages import result_page
from metatui.utils.errors import BadInput
from tests.runs.analysis.comparisons import SINUSOID
from tests.tui.widgets.test_charts import theme

RATE = "algorithm.inner_lr"
LIVE = change(SINUSOID, {"evaluation.every": 5, "evaluation.inner_steps": 8})
"""Settings with which the validation at meta-step 10 is the best. After meta-step 10, tests raise the inner learning
rate, so that most tasks diverge."""


def trained(runs_dir: Path, settings: Settings, *changes: PlannedChange) -> tuple[RunFolder, list[Event]]:
    session = Session.start(settings, runs_dir=runs_dir, changes=changes)
    return session.run, list(session)


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunFolder, list[Event]]:
    """Return a run whose inner learning rate was raised by a command during training, and its events."""
    session = Session.start(LIVE, runs_dir=tmp_path_factory.mktemp("runs"))
    events = []
    for event in session:
        events.append(event)
        if isinstance(event, Progress) and event.iteration == 10:
            session.submit(Change(RATE, 2.0))
    return session.run, events


def timeless(evaluation: Evaluation | None) -> Evaluation:
    assert evaluation is not None
    return replace(evaluation, seconds=0.0)


def test_final_test_is_the_same_everywhere(
    live: tuple[RunFolder, list[Event]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, events = live
    finished = events[-1]
    assert isinstance(finished, Finished)
    test = timeless(finished.test)
    assert (test.inner_lr, test.iteration, test.checkpoint, test.diverged) == (0.01, 10, "best", 0)
    assert finished.warning is None
    assert timeless(run.evaluation().test) == test

    assert timeless(metatui.evaluate(run)) == test
    assert timeless(metatui.evaluate(run, inner_lr=0.01)) == test
    assert timeless(compare(run).runs[0].evaluation) == test

    where = ("--runs-dir", str(run.path.parent))
    assert main(["evaluate", run.id, *where, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["loss"] == {"mean": list(test.loss.mean), "ci95": list(test.loss.ci95)}
    assert (answer["inner_lr"], answer["diverged"], answer["checkpoint"], answer["iteration"]) == (
        0.01,
        0,
        "best",
        10,
    )
    assert main(["evaluate", run.id, *where]) == 0
    assert "α = 0.01, best at meta-step 10" in capsys.readouterr().out
    assert main(["evaluate", run.id, *where, "--inner-lr", "0.02"]) == 0
    assert "α = 0.02 (--inner-lr), best at meta-step 10" in capsys.readouterr().out

    assert main(["report", run.id, *where, "--to", str(tmp_path / "report.md")]) == 0
    (row,) = re.findall(r"\| MAML \| .* \|", (tmp_path / "report.md").read_text())[:1]
    mean = row.split("|")[-2].split("±")[0].strip()
    assert float(mean) == pytest.approx(test.final[0], rel=0.01)
    assert row.split("|")[3:5] == [" 10 ", " 0.01 "]


def test_validations_of_a_comparison_count_diverged_tasks(live: tuple[RunFolder, list[Event]]) -> None:
    run, events = live
    counts = {
        e.evaluation.iteration: e.evaluation.diverged for e in events if isinstance(e, Evaluated) and e.evaluation
    }
    comparison = compare(run)
    curve = comparison.runs[0].validation
    assert dict(zip(curve.iterations, curve.diverged, strict=True)) == counts
    table = validations(comparison)
    assert table is not None
    cells = {row[0]: row[1] for row in table.rows}
    assert "diverged" not in cells["10"]
    assert cells["15"].endswith(f"({counts[15]} diverged)")


def test_a_comparison_tells_live_changes_with_the_result(live: tuple[RunFolder, list[Event]], tmp_path: Path) -> None:
    comparison = compare(live[0])
    training = comparison.runs[0].training
    assert training is not None
    (made,) = training.changes
    assert (made.path, made.old, made.new, made.label) == (RATE, 0.01, 2.0, "inner_lr 2")
    sentence = (
        "MAML: Inner learning rate changed from 0.01 to 2 at meta-step 10 "
        "(the evaluated parameters are older, from meta-step 10)"
    )
    assert main_results(comparison)[1:] == (sentence,)
    for name in ("result.md", "result.html", "result.tex"):
        file, *_ = export(comparison, tmp_path / name)
        assert sentence in file.read_text()
    rows = result_page(comparison, CurveOptions(), 200, theme())
    assert any(sentence in "".join(part.text for part in row) for row in rows)


def test_many_changes_are_counted_and_those_without_effect_left_out(live: tuple[RunFolder, list[Event]]) -> None:
    comparison = compare(live[0])
    run = comparison.runs[0]
    assert run.training is not None
    (made,) = run.training.changes
    chunk = replace(made, path="compute.tasks_at_once", old=0, new=2)
    many = replace(run.training, changes=(chunk, *[made] * 12))
    sentences = changes_in_training(replace(comparison, runs=(replace(run, training=many),)))
    assert len(sentences) == 11
    assert sentences[-1] == "MAML: 2 more setting changes (see its journal)"


def test_explorer_and_parameter_space_use_validated_rate(live: tuple[RunFolder, list[Event]]) -> None:
    run, _ = live
    (explored,) = explore_stepwise([run], task=0, steps=8)
    assert (explored.own_lr, explored.inner_lr) == (0.01, 0.01)
    working, space = project_stepwise(run, tasks=3), None
    while space is None:
        try:
            next(working)
        except StopIteration as done:
            space = done.value
    assert (space.settings.algorithm.inner_lr, space.iteration) == (0.01, 10)


def test_evaluate_with_another_rate(live: tuple[RunFolder, list[Event]], capsys: pytest.CaptureFixture[str]) -> None:
    run, _ = live
    where = ("--runs-dir", str(run.path.parent))
    assert main(["evaluate", run.id, *where, "--inner-lr", "2", "--split", "val", "--tasks", "5", "--json"]) == 1
    answer = json.loads(capsys.readouterr().out)
    assert (answer["inner_lr"], answer["iteration"]) == (2.0, 10)
    assert answer["loss"]["mean"][-1] is None
    assert main(["evaluate", run.id, *where, "--inner-lr", "2"]) == 1
    assert f"{metatui.evaluate(run, inner_lr=2.0).diverged} of 6 tasks diverged" in capsys.readouterr().out
    assert main(["evaluate", run.id, *where, "--inner-lr", "0"]) == 2
    assert "algorithm.inner_lr is 0.0, but must be a number above 0" in capsys.readouterr().err


def test_diverged_validations_are_counted_and_give_one_hint(live: tuple[RunFolder, list[Event]]) -> None:
    run, events = live
    validations = [event for event in events if isinstance(event, Evaluated)]
    assert [event.best for event in validations] == [True, True, False, False]
    assert [event.evaluation.is_finite for event in validations] == [True, True, False, False]
    lost = validations[-1].evaluation.diverged
    assert [event for event in events if isinstance(event, Hinted) and event.kind == "diverging"] == [
        Hinted(
            20, "diverging", f"Tasks diverged in two validations in a row ({lost} of 5 in the last)",
            "algorithm.inner_lr", old=2.0, new=0.01,
        )
    ]  # fmt: skip
    rows = [dict(zip(VALIDATION_COLUMNS, row, strict=True)) for row in list(validation_rows(run))[1:]]
    assert [(row["inner_lr"], row["diverged"]) for row in rows[1:]] == [
        (0.01, 0), (2.0, validations[2].evaluation.diverged), (2.0, lost),
    ]  # fmt: skip
    summary = summarise(run)
    assert summary.best
    assert summary.validation
    assert (summary.best.iteration, summary.validation.iteration) == (10, 20)


def test_old_checkpoint_takes_rate_from_journal(live: tuple[RunFolder, list[Event]], tmp_path: Path) -> None:
    run, events = live
    old = RunFolder(tmp_path / run.id)
    old.checkpoints_path.mkdir(parents=True)
    for path in (run.settings_path, run.journal_path):
        (old.path / path.name).write_bytes(path.read_bytes())
    state = read_checkpoint(run.checkpoints_path / "last.safetensors")
    for key in ("best_settings", "best_diverged", "diverging"):
        del state.values[key]
    save_checkpoint(old.checkpoints_path, "last", state)
    settings, _ = saved_state(old)
    assert settings.algorithm.inner_lr == 0.01
    finished = events[-1]
    assert isinstance(finished, Finished)
    assert timeless(evaluate(old)) == timeless(finished.test)


@pytest.mark.parametrize("settings", [{"algorithm.inner_lr": "0.1"}, {"task.shots": 1}, {"nothing": 1}, [1]])
def test_checkpoint_with_invalid_settings_is_refused(
    settings: object, live: tuple[RunFolder, list[Event]], tmp_path: Path
) -> None:
    state = read_checkpoint(live[0].checkpoints_path / "last.safetensors")
    state.values["best_settings"] = settings
    save_checkpoint(tmp_path, "last", state)
    with pytest.raises(BadInput, match=r"best_settings.* is invalid"):
        read_checkpoint(tmp_path / "last.safetensors")


def test_resumed_run_keeps_validated_rate(tmp_path: Path) -> None:
    settings = change(LIVE, {"training.iterations": 15})
    session = Session.start(settings, runs_dir=tmp_path, changes=[PlannedChange(10, RATE, 2.0)])
    for event in session:
        if isinstance(event, Progress) and event.iteration == 12:
            session.interrupt()
    *_, finished = Session.resume(session.run)
    assert isinstance(finished, Finished)
    assert finished.test
    assert (finished.test.inner_lr, finished.test.iteration) == (0.01, 10)
    assert timeless(finished.test) == timeless(metatui.evaluate(session.run))


def test_other_live_settings_do_not_change_evaluation(
    live: tuple[RunFolder, list[Event]],
) -> None:
    from metatui.learning.training.trainer_state import evaluate_state

    settings, state = saved_state(live[0])
    before = timeless(evaluate_state(settings, state))
    others = [path for path, field in FIELDS.items() if field.live and path not in ADAPTATION]
    assert others
    for path in others:
        other = change(settings, {path: type(settings.value(path))(3)})  # type: ignore[arg-type]
        assert other != settings
        assert timeless(evaluate_state(other, state)) == before, path


@pytest.fixture(scope="module")
def diverging_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunFolder, list[Event]]:
    """Return a run in which no validation had a finite result, and its events."""
    settings = change(LIVE, {RATE: 2.0, "algorithm.outer_lr": 1e-6, "training.iterations": 10})
    return trained(tmp_path_factory.mktemp("runs"), settings)


def test_no_result_without_finite_validation(
    diverging_run: tuple[RunFolder, list[Event]], capsys: pytest.CaptureFixture[str]
) -> None:
    run, _ = diverging_run
    record = run.evaluation()
    assert record.best is None
    assert record.test
    assert (record.test.checkpoint, record.test.iteration) == ("last", 10)
    summary = summarise(run)
    assert summary.warning == (
        "No validation had a finite result, so the last parameters were tested instead of the best; "
        f"{record.test.diverged} of 6 test tasks diverged: lower algorithm.inner_lr (now 2) or algorithm.outer_lr "
        "(now 1e-06) and train again"
    )
    assert read_journal(run.journal_path)[-1].details["warning"] == summary.warning
    assert main(["runs", "--runs-dir", str(run.path.parent)]) == 0
    listed = " ".join(capsys.readouterr().out.split())
    assert "test, α = 2, last at meta-step 10: loss diverged (10-shot, 8 steps, 6 test tasks, 95 % interval)" in listed
    assert f"95 % interval), {record.test.diverged} of 6 tasks diverged" in listed
    assert "warning: No validation had a finite result" in listed


def test_report_of_diverged_run(diverging_run: tuple[RunFolder, list[Event]], tmp_path: Path) -> None:
    run, _ = diverging_run
    main(["report", str(run.path), "--to", str(tmp_path / "report.md")])
    text = (tmp_path / "report.md").read_text()
    assert f"{metatui.evaluate(run).diverged} of 6 tasks diverged in the evaluation of MAML" in text
    assert "MAML has no finite validation result, so its last parameters were evaluated instead of its best" in text
    assert not re.search(r"[0-9]{10}|nan|inf\b", text.replace(run.id, ""))


def test_diverged_evaluations_have_warning_colour(diverging_run: tuple[RunFolder, list[Event]]) -> None:
    run, events = diverging_run
    file = io.StringIO()
    screen = Console(file=file, force_terminal=True, color_system="standard", highlight=False, width=500)
    display = PlainDisplay(screen, run)
    for event in events:
        display.update(event)
    yellow = [line.removeprefix("\x1b[33m") for line in file.getvalue().splitlines() if line.startswith("\x1b[33m")]
    starts = [
        "meta-step 5, validation: ",
        "meta-step 10, validation: ",
        "meta-step 10, hint: Tasks diverged in two validations",
        "meta-step 10: Finished; test: ",
    ]
    assert len(yellow) == len(starts)
    for line, start in zip(yellow, starts, strict=True):
        assert line.startswith(start)
    assert "6 of 6 tasks diverged" in yellow[-1]  # the command ends with the warning
