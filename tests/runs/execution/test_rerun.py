"""Tests that reruns, resumed runs and presets saved from runs repeat the commands and results of the original runs."""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import pytest
import torch

from metatui.cli.main import main
from metatui.config import presets
from metatui.config.declarations import Scalar
from metatui.config.fields import change
from metatui.config.schedule import PlannedChange, PlannedValidation
from metatui.config.settings import Settings
from metatui.events import Change, Checkpoint, Evaluate, Pause, Progress, Resume
from metatui.runs.execution.rerun import rerun_of, schedule_of
from metatui.runs.execution.session import Session
from metatui.runs.storage.checkpoints import newest_checkpoint
from metatui.runs.storage.run_folder import RunFolder
from metatui.runs.storage.store import RunStore
from metatui.runs.storage.summary import summarise
from metatui.utils import paths
from metatui.utils.errors import BadInput
from tests.metrics import read_all

SMALL = change(
    Settings(),
    {
        "training.iterations": 30, "evaluation.every": 10, "evaluation.tasks": 5, "evaluation.test_tasks": 6,
        "evaluation.inner_steps": 2, "model.hidden": (8,), "compute.threads": 1, "compute.device": "cpu",
        "compute.engine": "batched", "algorithm.outer_schedule": "cosine",
    },
)  # fmt: skip

LR, BATCH, LENGTH = "algorithm.inner_lr", "algorithm.meta_batch", "training.iterations"


def train(session: Session, actions: Mapping[int, Callable[[Session], None]], until: int | None = None) -> RunFolder:
    """Train to completion, or abandon the run after meta-step `until`, as if it had been killed.

    Args:
        actions: functions to call with the session, keyed by the meta-step after which they are called.
    """
    iteration = iter(session)
    for event in iteration:
        if isinstance(event, Progress):
            if event.iteration in actions:
                actions[event.iteration](session)
            if event.iteration == until:
                break
    iteration.close()
    return session.run


def submits(*commands: Any) -> Callable[[Session], None]:
    def submit(session: Session) -> None:
        for command in commands:
            session.submit(command)

    return submit


def metrics_of(run: RunFolder) -> list[tuple[Any, ...]]:
    """Return the metrics of all meta-steps except their times."""
    names = ("iteration", "meta_loss", "accuracy", "support_loss", "grad_norm", "outer_lr", "tasks_seen")
    return [tuple(getattr(p, name) for name in names) for p in read_all(run.metrics())]


def parameters(run: RunFolder) -> dict[str, torch.Tensor]:
    state, _ = newest_checkpoint(run.checkpoints_path)
    assert state is not None
    return state.tensors


def tweaks(run: RunFolder) -> list[tuple[int, str, Scalar]]:
    return [(e.iteration, e.details["path"], e.details["new"]) for e in run.journal() if e.event == "tweaked"]


def assert_same(run: RunFolder, other: RunFolder) -> None:
    assert metrics_of(run) == metrics_of(other)
    ours, theirs = parameters(run), parameters(other)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    tested, expected = run.evaluation().test, other.evaluation().test
    assert tested
    assert expected
    assert replace(tested, seconds=0.0) == replace(expected, seconds=0.0)


def again(run: RunFolder, changes: Mapping[str, Scalar] | None = None) -> Session:
    rerun = rerun_of(run, changes)
    return Session.start(
        rerun.settings, runs_dir=run.path.parent, preset=rerun.preset, changes=rerun.changes, origin=rerun.origin
    )


ACTIONS = {
    7: submits(Change(LR, 0.05)),
    13: submits(Change(BATCH, 2), Pause(), Evaluate(), Change(LR, 0.02), Resume()),
    21: submits(Change(LR, 0.5), Change(LR, 0.03), Change(LENGTH, 35)),
}


