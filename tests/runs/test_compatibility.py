"""Tests that the current version opens runs and presets of commit 08307bf and computes the same results."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

from metatui.cli.main import main
from metatui.config import presets
from metatui.config.schedule import PlannedChange, PlannedValidation
from metatui.learning.hardware.devices import cpu
from metatui.runs.execution.rerun import rerun_of
from metatui.runs.execution.session import Session
from metatui.runs.storage.checkpoints import newest_checkpoint
from metatui.runs.storage.run_folder import RunFolder
from metatui.runs.storage.store import RunStore
from tests.metrics import read_all

FIXTURE = Path(__file__).parents[1] / "fixtures" / "runs_08307bf"

LR, OUTER_LR, BATCH = "algorithm.inner_lr", "algorithm.outer_lr", "algorithm.meta_batch"


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Return a folder with copies of the runs in `FIXTURE`."""
    for name in ("finished", "interrupted"):
        shutil.copytree(FIXTURE / name, tmp_path / name)
    return tmp_path


@pytest.fixture(scope="module")
def recorded() -> RunFolder:
    return RunFolder(FIXTURE / "finished")


def same_machine(run: RunFolder) -> bool:
    """Return whether `run` used this torch version and CPU model. If so, results must be bitwise equal."""
    started = run.journal()[0].details
    return (started["torch"], started["device_name"]) == (str(torch.__version__), cpu().title)


def assert_same_numbers(run: RunFolder, recorded: RunFolder) -> None:
    """Check that two runs have the same metrics, validations, test results and parameters.

    They must be bitwise equal if `same_machine(recorded)` is true, otherwise equal to within 1e-9.
    """
    metrics = [[asdict(step) | {"seconds": 0} for step in read_all(each.metrics())] for each in (run, recorded)]
    compare(metrics[0], metrics[1], recorded)
    validations = [
        [(entry.iteration, entry.details["loss"], entry.details["best"]) for entry in each.validations()]
        for each in (run, recorded)
    ]
    compare(validations[0], validations[1], recorded)
    since_added = {"diverged", "inner_lr", "checkpoint"}
    tests = [
        each.evaluation().model_dump(exclude={"test": {"seconds", *since_added}})["test"] for each in (run, recorded)
    ]
    compare(tests[0], tests[1], recorded)
    states = [newest_checkpoint(each.checkpoints_path)[0] for each in (run, recorded)]
    assert states[0] is not None
    assert states[1] is not None
    tensors = [{name: tensor.tolist() for name, tensor in state.tensors.items()} for state in states if state]
    compare(tensors[0], tensors[1], recorded)


def compare(actual: Any, expected: Any, recorded: RunFolder) -> None:
    if same_machine(recorded):
        assert actual == expected
    else:
        torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-12)


def test_both_runs_are_listed(runs: Path) -> None:
    summaries = {summary.id: summary for summary in RunStore(runs).summaries()}
    finished, interrupted = summaries["finished"], summaries["interrupted"]
    assert (finished.status, finished.iteration, finished.preset, finished.problem) == ("finished", 8, "small", None)
    assert (interrupted.status, interrupted.iteration, interrupted.problem) == ("interrupted", 6, None)
    assert finished.test is not None
    assert [entry.iteration for entry in RunFolder(runs / "finished").validations()] == [4, 5, 8]
    assert len(RunFolder(runs / "finished").views()) > 0


def test_evaluate_reports_the_recorded_numbers(
    runs: Path, recorded: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", "finished", "--runs-dir", str(runs), "--json"]) == 0
    actual, expected = json.loads(capsys.readouterr().out), json.loads((FIXTURE / "evaluate.json").read_text())
    assert actual.keys() >= expected.keys()
    actual, expected = ({key: each[key] for key in expected if key != "seconds"} for each in (actual, expected))
    compare(actual, expected, recorded)


def test_resume_finishes_with_the_recorded_numbers(runs: Path, recorded: RunFolder) -> None:
    run = RunFolder(runs / "interrupted")
    session = Session.resume(run)
    list(session)
    assert session.outcome.status == "finished"
    assert_same_numbers(run, recorded)


def test_rerun_repeats_the_recorded_numbers(runs: Path, recorded: RunFolder) -> None:
    rerun = rerun_of(RunFolder(runs / "finished"))
    assert rerun.changes == (
        PlannedChange(2, BATCH, 3), PlannedChange(3, LR, 0.05), PlannedValidation(5), PlannedChange(5, OUTER_LR, 0.002),
    )  # fmt: skip
    session = Session.start(rerun.settings, runs_dir=runs, changes=rerun.changes)
    list(session)
    assert_same_numbers(session.run, recorded)


def test_saved_preset_repeats_the_recorded_metrics(runs: Path, recorded: RunFolder) -> None:
    preset = presets.read(FIXTURE / "tuned.toml")
    assert preset.changes == (PlannedChange(2, BATCH, 3), PlannedChange(3, LR, 0.05), PlannedChange(5, OUTER_LR, 0.002))
    assert preset.settings == recorded.settings()
    session = Session.start(preset.settings, runs_dir=runs, changes=preset.changes)
    list(session)
    losses = [[step.meta_loss for step in read_all(run.metrics())] for run in (session.run, recorded)]
    compare(losses[0], losses[1], recorded)
