"""The one run that is followed: what it is doing, and what may be asked of it. No widgets here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from metatui.config.settings import Scalar
from metatui.events import Change, Command, Event, Pause, Paused, Resume, Resumed, Started, Stop, Tweaked, Warned
from metatui.tui.actions import Phase
from metatui.tui.controllers.event_thread import SessionLike, Training
from metatui.tui.controllers.history import Step
from metatui.tui.controllers.run_model import LiveChange, Monitor


class Drained(NamedTuple):
    """What came in."""

    any: bool
    """Whether anything did, or what the run is doing is another."""
    events: Sequence[Event]
    """All but the meta-steps, which come by the thousand and are in the monitor."""


class Conductor:
    """Follows at most one run; others may go on in the background."""

    def __init__(self) -> None:
        self.phase = Phase.IDLE
        self._undoing: list[tuple[str, Scalar]] = []
        """Undo changes that the trainer has not made yet, as path and value."""
        self.training: Training | None = None
        self.monitor: Monitor | None = None
        """Of the run, also after its end; None before the first."""

    def begin(self, opening: Callable[[], SessionLike], monitor: Monitor, phase: Phase = Phase.STARTING) -> Training:
        """Follow the run that `opening` gives; `monitor` has what is known of it already."""
        if self.phase.active:
            raise RuntimeError("one run is followed at a time")
        self.training = Training(opening, monitor.smoother)
        self._undoing.clear()
        self.monitor = monitor
        self.phase = phase
        self.training.start()
        return self.training

    def leave(self) -> None:
        """Follow the run no longer. It goes on."""
        if self.training:
            self.training.leave()
        self.training = self.monitor = None
        self.phase = Phase.IDLE

    def submit(self, command: Command) -> None:
        """Tell the trainer; nothing happens where none is going on."""
        if self.training and self.phase.active:
            self.training.submit(command)

    def toggle_pause(self) -> None:
        if self.phase in (Phase.PAUSING, Phase.PAUSED):
            self.submit(Resume())
        else:
            self.submit(Pause())
            if self.phase is Phase.RUNNING:
                self.phase = Phase.PAUSING

    def stop(self, reason: str = "stopped") -> None:
        """End after this meta-step and save."""
        self.submit(Stop(reason))
        if self.phase.active:
            self.phase = Phase.STOPPING

    def change(self, path: str, value: Scalar) -> None:
        self.submit(Change(path, value))

    @property
    def undoable(self) -> LiveChange | None:
        """The newest live change that is not undone and has no undo pending."""
        holding = self.monitor.undoable if self.monitor and self.phase.active else []
        at = len(holding) - 1 - len(self._undoing)
        return holding[at] if at >= 0 else None

    def undo(self) -> LiveChange | None:
        """Undo the newest live change. Returns it; None if there is none."""
        change = self.undoable
        if change is not None:
            self._undoing.append((change.path, change.old))
            self.change(change.path, change.old)
        return change

    def drain(self) -> Drained:
        """Learn what happened since the last call; the phase and the monitor are up to date afterwards."""
        training, monitor = self.training, self.monitor
        if training is None or monitor is None:
            return Drained(False, [])
        before = self.phase, monitor.packed
        over = training.over.is_set()  # asked first: nothing is put after it is set
        events = training.mailbox.drain()
        if training.session:
            monitor.run_id = training.session.run.id
        monitor.packed = training.packed if training.session is None else None
        if monitor.packed and self.phase is Phase.STARTING:
            self.phase = Phase.PACKING
        steps: list[Step] = []
        others: list[Event] = []
        for event in events:
            if isinstance(event, Step):
                steps.append(event)
                continue
            monitor.take_steps(steps)
            monitor.take(event)
            self._follow(event)
            steps = []
            others.append(event)
        monitor.take_steps(steps)
        if over:
            self.phase = Phase.IDLE
            monitor.status = monitor.outcome
        return Drained(bool(events) or (self.phase, monitor.packed) != before, others)

    def _follow(self, event: Event) -> None:
        if self.phase is Phase.STOPPING:
            return
        match event:
            case Started() | Resumed():
                self.phase = Phase.RUNNING
            case Paused():
                self.phase = Phase.PAUSED
            case Tweaked(path=path, new=new) if (path, new) in self._undoing:
                self._undoing.remove((path, new))
            case Warned():  # a change may have been refused
                self._undoing.clear()
