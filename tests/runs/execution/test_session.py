"""Tests of sessions: what they record, and how runs are interrupted, killed and resumed."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from datetime import datetime, tzinfo
from pathlib import Path

import pytest

import metatui
from metatui import events
from metatui.config.fields import change, parse
from metatui.config.settings import Settings
from metatui.events import Change, Command, Event, Pause, Progress, Resume, Stop
from metatui.learning.training import trainer
from metatui.learning.training.trainer_state import TrainerState
from metatui.runs.analysis.evaluate import evaluate, views
from metatui.runs.execution import session as session_module
from metatui.runs.execution.control.client import activity_of
from metatui.runs.execution.session import Session
from metatui.runs.storage import metrics, writer
from metatui.runs.storage.checkpoints import save_checkpoint
from metatui.runs.storage.lock import is_held
from metatui.runs.storage.metrics import last_progress
from metatui.runs.storage.run_folder import RunFolder
from metatui.runs.storage.store import RunStore
from metatui.runs.storage.summary import summarise
from metatui.utils.errors import BadInput, MetatuiError, SettingsError
from metatui.utils.files import WriteRefusedError
from tests.metrics import metrics_of, read_all

SMALL = change(
    Settings(),
    {
        "training.iterations": 30, "evaluation.every": 10, "evaluation.tasks": 5, "evaluation.test_tasks": 6,
        "evaluation.inner_steps": 2, "model.hidden": (8,), "compute.threads": 1, "compute.device": "cpu",
    },
)  # fmt: skip


def journal_events(run: RunFolder) -> list[tuple[str, int]]:
    return [(entry.event, entry.iteration) for entry in run.journal()]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunFolder, list[Event]]:
    """Return a finished run in which a live setting was changed, and its events."""
    session = Session.start(SMALL, runs_dir=tmp_path_factory.mktemp("runs"), preset="small")
    return session.run, train(session)


def train(session: Session) -> list[Event]:
    """Train to completion, changing the inner learning rate after meta-step 15, and return the events."""
    seen = []
    for event in session:
        seen.append(event)
        if isinstance(event, Progress) and event.iteration == 15:
            session.submit(Change("algorithm.inner_lr", 0.02))
    return seen


def train_until(session: Session, iteration: int, call: Callable[[], object]) -> None:
    """Train to completion, and call `call` after meta-step `iteration`."""
    for event in session:
        if isinstance(event, Progress) and event.iteration == iteration:
            call()


@pytest.mark.parametrize("name", ["checkpoints", "tensorboard"])
def test_resumed_run_does_not_write_through_a_link(tmp_path: Path, name: str) -> None:
    pytest.importorskip("tensorboard")
    run = RunStore(tmp_path / "runs").create(change(SMALL, {"logging.tensorboard": name == "tensorboard"}))
    (tmp_path / "elsewhere").mkdir()
    (run.path / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BadInput, match=f"{name}' is a symbolic link, but must be a folder"):
        Session.resume(run)
    assert os.listdir(tmp_path / "elsewhere") == []


def test_run_is_recorded(whole: tuple[RunFolder, list[Event]]) -> None:
    run, seen = whole
    finished = seen[-1]
    assert isinstance(finished, events.Finished)
    assert finished.test
    assert run.status() == "finished"
    assert not run.is_live()
    assert [p.iteration for p in read_all(run.metrics())] == list(range(1, 31))
    assert journal_events(run) == [
        ("started", 0), ("evaluated", 10), ("tweaked", 15), ("evaluated", 20), ("hinted", 20), ("evaluated", 30),
        ("finished", 30),
    ]  # fmt: skip
    started = run.journal()[0].details
    assert (started["preset"], started["metatui"], started["device"]) == ("small", metatui.__version__, "cpu")
    assert {"python", "torch", "host", "engine", "pid"} <= started.keys()
    assert run.evaluation().test == finished.test
    assert run.views() == finished.views
    assert [entry.details["split"] for entry in run.validations()] == ["val"] * 3
    assert run.settings() == SMALL


def test_summary_of_a_finished_run(whole: tuple[RunFolder, list[Event]]) -> None:
    run, _ = whole
    (summary,) = RunStore(run.path.parent).summaries()
    assert (summary.run, summary.status, summary.iteration, summary.preset) == (run, "finished", 30, "small")
    assert summary.test == run.evaluation().test
    assert summary.problem is None


def test_killed_run_resumes_to_the_same_numbers(whole: tuple[RunFolder, list[Event]], tmp_path: Path) -> None:
    reference, _ = whole
    session = Session.start(SMALL, runs_dir=tmp_path / "runs")
    killed = []
    for event in session:
        if isinstance(event, Progress):
            if event.iteration in (1, 5, 10, 17, 25):  # before, at and after the first checkpoint and the change
                copy = tmp_path / f"killed-{event.iteration}"
                shutil.copytree(session.run.path, copy, ignore=shutil.ignore_patterns("*.sock"))
                killed.append(RunFolder(copy))
            if event.iteration == 15:
                session.submit(Change("algorithm.inner_lr", 0.02))
    for run in killed:
        assert run.status() == "interrupted"
        resumed = Session.resume(run)
        if ("tweaked", 15) in journal_events(run):
            list(resumed)  # repeats the change that the journal records
        else:
            train(resumed)
        assert run.status() == "finished"
        assert metrics_of(run) == metrics_of(reference)
        assert run.evaluation().test.loss == reference.evaluation().test.loss  # type: ignore[union-attr]


def test_torn_checkpoint_falls_back_to_an_older_one(whole: tuple[RunFolder, list[Event]], tmp_path: Path) -> None:
    session = Session.start(SMALL, runs_dir=tmp_path)
    for event in session:
        if isinstance(event, Progress):
            if event.iteration == 15:
                session.submit(Change("algorithm.inner_lr", 0.02))
            if event.iteration in (22, 24):
                session.submit(events.Checkpoint())
            if event.iteration == 26:
                break
    last = session.run.checkpoints_path / "last.safetensors"
    last.write_bytes(last.read_bytes()[:100])
    seen = list(Session.resume(session.run))
    assert isinstance(seen[0], events.Started)
    assert seen[0].iteration == 22
    assert isinstance(seen[1], events.Warned)
    assert "last.safetensors' is not an intact checkpoint" in seen[1].text
    assert metrics_of(session.run) == metrics_of(whole[0])
    (session.run.checkpoints_path / "best.safetensors").write_bytes(b"")
    resumed = Session.resume(session.run, {"training.iterations": 31})
    warned = next(event.text for event in resumed if isinstance(event, events.Warned))
    assert warned.endswith(
        "best.safetensors' is not an intact checkpoint: it is empty; the checkpoint of meta-step 30 is used"
    )


def test_killed_run_tells_what_is_saved(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    session = Session.start(SMALL, runs_dir=tmp_path / "killed")
    train_until(session, 7, lambda: session.submit(events.Checkpoint()))
    run = session.run
    lines = run.journal_path.read_bytes().splitlines(keepends=True)
    run.journal_path.write_bytes(lines[0])
    run.lock_path.unlink()  # the file records that the process released the run; a killed process does not do that
    reason = "the process was killed or crashed, and its newest checkpoint is from meta-step 30"
    assert (summarise(run).status, summarise(run).reason) == ("interrupted", reason)
    advice = f"resume it with metatui run --resume {run.path}"
    assert str(run.not_live_error()) == f"run '{run.id}' is not training: it is interrupted ({reason}); {advice}"
    (run.checkpoints_path / "last.safetensors").write_bytes(b"")
    assert evaluate(run).loss
    assert "last.safetensors' is not an intact checkpoint: it is empty; the checkpoint of" in caplog.text
    for path in run.checkpoints_path.iterdir():
        path.unlink()
    assert summarise(run).reason == "the process was killed or crashed, and it had saved no checkpoint"


@pytest.mark.parametrize("causes", [["SIGTERM"], [None], ["SIGTERM", None]])
def test_summary_tells_the_signal(causes: list[str | None], tmp_path: Path) -> None:
    """Check that the summary of an interrupted run names the signal that interrupted it, if there was one.

    If a scheduler sends a signal to both a suite and its run, the suite interrupts the run again but passes no cause.
    """
    session = Session.start(SMALL, runs_dir=tmp_path)

    def interrupt() -> None:
        for cause in causes:
            session.interrupt(cause)

    train_until(session, 3, interrupt)
    assert summarise(session.run).reason == (f"it received {causes[0]}" if causes[0] else None)


def test_change_before_a_stop_during_validation_is_kept(tmp_path: Path) -> None:
    def change_during_validation(session: Session, *commands: Command) -> RunFolder:
        for event in session:
            if isinstance(event, events.Evaluating) and event.iteration == 10:
                session.submit(Change("algorithm.inner_lr", 0.02))
                for command in commands:
                    session.submit(command)
        return session.run

    settings = change(SMALL, {"evaluation.tasks": 500})
    expected = change_during_validation(Session.start(settings, runs_dir=tmp_path))
    run = change_during_validation(Session.start(settings, runs_dir=tmp_path), Stop())
    assert (run.status(), journal_events(run)[-2:]) == ("stopped", [("tweaked", 10), ("stopped", 10)])
    list(Session.resume(run))
    assert metrics_of(run) == metrics_of(expected)
    assert run.evaluation().test.loss == expected.evaluation().test.loss  # type: ignore[union-attr]


def test_interrupt_saves_and_records_the_cause(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "FLUSH_AFTER", 0.0)
    session = Session.start(SMALL, runs_dir=tmp_path)
    for event in session:
        if isinstance(event, Progress):
            read = last_progress(session.run.metrics_path)
            assert read, "other processes can read the metrics during training"
            assert read.iteration == event.iteration
        if isinstance(event, Progress) and event.iteration == 7:
            assert is_held(session.run.lock_path)
            session.interrupt()
    assert session.outcome.status == session.run.status() == "interrupted"
    assert journal_events(session.run)[-1] == ("interrupted", 7)
    again = Session.resume(session.run)
    assert next(e.iteration for e in again if isinstance(e, Progress)) == 8


def test_stop_pause_and_resume_are_recorded(tmp_path: Path) -> None:
    session = Session.start(SMALL, runs_dir=tmp_path)
    for event in session:
        if isinstance(event, Progress) and event.iteration == 3:
            session.submit(Pause())
        if isinstance(event, events.Paused):
            assert session.run.status() == "paused"
            session.submit(Resume())
        if isinstance(event, Progress) and event.iteration == 5:
            session.submit(Stop())
    assert journal_events(session.run) == [("started", 0), ("paused", 3), ("resumed", 3), ("stopped", 5)]
    assert session.outcome.status == session.run.status() == "stopped"


def test_leaving_the_iteration_releases_the_run(tmp_path: Path) -> None:
    session = Session.start(SMALL, runs_dir=tmp_path)
    iteration = iter(session)
    next(iteration)
    iteration.close()
    assert session.run.status() == "interrupted"
    assert not session.run.is_live()


def test_leaving_a_finished_run_changes_nothing(tmp_path: Path) -> None:
    session = Session.start(SMALL, runs_dir=tmp_path)
    iteration = iter(session)
    while not isinstance(next(iteration), events.Finished):
        pass
    iteration.close()
    assert session.outcome.status == session.run.status() == "finished"


def test_interruption_of_the_test_keeps_the_training(tmp_path: Path) -> None:
    session = Session.start(change(SMALL, {"evaluation.test_tasks": 500}), runs_dir=tmp_path)
    for event in session:
        if isinstance(event, events.Evaluating) and event.split == "test":
            session.interrupt()
    assert (session.outcome.status, session.outcome.iteration, session.outcome.test) == ("interrupted", 30, None)
    again = Session.resume(session.run)
    assert not [e for e in again if isinstance(e, Progress)]
    assert (again.outcome.status, again.outcome.iteration) == ("finished", 30)
    assert again.outcome.test
    assert again.outcome.meta_loss == pytest.approx(session.outcome.meta_loss)
    assert again.outcome.tasks_per_second == pytest.approx(session.outcome.tasks_per_second)


def test_clock_in_1970_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: tuple[RunFolder, list[Event]]
) -> None:
    class Clock(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Clock:
            return cls(1970, 1, 1, 0, 0, 7, tzinfo=tz)

    monkeypatch.setattr("metatui.runs.storage.journal.datetime", Clock)
    session = Session.start(SMALL, runs_dir=tmp_path)
    for event in session:
        match event:
            case Progress(iteration=15):
                session.submit(Change("algorithm.inner_lr", 0.02))
            case Progress(iteration=20):
                session.interrupt()
    assert session.run.status() == "interrupted"
    resumed = Session.resume(session.run)
    assert resumed.settings.algorithm.inner_lr == 0.02
    train(resumed)
    assert session.run.status() == "finished"
    assert metrics_of(session.run) == metrics_of(whole[0])


def test_resume_drops_later_validations(tmp_path: Path) -> None:
    session = Session.start(SMALL, runs_dir=tmp_path)
    for event in session:
        if isinstance(event, Progress) and event.iteration == 5:
            session.submit(events.Checkpoint())
        if isinstance(event, events.Evaluated):
            break
    assert session.run.evaluation().best
    for kind in ("best", "previous"):
        (session.run.checkpoints_path / f"{kind}.safetensors").unlink(missing_ok=True)
    iteration = iter(Session.resume(session.run))
    for event in iteration:
        if isinstance(event, Progress):
            break
    assert event.iteration == 6
    assert next(e for e in iteration if isinstance(e, events.Evaluated)).best
    assert session.run.evaluation().best.iteration == 10  # type: ignore[union-attr]
    assert list(iteration)


def test_second_writer_is_refused(tmp_path: Path) -> None:
    session = Session.start(SMALL, runs_dir=tmp_path)
    iteration = iter(session)
    next(iteration)
    with pytest.raises(BadInput, match="is in use by this process"):
        Session.resume(session.run)
    assert len(list(iteration)) > 30
    assert session.run.status() == "finished"


def test_finished_run_resumes_only_for_more_steps(tmp_path: Path) -> None:
    run = Session.start(SMALL, runs_dir=tmp_path)
    list(run)
    with pytest.raises(BadInput, match=r"has finished all 30 meta-steps: resume it with a larger training\.iterations"):
        Session.resume(run.run)
    seen = list(Session.resume(run.run, {"training.iterations": 35}))
    reasons = [entry.details["engine_reason"] for entry in run.run.journal() if entry.event == "started"]
    assert reasons[0].startswith("measured ")
    assert reasons[1] == "as before the run was resumed"
    assert [e.iteration for e in seen if isinstance(e, Progress)] == [31, 32, 33, 34, 35]
    assert ("tweaked", 30) in journal_events(run.run)
    with pytest.raises(BadInput, match="has finished all 35 meta-steps"):
        Session.resume(run.run)
    assert run.run.settings() == SMALL


def test_resume_refuses_other_settings(tmp_path: Path) -> None:
    session = Session.start(SMALL, runs_dir=tmp_path)
    session.close()
    with pytest.raises(SettingsError, match=r"task\.shots cannot be changed when a run is resumed"):
        Session.resume(session.run, {"task.shots": 5})
    with pytest.raises(SettingsError, match=r"training\.iterations is 0, but must be"):
        Session.resume(session.run, {"training.iterations": 0})


def test_failed_start_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"compute\.device is 'cuda:99', but the available devices are"):
        Session.start(change(SMALL, {"compute.device": "cuda:99"}), runs_dir=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_failed_resume_changes_nothing(tmp_path: Path) -> None:
    session = Session.start(SMALL, runs_dir=tmp_path)
    for event in session:
        if isinstance(event, Progress) and event.iteration == 15:
            break
    before = metrics_of(session.run)
    with pytest.raises(BadInput, match=r"compute\.device is 'cuda:99'"):
        Session.resume(session.run, {"compute.device": "cuda:99"})
    assert metrics_of(session.run) == before
    assert len(before) == 15
    assert not session.run.is_live()


def test_crash_log_has_the_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(self: trainer.Trainer) -> Iterator[Event]:
        yield self._started()
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(trainer.Trainer, "events", crash)
    session = Session.start(SMALL, runs_dir=tmp_path)
    with pytest.raises(MetatuiError, match=r"unexpected error \(ZeroDivisionError\): the traceback is in .*crash\.log"):
        list(session)
    assert session.run.status() == session.outcome.status == "failed"
    assert "ZeroDivisionError: a bug" in session.run.crash_path.read_text()
    assert not session.run.is_live()


class FailingSave:
    """Replacement for `save_checkpoint` that fails while `fails` is true."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, number: int = errno.ENOSPC) -> None:
        self.fails = True
        self.asked = 0
        self._number = number
        monkeypatch.setattr(writer, "save_checkpoint", self._save)
        monkeypatch.setattr(session_module, "TRY_EVERY", 0.0)

    def _save(self, folder: Path, kind: str, state: TrainerState) -> None:
        self.asked += 1
        if self.fails:
            raise WriteRefusedError(folder / "x", OSError(self._number, os.strerror(self._number)))
        save_checkpoint(folder, kind, state)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO], ids=errno.errorcode.get)
