"""Fake runs that send the events emitted by a test, and respond to commands like live runs."""

from __future__ import annotations

import asyncio
import math
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from queue import Queue

from textual.pilot import Pilot

from metatui.config.schedule import Planned
from metatui.config.settings import Settings
from metatui.events import (
    Change,
    Checkpoint,
    Checkpointed,
    Command,
    Curve,
    Evaluate,
    Evaluated,
    Evaluation,
    Event,
    Finished,
    ImageView,
    Pause,
    Paused,
    Progress,
    RegressionView,
    Resume,
    Resumed,
    Started,
    Stop,
    TaskView,
    Tweaked,
)
from metatui.runs.execution.control.messages import Hello
from metatui.runs.storage.journal import JournalWriter
from metatui.runs.storage.metrics import MetricsWriter
from metatui.runs.storage.result_files import AdaptationRecord, EvaluationRecord, write_record
from metatui.runs.storage.run_folder import RunFolder
from metatui.runs.storage.store import RunStore
from metatui.tui.app import MetatuiApp
from metatui.tui.controllers.sessions import Attached, Sessions
from metatui.tui.model.replay import Replay
from metatui.utils.errors import MetatuiError
from metatui.utils.progress import packing, stages


class FakeSession:
    """A fake connection to a live run. Tests call `emit` to send the events of the run."""

    def __init__(self, settings: Settings, run: RunFolder) -> None:
        self.settings = settings
        self.run = run
        self.run_id = run.id
        self.hello = Hello(
            protocol=1, run=run.id, pid=os.getpid(), host="", phase="running", iteration=0, settings=settings
        )
        self.followed = True
        self.commands: list[Command] = []
        self.iteration = 0
        self._events: Queue[Event | None] = Queue()
        if not run.is_run():  # otherwise the event is in the journal
            self._events.put(started_event(settings))

    def __iter__(self) -> Iterator[Event]:
        while (event := self._events.get()) is not None:
            yield event
            self._events.task_done()
        self._events.task_done()

    def submit(self, command: Command) -> None:
        self.commands.append(command)
        match command:
            case Pause():
                self._events.put(Paused(self.iteration))
            case Resume():
                self._events.put(Resumed(self.iteration))
            case Checkpoint():
                self._events.put(Checkpointed(self.iteration, "last"))
            case Evaluate():
                self._events.put(Evaluated(evaluation(self.settings, self.iteration), views(self.settings), best=True))
            case Change(path, value):
                self._events.put(Tweaked(self.iteration, path, self.settings.value(path), value))
            case Stop(reason):
                self.end(Finished(self.iteration, reason, 1.0, None))

    def close(self) -> None:
        self.followed = False
        self._events.put(None)

    def emit(self, *events: Event) -> None:
        for event in events:
            self.iteration = getattr(event, "iteration", self.iteration)
            self._events.put(event)

    def end(self, *events: Event) -> None:
        """Send `events`, and end the run."""
        self.emit(*events)
        self._events.put(None)

    async def wait_until_shown(self, app: MetatuiApp, pilot: Pilot[None]) -> None:
        """Wait until the app has received and shown all events that were sent."""
        await asyncio.to_thread(self._events.join)
        app.run_controller.update()
        await pilot.pause()

    async def wait_until_ended(self, app: MetatuiApp, pilot: Pilot[None]) -> None:
        """Wait until the app has processed the end of the run."""
        assert app.run_controller.client.receiver is not None
        await asyncio.to_thread(app.run_controller.client.receiver.over.wait)
        app.run_controller.update()
        await app.workers.wait_for_complete()
        await pilot.pause()


class FakeStartingRun:
    """A fake run that starts: it begins to train at once, or it measures engines until it is stopped."""

    def __init__(self, session: FakeSession | None = None) -> None:
        """Create the run. Without a session, it never begins to train."""
        self._session = session
        self.measuring, self._stopped = threading.Event(), threading.Event()

    def stop(self) -> None:
        self._stopped.set()

    def wait(self) -> FakeSession:
        if self._session:
            return self._session
        stages.report("measuring engines: loop (2 of 2)")
        self.measuring.set()
        self._stopped.wait()
        raise MetatuiError("interrupted before training began")