def test_rerun_repeats_numbers_and_live_changes(tmp_path: Path) -> None:
    first = train(Session.start(SMALL, runs_dir=tmp_path, preset="small"), ACTIONS)
    session = again(first)
    list(session)
    second = session.run
    assert_same(first, second)
    assert tweaks(second) == [(7, LR, 0.05), (13, BATCH, 2), (13, LR, 0.02), (21, LR, 0.03), (21, LENGTH, 35)]
    assert [e.iteration for e in second.validations()] == [10, 13, 20, 30, 35]
    started = second.journal()[0].details
    assert (started["preset"], started["origin"]) == ("small", f"rerun of {first.id}")
    list(third := again(second))
    assert_same(first, third.run)


def test_rerun_of_an_interrupted_run(tmp_path: Path) -> None:
    run = train(Session.start(SMALL, runs_dir=tmp_path), ACTIONS, until=15)
    train(Session.resume(run), {21: ACTIONS[21], 25: submits(Checkpoint())}, until=26)
    list(Session.resume(run))
    list(Session.resume(run, {LENGTH: 40}))
    assert [p.iteration for p in read_all(run.metrics())] == list(range(1, 41))
    list(session := again(run))
    assert metrics_of(run) == metrics_of(session.run)
    assert all(torch.equal(p, parameters(session.run)[name]) for name, p in parameters(run).items())


def test_killed_rerun_resumes_its_plan(tmp_path: Path) -> None:
    first = train(Session.start(SMALL, runs_dir=tmp_path), ACTIONS)
    for until in (3, 13, 22):
        killed = train(again(first), {}, until=until)
        assert rerun_of(killed).changes == rerun_of(first).changes
        list(Session.resume(killed))
        assert_same(first, killed)


def test_rerun_with_other_settings(tmp_path: Path) -> None:
    first = train(Session.start(SMALL, runs_dir=tmp_path, preset="small"), {5: submits(Change(LR, 0.05))})
    session = again(first, {"training.seed": 3, LR: 0.002})
    list(session)
    assert session.run.settings().training.seed == 3
    assert tweaks(session.run) == [(5, LR, 0.05)]
    assert metrics_of(session.run) != metrics_of(first)
    assert session.run.journal()[0].details["preset"] == "small (changed)"


def test_rerun_repeats_commands_before_the_first_step(tmp_path: Path) -> None:
    session = Session.start(SMALL, runs_dir=tmp_path)
    session.submit(Change(BATCH, 3))
    list(session)
    list(other := again(session.run))
    assert tweaks(other.run) == [(0, BATCH, 3)]
    assert_same(session.run, other.run)


