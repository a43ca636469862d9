"""A run while it trains: the trainer's events, each on disk before anybody sees it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from metatui.config.fields import FIELDS, change
from metatui.config.schedule import Planned, PlannedChange, PlannedValidation, checked
from metatui.config.settings import Scalar, Settings
from metatui.events import Command, Event, Failed, Paused, Resume, Resumed, Stop, Tweaked, Warned
from metatui.learning.loading import load_libraries
from metatui.runs.execution.control.server import ControlServer
from metatui.runs.execution.replay_log import (
    FREE_ON_RESUME,
    ReplayedCommand,
    pin_compute,
    replay_log,
    settings_after,
    settings_before,
    undone,
)
from metatui.runs.execution.run_state import Outcome
from metatui.runs.execution.tensorboard import check_tensorboard
from metatui.runs.storage.checkpoints import newest_checkpoint
from metatui.runs.storage.journal import Entry, check_journal, last_status
from metatui.runs.storage.lock import RunLock
from metatui.runs.storage.metrics import last_progress
from metatui.runs.storage.run_folder import RunFolder
from metatui.runs.storage.store import RunStore, discard
from metatui.runs.storage.writer import RunWriter
from metatui.utils.errors import BadInput, MetatuiError, Problem, SettingsError, quote
from metatui.utils.files import WriteRefused

if TYPE_CHECKING:
    from metatui.learning.training.trainer_state import TrainerState

TRY_EVERY = 3.0
"""Seconds between looks whether the disk can be written again."""


class UnsavedStateError(MetatuiError):
    """The run was stopped while the disk refused what it had reached."""


class Session:
    """One run that trains in this process. Iterate it once, in one thread; `submit` from any."""

    def __init__(
        self,
        run: RunFolder,
        lock: RunLock,
        settings: Settings,
        *,
        state: TrainerState | None = None,
        changes: Sequence[Planned] = (),
        preset: str | None = None,
        origin: str | None = None,
    ) -> None:
        """`start` and `resume` make sessions. Nothing in the folder changes where the trainer refuses."""
        from metatui.learning.training.trainer import Trainer

        if settings.logging.tensorboard:
            check_tensorboard()  # before the data are looked at
        self.run = run
        self.outcome = Outcome()
        self.control = ControlServer(self)
        self._notes: list[Event] = []
        self._undone: list[PlannedChange] = []
        self._stirred: SimpleQueue[Command] = SimpleQueue()
        self._stopped = False
        # Written when the trainer says `Checkpointed`, which it does next: only between its events can the run wait.
        self._trainer = Trainer(
            settings, state=state, save=lambda kind, state: self._writer.save(kind, state), changes=changes
        )
        self._writer = RunWriter(
            run,
            lock,
            iteration=self._trainer.iteration,
            preset=preset,
            origin=origin,
            tensorboard=settings.logging.tensorboard,
        )
        if reached := last_progress(run.metrics_path):  # a resumed run may have no meta-step left to make
            self.outcome.see(reached)

    @property
    def run_id(self) -> str:
        return self.run.id

    @property
    def settings(self) -> Settings:
        """With every tweak so far."""
        return self._trainer.settings

    @classmethod
    def start(
        cls,
        settings: Settings,
        *,
        runs_dir: str | Path | None = None,
        preset: str | None = None,
        changes: Sequence[Planned] = (),
        origin: str | None = None,
    ) -> Session:
        """A new run, ready to be iterated.

        Args:
            preset: the name of what `settings` are from.
            changes: what is to be changed on the way, each after its meta-step (`Preset.changes`).
            origin: where the run comes from besides, such as another run that it repeats.

        Raises:
            BadInput: the device or the data set is not there, or a change is not possible; no folder is left behind.
            MetatuiError: the folder cannot be written.
        """
        load_libraries()
        changes = checked(changes, settings)
        run = RunStore(runs_dir).create(settings, preset=preset, changes=changes, origin=origin)
        with _locked(run) as lock:
            try:
                return cls(run, lock, settings, changes=changes, preset=preset, origin=origin)
            except BaseException:
                discard(run)
                raise

    @classmethod
    def resume(cls, run: RunFolder, changes: Mapping[str, Scalar] | None = None) -> Session:
        """Go on from the newest good checkpoint, or from the start where there is none yet.

        Tweaks in the journal are made again at their meta-steps, and what `auto` stood for stays, so that the run is
        the one that was interrupted.

        Args:
            changes: settings to have otherwise from here on: live ones, and where it is computed. What was to become of
                them later, planned or by tweaks after the checkpoint, is undone.

        Raises:
            BadInput: the run is over or being written by a process, a change is not possible, no checkpoint is whole,
                or the device or the data set is not there.
        """
        changes = _allowed(changes or {})
        load_libraries()
        with _locked(run) as lock:
            return cls._resumed(run, lock, changes)

    @classmethod
    def _resumed(cls, run: RunFolder, lock: RunLock, changes: Mapping[str, Scalar]) -> Session:
        first, journal = run.settings(), run.journal()
        check_journal(journal, run.journal_path)
        state, problems = newest_checkpoint(run.checkpoints_path)
        iteration = int(state.values["iteration"]) if state else 0
        items = replay_log(run.changes(), journal)
        if state:
            _add_best_settings(state, first, journal, items)
        settings = change(settings_after(first, journal, items, iteration), changes)
        if last_status(journal) == "finished" and iteration >= settings.training.iterations:
            raise BadInput(
                f"run {quote(run.id)} is finished after {iteration:,} meta-steps: resume it with a larger "
                "training.iterations, or start it anew"
            )
        ahead = deque(item.planned for item in items if item.planned.iteration >= iteration)
        validated = state.values.get("validated_at", -1) if state else -1
        while ahead and ahead[0] == PlannedValidation(validated):
            ahead.popleft()  # the checkpoint is from after it
        never = [planned for planned in ahead if isinstance(planned, PlannedChange) and planned.path in changes]
        before = settings_before(first, journal, items, iteration)
        differing = [path for path in changes if before.value(path) != settings.value(path)]
        live = [path for path in differing if FIELDS[path].live]
        plan = [planned for planned in ahead if planned not in never]
        plan += [PlannedChange(iteration, path, settings.value(path)) for path in live]
        how = {path: settings.value(path) for path in differing if path not in live}
        first_of_all = next((entry.details for entry in journal if entry.event == "started"), {})
        session = cls(
            run,
            lock,
            pin_compute(change(before, how), journal, but=changes),
            state=state,
            changes=sorted(plan, key=lambda planned: planned.iteration),
            preset=first_of_all.get("preset"),
            origin=first_of_all.get("origin"),
        )
        session._undone = never
        session._notes = [Warned(iteration, f"{problem}; an older checkpoint is used") for problem in problems]
        session._notes += [Tweaked(iteration, path, before.value(path), value) for path, value in how.items()]
        return session

    def submit(self, command: Command) -> None:
        """Tell the trainer what to do after the meta-step it is at."""
        self._trainer.submit(command)
        if isinstance(command, Stop | Resume):
            self._stopped |= isinstance(command, Stop)
            self._stirred.put(command)

    def interrupt(self, cause: str | None = None) -> None:
        """Finish the meta-step, save, and end as `interrupted`; the journal says the `cause`. Signal handlers may call
        it."""
        self._writer.cause = cause
        self.submit(Stop("interrupted"))

    def close(self) -> None:
        """Lets the run go. Only a session that is never iterated needs it."""
        self.control.close()
        self._writer.close()

    def __iter__(self) -> Generator[Event, None, None]:
        """Train. Every event is on disk when it is yielded; the run is let go when the iteration ends.

        Where the disk refuses for a reason that may pass, the run is paused (`Warned` and `Paused`, not yet on disk)
        until what it kept in memory is written, and then goes on.

        Raises:
            MetatuiError: the run was stopped while the disk refused, the disk refused for another reason, or the
                trainer failed unexpectedly: then crash.log in the run's folder has the traceback.
        """
        try:
            if problem := self.control.open():
                self._notes.append(Warned(self._trainer.iteration, problem))
            with closing(self._events()) as events:
                for event in events:
                    self.control.tell(event)
                    yield event
        except UnsavedStateError as error:
            self.outcome.status = "interrupted"
            self.control.tell(Failed(self.outcome.iteration, str(error)))
            raise
        except MetatuiError as error:
            self.outcome.status = "failed"
            self._writer.failed(str(error))
            self.control.tell(Failed(self.outcome.iteration, str(error)))
            raise
        except Exception as error:
            self.outcome.status = "failed"
            self._writer.crashed(error)
            sentence = (
                f"the run ended after meta-step {self.outcome.iteration} with an unexpected error "
                f"({type(error).__name__}): its traceback is in {self.run.crash_path}"
            )
            self.control.tell(Failed(self.outcome.iteration, sentence))
            raise MetatuiError(sentence) from error
        except BaseException as error:
            if self.outcome.status in ("running", "paused"):  # not where it was over when its iteration was left
                self.outcome.status = "interrupted"
                self._writer.interrupted(type(error).__name__)
            raise
        finally:
            self.close()

    def _events(self) -> Generator[Event, None, None]:
        for event in self._trainer.events():
            yield from self._recorded(event)
            # After Started, which opens the journal's new chapter.
            while self._undone:
                self._writer.note("undone", self._trainer.iteration, **undone(self._undone.pop(0)))
            while self._notes:
                yield from self._recorded(self._notes.pop(0))

    def _recorded(self, event: Event) -> Iterator[Event]:
        try:
            self._writer.record(event)
        except WriteRefused as refused:
            yield from self._waited(refused)
        self.outcome.see(event)
        yield event

    def _waited(self, refused: WriteRefused) -> Iterator[Event]:
        """Wait until what the disk refused is written. The trainer stands still meanwhile, so no more comes to it."""
        at, since, noted = self.outcome.iteration, time.monotonic(), False
        text = f"{refused}: training waits, keeps in memory what is not saved, and goes on when it is"
        self._writer.note("warned", at, text=text)
        yield from self._seen(Warned(at, text), Paused(at))
        while True:
            if not refused.passing:
                raise refused
            command = None
            with suppress(Empty):
                command = self._stirred.get(timeout=0 if self._stopped else TRY_EVERY)
            try:
                self._writer.try_again()
                if not noted:
                    noted = True
                    text = f"Everything could be written again after {time.monotonic() - since:.0f} s, nothing was lost"
                    self._writer.note("noted", at, text=text)
                    self._writer.catch_up()
            except WriteRefused as again:
                if self._stopped:
                    raise UnsavedStateError(self._what_is_lost(again)) from again
                if isinstance(command, Resume) or str(again) != str(refused):
                    yield from self._seen(Warned(at, f"{again}: training still waits"))
                refused = again
            else:
                yield from self._seen(Resumed(at))
                return

    def _seen(self, *events: Event) -> Iterator[Event]:
        for event in events:
            self.outcome.see(event)
            yield event

    def _what_is_lost(self, refused: WriteRefused) -> str:
        reached = self._writer.saved_at
        start = f"meta-step {reached:,}" if reached else "its start"
        return (
            f"the run was stopped after meta-step {self.outcome.iteration:,}, but {self._writer.unsaved()} could not "
            f"be saved: {refused}; it can be resumed from {start}"
        )


@contextmanager
def _locked(run: RunFolder) -> Iterator[RunLock]:
    """The run's lock, let go only where the session that takes it over does not come about."""
    lock = RunLock(run.lock_path)
    try:
        yield lock
    except BaseException:
        lock.release()
        raise