class FakeSessions(Sessions):
    """Replacement for `Sessions` that creates fake sessions and records calls."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.root = root
        self.started: list[tuple[Settings, str | None]] = []
        self.resumed: list[str] = []
        self.changes: tuple[Planned, ...] = ()
        """Scheduled changes that were passed to the last call of `start`."""
        self.attached: list[str] = []
        self.stopped: list[str] = []
        self.session: FakeSession | None = None
        """The most recently created session, if any."""
        self.error: Exception | None = None
        self.closed = False
        self.packing: Sequence[tuple[int, int]] | None = None
        """Pairs (images done, total) that `start` reports as the progress of packing images. Then `start` sets `packed`
        and waits for `may_train`. With an empty sequence, it reports nothing. With None, it does not wait either.
        """
        self.packed, self.may_train = threading.Event(), threading.Event()
        self.starting: FakeStartingRun | None = None
        """Run that `start` returns. If it is None, `start` returns a run that begins to train at once."""

    def start(self, settings: Settings, preset: str | None, changes: Sequence[Planned] = ()) -> FakeStartingRun:
        self.started.append((settings, preset))
        self.changes = tuple(changes)
        if self.error:
            raise self.error
        if self.starting:
            return self.starting
        if self.packing is not None:
            for done, total in self.packing:
                packing.report(done, total)
            self.packed.set()
            self.may_train.wait()
        self.session = FakeSession(settings, RunFolder(self.root / "maml-sinusoid-20260102-030405"))
        return FakeStartingRun(self.session)

    def resume(self, run_id: str) -> FakeStartingRun:
        self.resumed.append(run_id)
        self.session = FakeSession(Settings(), RunFolder(self.root / run_id))
        self.session.emit(started_event(Settings()))
        return FakeStartingRun(self.session)

    def attach(self, run: RunFolder) -> Attached:
        self.attached.append(run.id)
        if self.error:
            raise self.error
        model = Replay(run).read()
        model.reopen(model.settings)
        self.session = FakeSession(model.settings, run)
        return Attached(self.session, model, {})

    def stop(self, run: RunFolder) -> None:
        if self.error:
            raise self.error
        self.stopped.append(run.id)

    def views(self, run_id: str, tasks: int) -> tuple[TaskView, ...]:
        return views(Settings())[:tasks]

    def close(self) -> None:
        self.closed = True


def started_event(settings: Settings, iteration: int = 0) -> Started:
    return Started(settings, "cpu", "a fake CPU", "batched", "all tasks at once", 1761, iteration)


def progress(iteration: int, settings: Settings | None = None) -> Progress:
    """Return the progress of a meta-step in a fake run that learns and performs ten meta-steps per second."""
    loss = 0.3 + 3 * math.exp(-iteration / 200) + 0.2 * math.sin(iteration)
    accuracy = 1 - loss / 5 if settings and settings.is_classification else None
    return Progress(iteration, loss, accuracy, loss + 1, 1 / loss, 0.001, 4 * iteration, iteration / 10)


def evaluation(settings: Settings, iteration: int, split: str = "val") -> Evaluation:
    loss = Curve((3.0, 0.9, 0.5), (0.4, 0.2, 0.1))
    images = settings.is_classification
    return Evaluation(
        split=split, tasks=100, shots=settings.evaluation_shots, queries=settings.task.queries,
        ways=settings.task.ways if images else None, batch_norm="transductive" if images else None,
        iteration=iteration, steps=(0, 1, 2), loss=loss,
        accuracy=Curve((0.2, 0.7, 0.9), (0.01, 0.02, 0.01)) if images else None, seconds=1.0,
    )  # fmt: skip


def views(settings: Settings) -> tuple[TaskView, ...]:
    return tuple(_image(task) if settings.is_classification else _sinusoid(task) for task in range(3))


def _sinusoid(task: int) -> RegressionView:
    grid = tuple(-5 + x / 4 for x in range(41))
    truth = tuple((task + 1) * math.sin(x) for x in grid)
    some = grid[::8]
    return RegressionView(
        task, f"A = {task + 1}, φ = 0", some, tuple((task + 1) * math.sin(x) for x in some), grid, truth,
        tuple(tuple(y * step / 2 for y in truth) for step in range(3)), (3.0, 0.9, 0.5),
    )  # fmt: skip


def _image(task: int) -> ImageView:
    drawings = tuple(bytes(255 * ((row + label * column) % 7 == 0) for row in range(28) for column in range(28))
                     for label in range(5))  # fmt: skip
    return ImageView(
        task, "five classes", 28, 28, drawings, (0, 1, 2, 3, 4), drawings, (0, 1, 2, 3, 4),
        ((0, 0, 0, 0, 0), (0, 1, 2, 2, 4), (0, 1, 2, 3, 4)), (0.2, 0.8, 1.0), (3.0, 0.9, 0.5),
    )  # fmt: skip


def saved_run(
    root: Path, settings: Settings, *, name: str, steps: int = 50, test: bool = True, preset: str | None = None
) -> RunFolder:
    """Create the folder of a run that trained for `steps` meta-steps.

    If `test` is true, the run is finished and has a test result. Otherwise, it was stopped.
    """
    run = RunFolder(root / name)
    RunStore(root).create(settings).path.rename(run.path)
    journal, metrics = JournalWriter(run.journal_path), MetricsWriter(run.metrics_path, after=0)
    journal.record(
        "started", 0, device="cpu", device_name="a fake CPU", engine="batched", parameters=1761, preset=preset
    )
    for iteration in range(1, steps + 1):
        metrics.append(progress(iteration, settings))
    best = evaluation(settings, steps)
    journal.record("evaluated", steps, best=True, loss=0.5, accuracy=None, tasks=100)
    journal.record("finished" if test else "stopped", steps, reason="iterations" if test else "stopped")
    for writer in (journal, metrics):
        writer.close()
    record = EvaluationRecord(validation=best, best=best, test=evaluation(settings, steps, "test") if test else None)
    write_record(run.evaluation_path, record)
    write_record(run.adaptation_path, AdaptationRecord(iteration=steps, split="test", views=views(settings)))
    return run


async def wait_for_workers(app: MetatuiApp, pilot: Pilot[None]) -> None:
    """Wait until the app's workers have ended, and their results are shown."""
    await app.workers.wait_for_complete()
    await pilot.pause()


async def start_run(app: MetatuiApp, pilot: Pilot[None], sessions: FakeSessions) -> FakeSession:
    """Press F5 to start a run, wait until the app has shown the run's first events, and return the run's session."""
    await pilot.press("f5")
    await pilot.pause()
    assert sessions.session is not None
    await sessions.session.wait_until_shown(app, pilot)
    return sessions.session
