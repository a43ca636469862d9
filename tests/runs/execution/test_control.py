"""Tests of viewers, which receive the events of a live run and control it without slowing it down."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from metatui import events
from metatui.config.fields import change
from metatui.config.settings import Settings
from metatui.events import Change, Event, Pause, Progress, Resume, Stop
from metatui.runs.execution.control import LiveRun, client
from metatui.runs.execution.control.sockets import socket_path
from metatui.runs.execution.session import Session
from metatui.runs.storage import writer
from metatui.runs.storage.run_folder import RunFolder
from metatui.utils.errors import MetatuiError
from tests.metrics import read_all

ENDLESS = change(
    Settings(),
    {
        "training.iterations": 1_000_000, "evaluation.every": 1_000_000, "evaluation.tasks": 5,
        "evaluation.test_tasks": 6, "evaluation.inner_steps": 2, "model.hidden": (8,), "compute.threads": 1,
        "compute.device": "cpu",
    },
)  # fmt: skip


class ThreadedSession:
    """Session that trains in a thread of this process."""

    def __init__(self, session: Session) -> None:
        self.run = session.run
        self.error: MetatuiError | None = None
        self._session = session
        self._thread = threading.Thread(target=self._train)
        self._thread.start()

    def _train(self) -> None:
        try:
            for _ in self._session:
                pass
        except MetatuiError as error:
            self.error = error

    def attach(self) -> LiveRun:
        """Wait until the run accepts viewers, and attach to it."""
        while not socket_path(self.run).exists():
            self._thread.join(0.01)
        return LiveRun.attach(self.run)

    def stop(self) -> None:
        self._session.submit(Stop())
        self._thread.join()


@pytest.fixture
def trained(tmp_path: Path) -> Iterator[ThreadedSession]:
    made = ThreadedSession(Session.start(ENDLESS, runs_dir=tmp_path))
    yield made
    made.stop()


def events_until(kind: type[Event], run: Iterator[Event]) -> list[Event]:
    """Return the events of `run` up to and including the first event of type `kind`."""
    seen = []
    for event in run:
        seen.append(event)
        if isinstance(event, kind):
            return seen
    pytest.fail(f"no {kind.__name__} event arrived")


def steps(seen: list[Event]) -> list[int]:
    return [event.iteration for event in seen if isinstance(event, Progress)]


def journal_events(run: RunFolder) -> list[str]:
    return [entry.event for entry in run.journal()]


def test_commands_are_executed_and_recorded(trained: ThreadedSession) -> None:
    live = trained.attach()
    assert (live.run.id, live.hello.phase) == (trained.run.id, "running")
    seen = iter(live)
    events_until(Progress, seen)
    live.submit(Change("algorithm.inner_lr", 0.02))
    live.submit(Pause())
    tweaked, paused = events_until(events.Tweaked, seen)[-1], events_until(events.Paused, seen)[-1]
    assert tweaked == events.Tweaked(paused.iteration, "algorithm.inner_lr", 0.01, 0.02)
    assert trained.run.status() == "paused"

    later = LiveRun.attach(trained.run)
    assert (later.hello.phase, later.hello.iteration) == ("paused", paused.iteration)
    assert later.hello.settings.algorithm.inner_lr == 0.02
    later.submit(Resume())
    assert steps(events_until(Progress, iter(later)))[0] > paused.iteration
    later.close()

    events_until(events.Resumed, seen)
    live.submit(events.Checkpoint())
    events_until(events.Checkpointed, seen)
    live.submit(events.Evaluate())
    events_until(events.Evaluated, seen)
    live.submit(Change("task.shots", 3))
    assert "task.shots cannot be changed during a run" in events_until(events.Warned, seen)[-1].text  # type: ignore[union-attr]
    live.submit(Stop())
    *_, finished = seen
    assert isinstance(finished, events.Finished)
    assert finished.reason == "stopped"
    assert not trained.run.is_live()
    assert journal_events(trained.run) == ["started", "tweaked", "paused", "resumed", "evaluated", "warned", "stopped"]


def test_two_viewers_see_the_same(trained: ThreadedSession) -> None:
    third = trained.attach()
    followed = iter(third)  # closing the iterator would close the connection
    events_until(Progress, followed)
    viewers = [iter(trained.attach()), iter(trained.attach())]
    seen = [events_until(Progress, viewer) for viewer in viewers]
    threads = [threading.Thread(target=seen[i].extend, args=(viewer,)) for i, viewer in enumerate(viewers)]
    for thread in threads:
        thread.start()
    third.submit(Change("algorithm.inner_lr", 0.02))
    third.submit(Stop())
    third.close()
    for thread in threads:
        thread.join()
    assert [e for e in seen[0] if not isinstance(e, Progress)] == [e for e in seen[1] if not isinstance(e, Progress)]
    assert isinstance(seen[0][-1], events.Finished)
    for each in seen:
        reached = steps(each)
        assert reached == list(range(reached[0], seen[0][-1].iteration + 1))


def test_stalled_viewers_lose_no_metrics(trained: ThreadedSession) -> None:
    frozen = [trained.attach() for _ in range(3)]
    live = trained.attach()
    seen = iter(live)
    while (events_until(Progress, seen)[-1]).iteration < 200:
        pass
    live.submit(Stop())
    finished = list(seen)[-1]
    assert [p.iteration for p in read_all(trained.run.metrics())] == list(range(1, finished.iteration + 1))
    for each in frozen:
        each.close()


def test_known_progress_is_skipped(trained: ThreadedSession) -> None:
    live = trained.attach()
    seen = iter(live)
    first = steps(events_until(Progress, seen))[-1]
    live.known(first + 100)  # read from disk in the meantime
    assert steps(events_until(Progress, seen)) == [first + 101]
    live.close()


def test_stop_during_validation(tmp_path: Path) -> None:
    settings = change(ENDLESS, {"evaluation.every": 5, "evaluation.tasks": 100_000})
    trained = ThreadedSession(Session.start(settings, runs_dir=tmp_path))
    live = trained.attach()
    seen = iter(live)
    assert live.hello.phase == "evaluating" or events_until(events.Evaluating, seen)
    later = LiveRun.attach(trained.run)
    assert later.hello.phase == "evaluating"
    later.submit(Stop())
    assert isinstance(list(later)[-1], events.Finished)
    assert not any(isinstance(event, events.Evaluated) for event in seen)
    assert trained.run.status() == "stopped"
    trained.stop()


def test_failure_is_reported_to_viewers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise MetatuiError("the disk is broken")

    trained = ThreadedSession(Session.start(ENDLESS, runs_dir=tmp_path))
    live = trained.attach()
    monkeypatch.setattr(writer.RunWriter, "record", full)
    *_, failed = live
    assert isinstance(failed, events.Failed)
    assert failed.sentence == "the disk is broken"
    trained.stop()
    assert str(trained.error) == "the disk is broken"


def test_close_does_not_affect_the_run(trained: ThreadedSession) -> None:
    live = trained.attach()
    seen: list[Event] = []
    thread = threading.Thread(target=seen.extend, args=(live,))
    thread.start()
    live.close()
    live.close()
    thread.join()
    live.submit(Stop())
    assert not any(isinstance(event, events.Finished | events.Failed) for event in seen)
    never = trained.attach()
    never.close()
    assert list(never) == []
    assert trained.run.is_live()


def test_missed_ending_is_read_from_disk(trained: ThreadedSession, monkeypatch: pytest.MonkeyPatch) -> None:
    live = trained.attach()
    monkeypatch.setattr(client, "read_report", lambda line: None)
    trained.stop()
    *_, finished = live
    assert isinstance(finished, events.Finished)
    assert finished.reason == "stopped"
    assert finished.iteration == trained.run.journal()[-1].iteration


def test_run_trains_without_a_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("socket.socket.bind", refused)
    session = Session.start(change(ENDLESS, {"training.iterations": 3}), runs_dir=tmp_path)
    warned = [event.text for event in session if isinstance(event, events.Warned)]
    assert len(warned) == 1
    assert "control.sock' cannot be created (operation not supported)" in warned[0]
    assert session.run.status() == "finished"