def saved_state(run: RunFolder) -> tuple[Settings, TrainerState]:
    """The newest good checkpoint, and the settings to evaluate it with.

    These are the settings of its training, including live changes, but with the adaptation settings of the best
    validation.

    Raises:
        BadInput: there is no complete checkpoint.
    """
    load_libraries()
    from metatui.learning.training.trainer_state import as_validated

    first, journal = run.settings(), run.journal()
    state, _ = newest_checkpoint(run.checkpoints_path)
    if state is None:
        raise BadInput(f"run {quote(run.id)} has no checkpoint yet")
    items = replay_log(run.changes(), journal)
    settings = settings_after(first, journal, items, int(state.values["iteration"]))
    _add_best_settings(state, first, journal, items)
    return as_validated(settings, state.values["best_settings"]), state


def _add_best_settings(
    state: TrainerState, first: Settings, journal: Sequence[Entry], items: Sequence[ReplayedCommand]
) -> None:
    """Add the live settings of the best validation to a checkpoint of a version that did not save them."""
    from metatui.learning.training.trainer_state import live_values

    if state.values.get("best") is None:
        state.values["best_settings"] = None
    elif state.values.get("best_settings") is None:
        best = int(state.values.get("best_iteration", 0))
        state.values["best_settings"] = live_values(settings_before(first, journal, items, best))


def _allowed(changes: Mapping[str, Scalar]) -> Mapping[str, Scalar]:
    for path in changes:
        knob = FIELDS[path]
        if not knob.live and knob.group not in FREE_ON_RESUME:
            live = ", ".join(name for name, k in FIELDS.items() if k.live)
            sentence = f"{path} cannot change when a run is resumed, but {live} and how it is computed can"
            raise SettingsError([Problem(path, sentence)])
    return changes