def test_rerun_keeps_the_engine_of_auto(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rerun must not measure engines again, because its results would then depend on the load of the machine."""
    from metatui.learning import experiment

    chosen = iter(["loop", "batched"])
    monkeypatch.setattr(experiment, "choose", lambda *_: (next(chosen), "measured"))
    auto = change(SMALL, {"compute.engine": "auto", "compute.threads": 0, "compute.device": "auto"})
    run = train(Session.start(auto, runs_dir=tmp_path), {}, until=4)
    list(Session.resume(run))
    list(other := again(run))
    for each in (run, other.run):
        assert {e.details["engine"] for e in each.journal() if e.event == "started"} == {"loop"}
    assert_same(run, other.run)
    assert other.run.settings().compute.threads == run.journal()[0].details["threads"] > 0
    list(chosen_anew := again(run, {"compute.engine": "auto"}))
    assert chosen_anew.run.journal()[0].details["engine"] == "batched"


def test_compute_changes_persist_over_resumes(tmp_path: Path) -> None:
    run = train(Session.start(SMALL, runs_dir=tmp_path), {}, until=12)
    train(Session.resume(run, {"compute.engine": "loop", "checkpoint.every": 5.0}), {}, until=15)
    list(Session.resume(run))
    assert [e.details["engine"] for e in run.journal() if e.event == "started"] == ["batched", "loop", "loop"]
    assert (10, "compute.engine", "loop") in tweaks(run)


def test_live_changes_are_not_lost_if_the_journal_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unavailable(path: Path) -> BinaryIO:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    run = RunStore(tmp_path).create(Settings())
    run.journal_path.touch()
    monkeypatch.setattr("metatui.runs.storage.journal.open_regular", unavailable)
    for read in (Session.resume, rerun_of):
        with pytest.raises(BadInput, match=r"journal\.jsonl' cannot be read: input/output error"):
            read(run)
    assert run.status() == "interrupted"


def test_resume_changes_undo_later_changes(tmp_path: Path) -> None:
    """Check that a value given for a setting on resume undoes all changes to this setting after the checkpoint.

    These changes must not return if the run is killed again before it saves another checkpoint.
    """
    actions = {12: submits(Change(LR, 0.05), Change(BATCH, 2)), 15: submits(Change(LR, 0.07))}
    run = train(Session.start(SMALL, runs_dir=tmp_path), actions, until=17)
    train(Session.resume(run, {LR: 0.001}), {}, until=11)
    undone = [(e.iteration, e.details["at"], e.details["new"]) for e in run.journal() if e.event == "undone"]
    assert undone == [(10, 12, 0.05), (10, 15, 0.07)]
    list(last := Session.resume(run))
    assert last.settings.algorithm.inner_lr == 0.001
    assert last.settings.algorithm.meta_batch == 2
    assert schedule_of(run) == (PlannedChange(10, LR, 0.001), PlannedChange(12, BATCH, 2))
    list(other := again(run))
    assert_same(run, other.run)


def test_repeated_resumes_keep_each_change_once(tmp_path: Path) -> None:
    run = train(Session.start(SMALL, runs_dir=tmp_path), {3: submits(Change(LR, 0.05))}, until=5)
    for until in (6, 4, 7, 8):
        train(Session.resume(run), {}, until=until)
    assert len(tweaks(run)) == 5
    assert schedule_of(run) == (PlannedChange(3, LR, 0.05),)
    list(again(run))


def test_preset_saved_from_a_run_repeats_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(paths, "user_presets_dir", lambda: tmp_path / "presets")
    actions = {7: submits(Change(LR, 0.05), Change(BATCH, 2)), 13: submits(Change(LR, 0.02))}
    first = train(Session.start(SMALL, runs_dir=tmp_path / "runs"), actions)
    place = ["--runs-dir", str(tmp_path / "runs"), "--json"]
    assert main(["presets", "save", "mine", "--from", first.id, *place]) == 0
    planned = json.loads(capsys.readouterr().out)["changes"]
    assert planned[0] == {"iteration": 7, "setting": LR, "value": 0.05}
    assert presets.load("mine").changes == (
        PlannedChange(7, LR, 0.05), PlannedChange(7, BATCH, 2), PlannedChange(13, LR, 0.02),
    )  # fmt: skip
    assert main(["presets", "show", "mine"]) == 0
    assert re.search(rf"^Scheduled changes\n.*\n─+\n +7  {LR} = 0.05$", capsys.readouterr().out, re.MULTILINE)
    assert main(["run", "mine", *place]) == 0
    again = RunFolder(Path(json.loads(capsys.readouterr().out)["dir"]))
    assert_same(first, again)
    assert again.journal()[0].details["preset"] == "mine"
    assert [summarise(run).changed_live for run in (first, again)] == [True, False]


def test_rerun_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = train(Session.start(SMALL, runs_dir=tmp_path), {4: submits(Change(LR, 0.05), Evaluate())})
    assert main(["rerun", first.id, "--runs-dir", str(tmp_path), "--json"]) == 0
    second = RunFolder(Path(json.loads(capsys.readouterr().out)["dir"]))
    assert second != first
    assert_same(first, second)
    assert second.changes() == (PlannedChange(4, LR, 0.05), PlannedValidation(4))
    assert main(["rerun", "nothing", "--runs-dir", str(tmp_path)]) == 2
    assert main(["rerun", first.id, "--set", "task.shots=0", "--runs-dir", str(tmp_path)]) == 2
    assert "task.shots is 0, but must be" in capsys.readouterr().err


def test_rerun_repeats_requested_validations(tmp_path: Path) -> None:
    """A rerun must repeat requested validations, because they affect the best parameters and early stopping."""
    settings = change(SMALL, {"training.early_stop": 3, LENGTH: 80, "evaluation.every": 20})
    actions = {13: submits(Pause(), Evaluate(), Change(LR, 0.002), Evaluate(), Resume()), 27: submits(Evaluate())}
    first = train(Session.start(settings, runs_dir=tmp_path), actions)
    killed = train(Session.start(settings, runs_dir=tmp_path), actions, until=15)
    train(Session.resume(killed), {27: actions[27]})
    assert_same(first, killed)
    list(other := again(first))
    assert_same(first, other.run)
    assert [e.iteration for e in other.run.validations()] == [e.iteration for e in first.validations()]


def test_rerun_does_not_schedule_the_validation_at_the_end(tmp_path: Path) -> None:
    """Training always ends with a validation, which must not be scheduled a second time for the last meta-step."""
    earlier = (PlannedValidation(14), PlannedChange(21, LENGTH, 35), PlannedValidation(30))
    first = train(Session.start(SMALL, runs_dir=tmp_path, changes=(*earlier, PlannedValidation(35))), {})
    assert [e.iteration for e in first.validations()] == [10, 14, 20, 30, 35]
    assert rerun_of(first).changes == earlier


def test_resume_with_an_unchanged_value_undoes_later_changes(tmp_path: Path) -> None:
    """Check that a value given on resume undoes later changes even if it equals the value in the checkpoint.

    These changes must not return if the run is killed and resumed a second time.
    """
    actions = {10: submits(Change(LR, 0.05), Checkpoint()), 12: submits(Change(LR, 0.07))}
    run = train(Session.start(SMALL, runs_dir=tmp_path), actions, until=15)
    train(Session.resume(run, {LR: 0.05}), {}, until=13)
    list(last := Session.resume(run))
    assert last.settings.algorithm.inner_lr == 0.05
    list(other := again(run))
    assert_same(run, other.run)


def test_planned_validation_is_not_skipped_on_resume(tmp_path: Path) -> None:
    plan = (PlannedValidation(14), PlannedChange(14, LR, 0.05))
    first = train(Session.start(SMALL, runs_dir=tmp_path, changes=plan), {})
    killed = train(Session.start(SMALL, runs_dir=tmp_path, changes=plan), {}, until=12)
    list(Session.resume(killed))
    assert [e.iteration for e in killed.validations()] == [10, 14, 20, 30]
    assert_same(first, killed)


def test_rerun_with_several_seeds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = train(Session.start(SMALL, runs_dir=tmp_path), {})
    runs_dir = ("--runs-dir", str(tmp_path))
    assert main(["rerun", first.id, "--seeds", "0, 3", "--json", *runs_dir]) == 0
    out, err = capsys.readouterr()
    names = [report["run"] for report in json.loads(out)["runs"]]
    again, other = (RunStore(tmp_path).find(name) for name in names)
    assert [run.settings().training.seed for run in (again, other)] == [0, 3]
    paths = [str(tmp_path / name) for name in names]
    assert f"to compare the seeds: metatui compare {' '.join(paths)}" in " ".join(err.split())
    assert read_all(again.metrics())[-1].meta_loss == read_all(first.metrics())[-1].meta_loss
    for arguments, message in (
        (["--seeds", "1,1"], "--seeds is '1,1', but must be distinct whole numbers of at least 0, such as 0,1,2"),
        (["--seeds", "one"], "--seeds is 'one', but must be"),
        (["--seeds=-1"], "--seeds is '-1', but must be"),
        (["--seeds", "1", "--set", "training.seed=2"], "use only one of them"),
        (["--seeds", "1", "--detach"], "--seeds cannot be combined with --detach"),
    ):
        assert main(["rerun", first.id, *arguments, *runs_dir]) == 2
        assert message in capsys.readouterr().err
