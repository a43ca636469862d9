"""Tests of the event files for TensorBoard, using TensorBoard's own reader."""

from __future__ import annotations

import errno
import math
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from metatui.cli.main import main
from metatui.config.fields import parse
from metatui.events import Curve, Evaluated, Evaluation, Finished, Progress
from metatui.runs.execution.session import Session
from metatui.runs.storage import tensorboard
from metatui.runs.storage.run_folder import RunFolder
from metatui.runs.storage.tensorboard import TensorBoardLog
from metatui.utils.errors import MetatuiError
from tests.metrics import read_all

Scalars = dict[str, list[tuple[int, float]]]
Read = Callable[[Path], Scalars]


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Read:
    """Make runs log every meta-step, and return a function that reads the scalars from the event files in a folder."""
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing import event_accumulator

    monkeypatch.setattr(tensorboard, "EVERY", 0.0)

    def scalars(folder: Path) -> Scalars:
        found = event_accumulator.EventAccumulator(str(folder), {event_accumulator.SCALARS: 0})
        found.Reload()
        return {tag: [(each.step, each.value) for each in found.Scalars(tag)] for tag in found.Tags()["scalars"]}

    return scalars


def progress(iteration: int, **changes: Any) -> Progress:
    values: dict[str, Any] = {
        "iteration": iteration, "meta_loss": 1 / iteration, "accuracy": None, "support_loss": 2.0, "grad_norm": 0.5,
        "outer_lr": 0.25, "tasks_seen": 4 * iteration, "seconds": iteration / 8,
    }  # fmt: skip
    return Progress(**values | changes)


def evaluation(split: str, iteration: int, *, accuracy: bool = False) -> Evaluation:
    curve = Curve((0.25, 0.5), (0.125, 0.0625))
    return Evaluation(
        split,
        100,
        5,
        10,
        None,
        None,
        iteration,
        (0, 1),
        Curve((4.0, 2.0), (1.0, 0.5)),
        curve if accuracy else None,
        1.0,
    )


def steps(scalars: Scalars, tag: str) -> list[int]:
    return [step for step, _ in scalars[tag]]


def test_scalars_have_documented_names(read: Read, tmp_path: Path) -> None:
    log = TensorBoardLog(tmp_path / "tb", iteration=0)
    for iteration in (1, 2):
        log.add_event(progress(iteration, accuracy=0.75))
    log.add_event(Evaluated(evaluation("val", 2, accuracy=True), (), best=True))
    log.add_event(progress(3, meta_loss=math.nan))
    log.add_event(Finished(3, "iterations", 1.0, evaluation("test", 2, accuracy=True)))
    log.close()
    found = read(tmp_path / "tb")
    nan = found["train/meta_loss"].pop()
    assert nan[0] == 3
    assert math.isnan(nan[1])
    assert found == {
        "train/meta_loss": [(1, 1.0), (2, 0.5)],
        "train/accuracy": [(1, 0.75), (2, 0.75)],
        "train/support_loss": [(1, 2.0), (2, 2.0), (3, 2.0)],
        "train/grad_norm": [(1, 0.5), (2, 0.5), (3, 0.5)],
        "train/outer_lr": [(1, 0.25), (2, 0.25), (3, 0.25)],
        "train/tasks_seen": [(1, 4.0), (2, 8.0), (3, 12.0)],
        "train/seconds": [(1, 0.125), (2, 0.25), (3, 0.375)],
        "val/loss": [(2, 2.0)],
        "val/loss_ci95": [(2, 0.5)],
        "val/accuracy": [(2, 0.5)],
        "val/accuracy_ci95": [(2, 0.0625)],
        "test/loss": [(3, 2.0)],
        "test/loss_ci95": [(3, 0.5)],
        "test/accuracy": [(3, 0.5)],
        "test/accuracy_ci95": [(3, 0.0625)],
    }


def test_regression_has_no_accuracy(read: Read, tmp_path: Path) -> None:
    log = TensorBoardLog(tmp_path, iteration=0)
    log.add_event(progress(1))
    log.add_event(Evaluated(evaluation("val", 1), (), best=True))
    log.add_event(Evaluated(evaluation("val", 1), (), best=False))  # requested again
    log.close()
    found = read(tmp_path)
    assert not any("accuracy" in tag for tag in found)
    assert steps(found, "val/loss") == [1]


