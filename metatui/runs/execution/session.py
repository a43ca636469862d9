"""Session of a run that trains in this process. Every event is recorded before it is yielded."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from metatui.config.declarations import Scalar
from metatui.config.fields import FIELDS, change
from metatui.config.plugins import plugin_failure
from metatui.config.schedule import Planned, PlannedChange, PlannedValidation, checked
from metatui.config.settings import Settings
from metatui.events import Command, Event, Failed, Paused, Resume, Resumed, Started, Stop, Tweaked, Warned
from metatui.learning.hardware.loading import load_libraries
from metatui.runs.execution.control.server import ControlServer
from metatui.runs.execution.run_log import FREE_ON_RESUME, RunLog, pin_compute
from metatui.runs.execution.run_state import Outcome
from metatui.runs.execution.signals import sigterm_is_handled
from metatui.runs.storage.checkpoints import newest_checkpoint
from metatui.runs.storage.commands import undone_details
from metatui.runs.storage.journal import check_journal, last_status
from metatui.runs.storage.lock import RunLock
from metatui.runs.storage.metrics import last_progress
from metatui.runs.storage.run_folder import RunFolder
from metatui.runs.storage.store import RunStore, discard
from metatui.runs.storage.tensorboard import check_tensorboard
from metatui.runs.storage.writer import RunWriter
from metatui.utils.errors import BadInput, MetatuiError, Problem, SettingsError, quote
from metatui.utils.files import WriteRefusedError

if TYPE_CHECKING:
    from metatui.learning.training.trainer_state import TrainerState

logger = logging.getLogger(__name__)

TRY_EVERY = 3.0
"""Seconds between attempts to write after the disk refused a write."""


class UnsavedStateError(MetatuiError):
    """Raised when a run is stopped but its state cannot be saved to disk."""


class Session:
    """A run that trains in this process. Iterate over it once, in one thread; `submit` is thread-safe."""

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
        """Create the trainer, then open the run's files. `start` and `resume` call this method.

        If the trainer cannot be created, the folder is unchanged.
        """
        from metatui.learning.training.trainer import Trainer

        if settings.logging.tensorboard:
            check_tensorboard()  # before loading data
        self.run = run
        self.outcome = Outcome()
        self.control = ControlServer(self)
        self._notes: list[Event] = []
        """Warnings and changes to record and yield after the trainer's first event, `Started`."""
        self._undone: list[PlannedChange] = []
        """Scheduled changes that are dropped when the run is resumed, because new values were requested."""
        self._keeps_engine = False
        """Whether the engine is the one that `auto` selected before the run was resumed."""
        # Only queue the checkpoint: it is written with the trainer's next event, Checkpointed, where the run can wait
        # for the disk.
        self.trainer = Trainer(
            settings, state=state, save=lambda kind, state: self._writer.save(kind, state), changes=changes
        )
        self._writer = RunWriter(
            run,
            lock,
            iteration=self.trainer.iteration,
            preset=preset,
            origin=origin,
            tensorboard=settings.logging.tensorboard,
            data=self.trainer.experiment.source.schema,
        )
        if reached := last_progress(run.metrics_path):  # a resumed run may have no meta-steps left
            self.outcome.update(reached)

    @property
    def settings(self) -> Settings:
        """Current settings, including live changes."""
        return self.trainer.settings

    @classmethod
    def start(
        cls,
        settings: Settings,
        *,
        runs_dir: str | Path | None = None,
        preset: str | None = None,
        changes: Sequence[Planned] = (),
        origin: str | None = None,
        created: datetime | None = None,
    ) -> Session:
        """Create a run and its session.

        Args:
            preset: name of the preset from which `settings` come.
            changes: scheduled changes, each applied after its meta-step (`Preset.changes`).
            origin: origin of the run if its settings do not come from a preset: for example, the run that is repeated.
            created: time in the name of the run, in UTC; by default, the current time.

        Raises:
            BadInput: if the device or the data set is not available, or a change is not possible; no folder is created.
            MetatuiError: if the folder cannot be written.
        """
        load_libraries()
        changes = checked(changes, settings)
        run = RunStore(runs_dir).create(settings, preset=preset, changes=changes, origin=origin, created=created)
        with _locked(run) as lock:
            try:
                return cls(run, lock, settings, changes=changes, preset=preset, origin=origin)
            except BaseException:
                discard(run)
                raise

    @classmethod
    def resume(cls, run: RunFolder, changes: Mapping[str, Scalar] | None = None) -> Session:
        """Resume from the newest intact checkpoint, or start over if no checkpoint was saved.

        Live changes in the journal are repeated at their meta-steps, and settings that were `auto` keep their resolved
        values, so the results are the same as without the interruption.

        Args:
            changes: live or compute settings to change. They replace all changes to the same settings that were
                scheduled for, or made at, meta-steps after the checkpoint.

        Raises:
            BadInput: if the run has completed all its meta-steps or is still being trained, a change is not possible,
                no checkpoint is intact, or the device or the data set is not available.
        """
        changes = _allowed(changes or {})
        load_libraries()
        with _locked(run) as lock:
            return cls._resumed(run, lock, changes)

    @classmethod
    def _resumed(cls, run: RunFolder, lock: RunLock, changes: Mapping[str, Scalar]) -> Session:
        log = RunLog.read(run)
        check_journal(log.journal, run.journal_path)
        state, problems = newest_checkpoint(run.checkpoints_path)
        if state:
            _add_best_settings(state, log)
        plan = _plan_resume(log, state, changes)
        if last_status(log.journal) == "finished" and plan.iteration >= plan.settings.training.iterations:
            raise BadInput(
                f"run {quote(run.id)} has finished all {plan.iteration:,} meta-steps: resume it with a larger "
                "training.iterations, or start a new run"
            )
        resumed = change(plan.before, plan.compute)
        pinned = pin_compute(resumed, log.journal, but=changes)
        session = cls(
            run,
            lock,
            pinned,
            state=state,
            changes=plan.commands,
            preset=log.started.get("preset"),
            origin=log.started.get("origin"),
        )
        session._keeps_engine = pinned.compute.engine != resumed.compute.engine
        session._undone = plan.undone
        session._notes = [
            Warned(plan.iteration, f"{problem}; the checkpoint of meta-step {plan.iteration:,} is used")
            for problem in problems
        ]
        session._notes += [
            Tweaked(plan.iteration, path, plan.before.value(path), value) for path, value in plan.compute.items()
        ]
        return session

    def submit(self, command: Command) -> None:
        """Submit a command. The trainer executes it after the current meta-step."""
        self.trainer.submit(command)

    def interrupt(self, cause: str | None = None) -> None:
        """Finish the meta-step, save the run and end it with the status `interrupted`, recording `cause`.

        Signal handlers may call this method.
        """
        self._writer.cause = self._writer.cause or cause
        self.submit(Stop("interrupted"))

    def close(self) -> None:
        """Release the run. This is only needed if the session is never iterated over."""
        self.control.close()
        self._writer.close()

    def __iter__(self) -> Generator[Event, None, None]:
        """Train, and yield the events. Each is on disk when it is yielded, except the metrics of fast meta-steps, which
        are written together.

        The run is released when the iteration ends.

        If the disk refuses a write for a reason that may be temporary, the run pauses (events `Warned` and `Paused`,
        not yet on disk) until all data are written, and then continues.

        Raises:
            MetatuiError: if the run was stopped while the disk refused writes, a write failed permanently, or the
                trainer failed unexpectedly; in the last case, crash.log in the run folder contains the traceback.
        """
        try:
            if problem := self.control.open():
                self._notes.append(Warned(self.trainer.iteration, problem))
            with closing(self._events()) as events:
                for event in events:
                    self.control.send(event)
                    yield event
        except Exception as error:
            failure = self._record_failure(error)
            self.control.send(Failed(self.outcome.iteration, str(failure)))
            if failure is error:
                raise
            raise failure from error
        except BaseException as error:
            if self.outcome.status in (
                "running",
                "paused",
            ):  # otherwise, the run ended before the iteration
                self.outcome.status = "interrupted"
                self._writer.interrupted(type(error).__name__)
            raise
        finally:
            self.close()

    def _record_failure(self, error: Exception) -> MetatuiError:
        """Record how the run ended, and return the error to raise."""
        if isinstance(error, UnsavedStateError):
            self.outcome.status = "interrupted"
            return error
        self.outcome.status = "failed"
        if isinstance(error, MetatuiError):
            self._writer.failed(str(error))
            return error
        self._writer.crashed(error)
        what = plugin_failure(error)
        cause = f"because {what}" if what else f"with an unexpected error ({type(error).__name__})"
        return MetatuiError(
            f"the run ended after meta-step {self.outcome.iteration} {cause}: the traceback is in {self.run.crash_path}"
        )

    def _events(self) -> Generator[Event, None, None]:
        for event in self.trainer.events():
            if isinstance(event, Started) and self._keeps_engine:  # otherwise, the reason would be `as set`
                event = replace(event, engine_reason="as before the run was resumed")
            yield from self._recorded(event)
            # Notes follow Started, which begins a new section of the journal.
            while self._undone:
                self._writer.note("undone", self.trainer.iteration, **undone_details(self._undone.pop(0)))
            while self._notes:
                yield from self._recorded(self._notes.pop(0))

    def _recorded(self, event: Event) -> Iterator[Event]:
        try:
            self._writer.record(event)
        except WriteRefusedError as refused:
            if not refused.is_temporary:
                raise
            yield from self._wait_for_disk(refused)
        yield from self._updated(event)

    def _wait_for_disk(self, refused: WriteRefusedError) -> Iterator[Event]:
        """Wait until the queued writes succeed. The trainer also waits, so no further writes are queued."""
        at, since, noted = self.outcome.iteration, time.monotonic(), False
        text = f"{refused}; training is waiting with unsaved data in memory, and continues when the data can be written"
        self._writer.note("warned", at, text=text)
        yield from self._updated(Warned(at, text), Paused(at))
        stopped = self.trainer.stop_requested()
        while refused.is_temporary:
            command = self.trainer.commands.wait(0 if stopped else TRY_EVERY)  # the trainer executes it after the wait
            stopped |= isinstance(command, Stop)
            try:
                self._writer.try_again()
                if not noted:
                    noted = True
                    text = f"All data was written after {time.monotonic() - since:.0f} s, and nothing was lost"
                    self._writer.note("noted", at, text=text)
                    self._writer.catch_up()
            except WriteRefusedError as again:
                if stopped:
                    raise UnsavedStateError(self._describe_loss(again)) from again
                if isinstance(command, Resume) or str(again) != str(refused):
                    yield from self._updated(Warned(at, f"{again}; training is still waiting"))
                refused = again
            else:
                yield from self._updated(Resumed(at))
                return
        raise refused

    def _updated(self, *events: Event) -> Iterator[Event]:
        for event in events:
            self.outcome.update(event)
            yield event

    def _describe_loss(self, refused: WriteRefusedError) -> str:
        reached = self._writer.saved_at
        start = f"meta-step {reached:,}" if reached else "its start"
        return (
            f"the run was stopped after meta-step {self.outcome.iteration:,}, but {self._writer.unsaved()} could not "
            f"be saved: {refused}; the run can be resumed from {start}"
        )