def test_full_disk_pauses_the_run(
    number: int, whole: tuple[RunFolder, list[Event]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = FailingSave(monkeypatch, number)
    session = Session.start(SMALL, runs_dir=tmp_path)
    seen = []
    for event in session:
        seen.append(event)
        if isinstance(event, events.Paused):
            assert session.outcome.status == "paused"
            assert isinstance(seen[-2], events.Warned)
            assert f"{os.strerror(number).lower()}; training is waiting" in seen[-2].text
            assert save.asked == 1
            save.fails = False
        if isinstance(event, Progress) and event.iteration == 15:
            session.submit(Change("algorithm.inner_lr", 0.02))
    assert sum(isinstance(event, events.Resumed) for event in seen) == 1
    assert metrics_of(session.run) == metrics_of(whole[0])
    assert journal_events(session.run)[:4] == [("started", 0), ("evaluated", 10), ("warned", 10), ("noted", 10)]
    assert session.run.status() == session.outcome.status == "finished"


def test_stop_on_a_full_disk_reports_the_loss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save = FailingSave(monkeypatch)
    monkeypatch.setattr(session_module, "TRY_EVERY", 600.0)  # stopping must not wait for it
    session = Session.start(SMALL, runs_dir=tmp_path)
    seen = iter(session)
    while not isinstance(next(seen), events.Paused):
        pass
    assert activity_of(summarise(session.run)) == "waiting until its data can be written"
    threading.Timer(0.05, session.interrupt).start()
    lost = (
        r"stopped after meta-step 10, but checkpoint best of meta-step 10, journal\.jsonl could not be saved: .*no "
        "space left on device; the run can be resumed from its start"
    )
    with pytest.raises(MetatuiError, match=lost):
        list(seen)
    assert save.asked == 2
    assert session.outcome.status == session.run.status() == "interrupted"
    assert not session.run.is_live()
    reason = "the process ended, but could not write its last data, and it had saved no checkpoint"
    assert summarise(session.run).reason == reason
    save.fails = False
    assert isinstance(list(Session.resume(session.run))[-1], events.Finished)


def test_permanent_disk_error_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    FailingSave(monkeypatch, errno.ENOENT)
    session = Session.start(SMALL, runs_dir=tmp_path)
    with pytest.raises(MetatuiError, match="no such file or directory"):
        list(session)
    # It does not claim to wait for the disk.
    assert journal_events(session.run)[-2:] == [("evaluated", 10), ("failed", 10)]
    assert not session.run.crash_path.exists()
    assert [iteration for iteration, *_ in metrics_of(session.run)] == list(range(1, 11))


def test_run_that_was_taken_over_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Check that a run fails without changing its files if another machine has continued it.

    The other machine can get the lock of the run while this machine cannot reach the file server.
    """
    FailingSave(monkeypatch)
    session = Session.start(SMALL, runs_dir=tmp_path)
    files = (session.run.journal_path, session.run.metrics_path)
    iteration = iter(session)
    while not isinstance(next(iteration), events.Paused):
        pass
    session.run.lock_path.write_text('{"pid": 7, "host": "elsewhere"}')
    written = [path.write_text("line of the other process\n") for path in files]
    with pytest.raises(BadInput, match="was taken over by process 7 on 'elsewhere'"):
        list(iteration)
    assert written == [path.stat().st_size for path in files]
    assert session.outcome.status == "failed"


@pytest.mark.parametrize("then", ["deleted", "emptied", "moved", "created again"])
def test_run_ends_when_its_folder_is_gone(then: str, tmp_path: Path) -> None:
    session = Session.start(SMALL, runs_dir=tmp_path)
    moved, path = tmp_path / "moved", session.run.path

    def remove() -> None:
        path.rename(moved)
        if then in ("emptied", "created again"):
            path.mkdir()
        if then == "created again":
            for file in (session.run.settings_path, session.run.lock_path):
                shutil.copy(moved / file.name, file)
        if then != "moved":
            shutil.rmtree(moved)

    with pytest.raises(MetatuiError, match=r"ended after meta-step \d+, because its folder .* was deleted, moved or"):
        train_until(session, 5, remove)
    assert session.outcome.status == "failed"
    left = [file.name for file in path.rglob("*")] if path.exists() else []
    assert "adaptation.json" not in left
    if then == "moved":
        assert journal_events(RunFolder(moved))[-1] == ("failed", 10)


def test_deleted_lock_file_does_not_end_the_run(tmp_path: Path) -> None:
    session = Session.start(SMALL, runs_dir=tmp_path)
    train_until(session, 5, session.run.lock_path.unlink)
    assert session.run.status() == "finished"


def test_diverged_run_is_failed(tmp_path: Path) -> None:
    session = Session.start(
        change(SMALL, {"algorithm.inner_lr": 100.0, "algorithm.inner_steps": 200}), runs_dir=tmp_path
    )
    assert isinstance(list(session)[-1], events.Failed)
    assert session.run.status() == session.outcome.status == "failed"
    assert "lower algorithm.inner_lr" in (session.outcome.sentence or "")


def test_saved_runs_evaluate_with_other_protocols(whole: tuple[RunFolder, list[Event]]) -> None:
    run, _ = whole
    again = evaluate(run)
    assert again.loss == run.evaluation().test.loss  # type: ignore[union-attr]
    other = evaluate(run, split="val", tasks=4, steps=3, shots=2)
    assert (other.split, other.tasks, other.steps, other.shots) == ("val", 4, (0, 1, 2, 3), 2)
    assert [view.task for view in views(run, (2, 0))] == [2, 0]
    with pytest.raises(BadInput, match=r"evaluation\.inner_steps is 0, but must be"):
        evaluate(run, steps=0)
    with pytest.raises(
        BadInput, match=r"evaluation\.batch_norm is 'per_example', but the model of this run has no batch norm"
    ):
        evaluate(run, batch_norm="per_example")


def test_image_run_evaluates_in_both_batch_norm_modes(tmp_path: Path) -> None:
    glyphs = {"source": "glyphs", "ways": 3, "shots": 1, "queries": 2}
    small = {"filters": 4}, {"iterations": 2}, {"tasks": 2, "test_tasks": 3, "inner_steps": 1}
    settings = parse({"task": glyphs, **dict(zip(("model", "training", "evaluation"), small, strict=True))})
    session = Session.start(settings, runs_dir=tmp_path)
    list(session)
    modes = {mode: evaluate(session.run, batch_norm=mode) for mode in ("transductive", "per_example")}
    assert [result.batch_norm for result in modes.values()] == list(modes)
    assert modes["transductive"].loss != modes["per_example"].loss
    assert evaluate(session.run).loss == modes["transductive"].loss


def test_evaluation_needs_a_checkpoint(tmp_path: Path) -> None:
    run = RunStore(tmp_path).create(SMALL)
    with pytest.raises(BadInput, match="has no checkpoint yet"):
        evaluate(run)


def test_api_trains_and_evaluates(whole: tuple[RunFolder, list[Event]], tmp_path: Path) -> None:
    seen: list[Event] = []
    result = metatui.train(SMALL, on_event=seen.append, runs_dir=tmp_path)
    assert (result.status, result.iterations, result.accuracy) == ("finished", 30, None)
    assert result.run
    assert result.test == seen[-1].test  # type: ignore[union-attr]
    by_name = metatui.evaluate(result.run.id, runs_dir=tmp_path)
    assert result.test
    assert by_name.loss == result.test.loss
    unrecorded = metatui.train(SMALL, record=False)
    assert unrecorded.run is None
    assert unrecorded.test
    assert unrecorded.test.loss == result.test.loss
    assert len(RunStore(tmp_path).runs()) == 1


def test_api_releases_the_run_if_a_callback_fails(tmp_path: Path) -> None:
    def fail(event: Event) -> None:
        raise RuntimeError("an error of the callback")

    with pytest.raises(RuntimeError, match="an error of the callback"):
        metatui.train(SMALL, on_event=fail, runs_dir=tmp_path)
    (run,) = RunStore(tmp_path).runs()
    assert run.status() == "interrupted"
    assert not run.is_live()


def test_api_raises_the_error_of_training(tmp_path: Path) -> None:
    wild = change(SMALL, {"algorithm.inner_lr": 100.0, "algorithm.inner_steps": 200})
    with pytest.raises(MetatuiError, match=r"lower algorithm\.inner_lr"):
        metatui.train(wild, runs_dir=tmp_path)


def test_train_refuses_invalid_settings() -> None:
    invalid = SMALL.model_copy(update={"algorithm": SMALL.algorithm.model_copy(update={"inner_steps": 0})})
    with pytest.raises(BadInput, match=r"algorithm\.inner_steps is 0, but must be"):
        metatui.train(invalid, record=False)
    with pytest.raises(BadInput, match=r"settings is of type Preset, but must be metatui\.Settings"):
        metatui.train(metatui.load_preset("quick"), record=False)  # type: ignore[arg-type]