def test_fast_meta_steps_are_thinned_except_the_last(
    read: Read, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensorboard, "EVERY", 3600.0)
    log = TensorBoardLog(tmp_path, iteration=0)
    for iteration in range(1, 101):
        log.add_event(progress(iteration))
        if iteration == 50:
            log.add_event(Evaluated(evaluation("val", 50), (), best=True))
    log.close()
    assert steps(read(tmp_path), "train/meta_loss") == [1, 50, 100]


@pytest.mark.parametrize("torn", [0, 1, 7, 30])
def test_repeated_steps_are_drawn_once(read: Read, tmp_path: Path, torn: int) -> None:
    log = TensorBoardLog(tmp_path, iteration=0)
    for iteration in range(1, 11):
        log.add_event(progress(iteration, meta_loss=1.0))
    log.add_event(Evaluated(evaluation("val", 10), (), best=True))
    log.close()
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[: -torn or None])
    for start in (6, 8):
        log = TensorBoardLog(tmp_path, iteration=start)
        for iteration in range(start + 1, 13):
            log.add_event(progress(iteration, meta_loss=float(start)))
        log.add_event(Evaluated(evaluation("val", 12), (), best=True))
        log.close()
    found = read(tmp_path)
    assert found["train/meta_loss"] == [
        (step, 1.0 if step <= 6 else 6.0 if step <= 8 else 8.0) for step in range(1, 13)
    ]
    assert steps(found, "val/loss") == [12]
    assert len(list(tmp_path.iterdir())) == 3


def test_full_disk_keeps_the_points(read: Read, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    log = TensorBoardLog(tmp_path, iteration=0)
    log.add_event(progress(1))
    monkeypatch.setattr("metatui.runs.storage.jsonl.os.pwrite", full)
    with pytest.raises(MetatuiError, match=r"tfevents.* cannot be written: no space left on device"):
        log.flush()
    monkeypatch.undo()
    log.close()
    assert steps(read(tmp_path), "train/meta_loss") == [1]


TINY = {
    "model": {"hidden": (8,)},
    "training": {"iterations": 30},
    "evaluation": {"every": 10, "tasks": 4, "test_tasks": 4, "inner_steps": 1},
    "compute": {"device": "cpu"},
    "logging": {"tensorboard": True},
}


def test_run_writes_event_files_and_resume_continues(read: Read, tmp_path: Path) -> None:
    session = Session.start(parse(TINY), runs_dir=tmp_path)
    for event in session:
        if isinstance(event, Progress) and event.iteration == 15:
            session.interrupt()
    run = session.run
    assert steps(read(run.tensorboard_path), "train/meta_loss") == list(range(1, 16))
    list(Session.resume(run))
    found = read(run.tensorboard_path)
    assert steps(found, "train/meta_loss") == list(range(1, 31))
    assert steps(found, "val/loss") == [10, 20, 30]
    assert steps(found, "test/loss") == [30]
    written = [each.meta_loss for each in read_all(run.metrics())]
    assert [value for _, value in found["train/meta_loss"]] == pytest.approx(written, rel=1e-6)


def test_no_event_files_by_default(tmp_path: Path) -> None:
    session = Session.start(parse({**TINY, "logging": {}}), runs_dir=tmp_path)
    list(session)
    assert not session.run.tensorboard_path.exists()


def test_resume_can_switch_tensorboard(read: Read, tmp_path: Path) -> None:
    session = Session.start(parse({**TINY, "logging": {"tensorboard": False}}), runs_dir=tmp_path)
    session.interrupt()
    list(session)
    list(Session.resume(RunFolder(session.run.path), {"logging.tensorboard": True}))
    assert steps(read(session.run.tensorboard_path), "train/meta_loss") == list(range(1, 31))


def test_missing_package_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("tensorboard", *(name for name in sys.modules if name.startswith("tensorboard."))):
        monkeypatch.setitem(sys.modules, name, None)
    call = ["run", "quick", "--set", "logging.tensorboard=true", "--runs-dir", str(tmp_path / "runs")]
    assert main(call) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err == (
        "metatui: logging.tensorboard is true, but tensorboard is not installed: "
        "install it with pip install 'metatui[tensorboard]', or set logging.tensorboard to false\n"
    )
    assert not list(tmp_path.glob("runs/*"))