@contextmanager
def _locked(run: RunFolder) -> Iterator[RunLock]:
    """Context manager that locks the run and yields the lock.

    The lock is released if the `with` block raises an exception; otherwise, the new session holds the lock.
    """
    # Otherwise, SIGTERM would end the user's own program, such as a notebook.
    lock = RunLock(run.lock_path, ends_on_sigterm=sigterm_is_handled())
    try:
        yield lock
    except BaseException:
        lock.release()
        raise


@dataclass(frozen=True)
class _ResumePlan:
    """Plan for the continuation of a run after meta-step `iteration`."""

    iteration: int
    before: Settings
    """Settings directly before the commands that follow meta-step `iteration`."""
    settings: Settings
    """Settings after the commands that follow meta-step `iteration`."""
    compute: dict[str, Scalar]
    """Requested values of compute settings, keyed by path."""
    commands: list[Planned]
    """Commands to execute, in order: those that the run executed after its checkpoint, and those just requested."""
    undone: list[PlannedChange]
    """Changes after the checkpoint that are dropped, because a new value was requested for the same setting."""


def _plan_resume(log: RunLog, state: TrainerState | None, changes: Mapping[str, Scalar]) -> _ResumePlan:
    iteration = int(state.values["iteration"]) if state else 0
    before = log.settings_before(iteration)
    settings = change(log.settings_after(iteration), changes)
    ahead = deque(item.planned for item in log.items if item.planned.iteration >= iteration)
    validated = state.values.get("validated_at", -1) if state else -1
    while ahead and ahead[0] == PlannedValidation(validated):
        ahead.popleft()  # applied before the checkpoint
    undone = [planned for planned in ahead if isinstance(planned, PlannedChange) and planned.path in changes]
    differing = {path: settings.value(path) for path in changes if before.value(path) != settings.value(path)}
    commands = [planned for planned in ahead if planned not in undone]
    commands += [PlannedChange(iteration, path, value) for path, value in differing.items() if FIELDS[path].live]
    return _ResumePlan(
        iteration,
        before,
        settings,
        compute={path: value for path, value in differing.items() if not FIELDS[path].live},
        commands=sorted(commands, key=lambda planned: planned.iteration),
        undone=undone,
    )


