"""Connection to the run that the app is following: sends commands, and receives events in a thread."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from queue import Empty, Full, Queue
from typing import TYPE_CHECKING, NamedTuple

from metatui.config.declarations import Scalar
from metatui.events import (
    Change,
    Command,
    Died,
    Evaluated,
    Event,
    Failed,
    Hinted,
    Noted,
    Pause,
    Paused,
    Progress,
    Resume,
    Resumed,
    Started,
    Stop,
    Tweaked,
    Warned,
)
from metatui.runs.formatting import target_scales
from metatui.tui.controllers.sessions import Attached, FollowedRun, OpenRun, StartingRun
from metatui.tui.keyboard.actions import Phase, with_keys
from metatui.tui.model.history import Step
from metatui.tui.model.run_model import LOADING, LiveChange, RunModel
from metatui.utils import paths
from metatui.utils.errors import MetatuiError
from metatui.utils.progress import packing, stages

# Imported in the function that uses it, because the first frame does not need it.
if TYPE_CHECKING:
    from metatui.tui.model.smoothing import Smoother

log = logging.getLogger(__name__)

JOURNAL_NAMES: Mapping[type[Event], str] = {
    Evaluated: "evaluated",
    Hinted: "hinted",
    Noted: "noted",
    Paused: "paused",
    Resumed: "resumed",
    Tweaked: "tweaked",
    Warned: "warned",
}
"""Types of the events that a run both sends to the app and writes to its journal, with their names in the journal."""

QUEUE_SIZE = 8192
"""Capacity of the event queue. When it is full, the thread stops reading. The run's process then omits meta-steps
from the events that it sends, and the app reads these meta-steps from metrics.jsonl later."""


class Receiver:
    """A thread that connects to a run and puts its events into a queue.

    Commands that are submitted before the connection is open are sent when it opens.

    The thread does not access the app.
    """

    def __init__(
        self,
        open_run: OpenRun,
        smoother: Smoother | None,
        written: Mapping[tuple[str, int], int],
    ) -> None:
        """Start the thread.

        Args:
            smoother: smoother that has already averaged the known meta-steps, or None to create a new one.
            written: see `Attached.written`.
        """
        self.queue: Queue[Event | Step] = Queue(QUEUE_SIZE)
        self.opened = threading.Event()
        """Set when the run is training or could not be opened."""
        self.over = threading.Event()
        """Set when no more events will be queued, because the run has ended or the app has stopped following it."""
        self.packed: tuple[int, int] | None = None
        """Numbers of images packed so far and in total, while images are packed before training, otherwise None."""
        self.stage = LOADING
        """Current step of the preparation for training."""
        self.targets = ""
        """Unit of the losses (see `target_scales`)."""
        self.run: FollowedRun | None = None
        """The run, or None until it is training."""
        self._starting: StartingRun | None = None
        self._open_run = open_run
        self._smoother, self._written = smoother, Counter(written)
        self._lock = threading.Lock()
        self._waiting: list[Command] = []
        self._left = False
        # A daemon thread does not keep this process alive; the run continues without this process.
        threading.Thread(target=self._receive, name="receiver", daemon=True).start()

    def submit(self, command: Command) -> None:
        """Send a command to the trainer. A `Stop` immediately ends a run that is not training yet."""
        with self._lock:
            if self.run:
                self.run.submit(command)
                return
            self._waiting.append(command)
            if self._starting and isinstance(command, Stop):
                self._starting.stop()

    @property
    def stopped_early(self) -> bool:
        """True if the run was stopped before training began. This is known only after `over` has been set."""
        return self.run is None and self._has_stop()

    def _has_stop(self) -> bool:
        return any(isinstance(command, Stop) for command in self._waiting)

    def leave(self) -> None:
        """Stop following the run. The run continues or, if it has not started yet, still starts."""
        with self._lock:
            self._left = True
            if self.run:
                self.run.close()

    def _receive(self) -> None:
        try:
            self._follow()
        except MetatuiError as error:
            if not self.stopped_early:
                self._put(Failed(0, str(error)))
        except Exception as error:
            log.exception("failed to follow a run")
            why = f"an internal error ({type(error).__name__}): see {paths.log_file()}"
            self._put(Failed(0, f"metatui cannot follow the run because of {why}"))
        finally:
            self.opened.set()
            self.over.set()

    def _follow(self) -> None:
        from metatui.tui.model.smoothing import Smoother

        with packing.listener(self._receive_packed), stages.listener(self._receive_stage):
            run = self._open()
        with self._lock:
            self.run = run
            for command in self._waiting:
                run.submit(command)
            if self._left:
                run.close()
        self.opened.set()
        smoother = self._smoother or Smoother(run.run.metrics_path)
        for event in run:
            if isinstance(event, Progress):
                for step in smoother.follow(event):
                    self._put(step)
            elif isinstance(event, Died):
                self._put(
                    replace(event, sentence=event.sentence + with_keys(": {pause} in the work tab resumes the run"))
                )
            elif not self._is_known(event):
                if isinstance(event, Evaluated) and not self.targets:  # at the start, the schema may not exist yet
                    self.targets = target_scales(run.run)
                self._put(event)

    def _open(self) -> FollowedRun:
        opened = self._open_run()
        if not isinstance(opened, StartingRun):
            return opened
        with self._lock:
            self._starting = opened
            if self._has_stop():
                opened.stop()
        return opened.wait()

    def _is_known(self, event: Event) -> bool:
        """Return whether the event was already read from the journal. Each journal entry matches only one event."""
        key = JOURNAL_NAMES.get(type(event), ""), event.iteration
        known = self._written[key] > 0
        self._written[key] -= known
        return known

    def _put(self, item: Event | Step) -> None:
        while not self._left:
            try:
                self.queue.put(item, timeout=0.5)
            except Full:
                continue
            return

    def _receive_packed(self, done: int, total: int) -> None:
        self.packed = done, total

    def _receive_stage(self, stage: str) -> None:
        self.stage, self.packed = stage, None


class Drained(NamedTuple):
    """Result of `RunClient.drain`."""

    changed: bool
    """True if there were events, or the phase changed."""
    events: list[Event]
    """All events except meta-steps."""


class RunClient:
    """Follows at most one run: sends commands to it, and updates a model of it with the events that it sends."""

    def __init__(self) -> None:
        self.phase = Phase.IDLE
        self.receiver: Receiver | None = None
        self.model: RunModel | None = None
        """Model of the run, which is kept after the run ends, or None before the first run."""
        self.stop_requested = False
        """Whether `stop` was called for the run."""
        self._pauses_at_start = False
        """Whether the run will pause as soon as it has started."""
        self._undoing: list[tuple[str, Scalar]] = []
        """Path and restored value of each requested undo that the trainer has not applied yet."""

    def begin(self, open_run: OpenRun, model: RunModel, attached: Attached | None = None) -> None:
        """Call `open_run` in a thread, and receive the events of the run that it returns.

        Args:
            model: known state of the run.
            attached: the run and its state if it is already training, or None if `open_run` starts or resumes it.
        """
        if self.phase.active:
            raise RuntimeError("only one run can be followed at a time")
        self._undoing.clear()
        self.model, self.phase, self.stop_requested = model, Phase.STARTING, False
        self._pauses_at_start = False
        if attached:
            self.phase = Phase.PAUSED if attached.session.hello.phase == "paused" else Phase.RUNNING
        self.receiver = Receiver(open_run, model.smoother, attached.written if attached else {})

    def leave(self) -> None:
        """Stop following the run, which continues."""
        if self.receiver:
            self.receiver.leave()
        self.receiver = self.model = None
        self.phase = Phase.IDLE

    def submit(self, command: Command) -> None:
        """Send a command to the trainer. Do nothing if the app follows no run."""
        if self.receiver and self.phase.active:
            self.receiver.submit(command)

    @property
    def pausing(self) -> bool:
        """True if the run is paused, or will pause after this meta-step or as soon as it has started."""
        if self.phase in (Phase.STARTING, Phase.PACKING):
            return self._pauses_at_start
        return self.phase in (Phase.PAUSING, Phase.PAUSED)

    def toggle_pause(self) -> None:
        pausing = self.pausing
        self.submit(Resume() if pausing else Pause())
        if self.phase in (Phase.STARTING, Phase.PACKING):
            self._pauses_at_start = not pausing
        elif self.phase is Phase.RUNNING:
            self.phase = Phase.PAUSING

    def stop(self) -> None:
        """End the run after this meta-step and save it."""
        self.submit(Stop())
        if self.phase.active:
            self.phase, self.stop_requested = Phase.STOPPING, True

    def change(self, path: str, value: Scalar) -> None:
        """Change a live setting from the next meta-step on."""
        self.submit(Change(path, value))

    @property
    def undoable(self) -> LiveChange | None:
        """The newest live change for which no undo has been requested, or None if there is no such change."""
        undoable = self.model.undoable if self.model and self.phase.active else []
        last = len(undoable) - 1 - len(self._undoing)
        return undoable[last] if last >= 0 else None

    def undo(self) -> LiveChange | None:
        """Undo the newest live change and return it. If there is no such change, return None."""
        change = self.undoable
        if change is not None:
            self._undoing.append((change.path, change.old))
            self.change(change.path, change.old)
        return change

    def drain(self) -> Drained:
        """Update the phase and the model with the events received since the last call."""
        receiver, model = self.receiver, self.model
        if receiver is None or model is None:
            return Drained(False, [])
        before = self.phase, model.packed, model.stage
        over = receiver.over.is_set()  # read before the queue, since nothing is queued after `over` is set
        if receiver.run:
            model.run_id = receiver.run.run.id
            model.targets = receiver.targets or model.targets
        model.packed = receiver.packed if receiver.run is None else None
        model.stage = receiver.stage
        if self.phase in (Phase.STARTING, Phase.PACKING):
            self.phase = Phase.PACKING if model.packed else Phase.STARTING
        steps: list[Step] = []
        events: list[Event] = []
        taken = 0
        while True:
            try:
                item = receiver.queue.get_nowait()
            except Empty:
                break
            taken += 1
            if isinstance(item, Step):
                steps.append(item)
                continue
            model.add_steps(steps)
            model.add_event(item)
            self._update(item)
            steps = []
            events.append(item)
        model.add_steps(steps)
        if over:
            self.phase = Phase.IDLE
            model.status = "Stopped" if receiver.stopped_early else model.outcome
        return Drained(bool(taken) or (self.phase, model.packed, model.stage) != before, events)

    def _update(self, event: Event) -> None:
        if self.phase is Phase.STOPPING:
            return
        match event:
            case Started() if self._pauses_at_start:
                self.phase = Phase.PAUSING
            case Started() | Resumed():
                self.phase = Phase.RUNNING
            case Paused():
                self.phase = Phase.PAUSED
            case Tweaked(path=path, new=new) if (path, new) in self._undoing:
                self._undoing.remove((path, new))
            case Warned():  # a change may have been refused
                self._undoing.clear()