def saved_state(run: RunFolder, *, checkpoint: Literal["best", "last"] = "best") -> tuple[Settings, TrainerState]:
    """Return the settings for an evaluation of `run`, and its newest intact checkpoint.

    The settings are those of the training, including live changes, except that the settings of the adaptation have
    their values at the best validation.

    Args:
        checkpoint: parameters to evaluate: `best` or `last`. For `last`, the settings of the adaptation have their
            values at the newest checkpoint.

    Raises:
        BadInput: if the run has no intact checkpoint.
    """
    load_libraries()
    from metatui.learning.training.trainer_state import as_validated

    log = RunLog.read(run)
    state, problems = newest_checkpoint(run.checkpoints_path)
    if state is None:
        raise BadInput(f"run {quote(run.id)} has no checkpoint yet")
    for problem in problems:
        logger.warning("%s; the checkpoint of meta-step %s is used", problem, f"{state.values['iteration']:,}")
    settings = log.settings_after(int(state.values["iteration"]))
    _add_best_settings(state, log)
    return as_validated(settings, state.values["best_settings"] if checkpoint == "best" else None), state


def _add_best_settings(state: TrainerState, log: RunLog) -> None:
    """Add the live settings of the best validation to a checkpoint of an old metatui version that did not save them."""
    from metatui.learning.training.trainer_state import live_values

    if state.values.get("best") is None:
        state.values["best_settings"] = None
    elif state.values.get("best_settings") is None:
        best = int(state.values.get("best_iteration", 0))
        state.values["best_settings"] = live_values(log.settings_before(best))


def _allowed(changes: Mapping[str, Scalar]) -> Mapping[str, Scalar]:
    for path in changes:
        field = FIELDS[path]
        if not field.live and field.group not in FREE_ON_RESUME:
            live = ", ".join(name for name, other in FIELDS.items() if other.live)
            sentence = f"{path} cannot be changed when a run is resumed, but {live} and compute settings can"
            raise SettingsError([Problem(path, sentence)])
    return changes
