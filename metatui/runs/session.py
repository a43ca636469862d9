"""A run while it trains: the trainer's events, each on disk before anybody sees it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metatui.errors import BadInput, MetatuiError, Problem, SettingsError, shown
from metatui.knobs import KNOBS, change
from metatui.learning.events import Change, Command, Event, Progress, Stop, Tweaked, Warned
from metatui.runs.checkpoints import newest_checkpoint
from metatui.runs.control.server import ControlServer
from metatui.runs.folder import RunFolder
from metatui.runs.journal import Entry, in_force, last_status
from metatui.runs.lock import RunLock
from metatui.runs.metrics import last_progress
from metatui.runs.outcome import Outcome
from metatui.runs.store import RunStore, discard
from metatui.runs.tensorboard import check_tensorboard
from metatui.runs.writer import RunWriter
from metatui.settings import Scalar, Settings

if TYPE_CHECKING:
    from metatui.learning.state import TrainerState

FREE_ON_RESUME = ("compute", "checkpoint", "logging")
"""Groups that a resumed run may have otherwise: they do not change what is computed."""


class Session:
    """One run that trains in this process. Iterate it once, in one thread; `submit` from any."""

    def __init__(
        self,
        run: RunFolder,
        lock: RunLock,
        settings: Settings,
        *,
        state: TrainerState | None = None,
        preset: str | None = None,
    ) -> None:
        """`start` and `resume` make sessions. Nothing in the folder changes where the trainer refuses."""
        from metatui.learning.trainer import Trainer

        if settings.logging.tensorboard:
            check_tensorboard()  # before the data are looked at
        self.run = run
        self.outcome = Outcome()
        self.control = ControlServer(self)
        self._notes: list[Event] = []
        self._tweaks: dict[int, list[Change]] = defaultdict(list)
        self._trainer = Trainer(settings, state=state, save=self._save)
        self._writer = RunWriter(
            run, lock, iteration=self._trainer.iteration, preset=preset, tensorboard=settings.logging.tensorboard
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
    def start(cls, settings: Settings, *, runs_dir: str | Path | None = None, preset: str | None = None) -> Session:
        """A new run, ready to be iterated.

        Raises:
            BadInput: the device or the data set is not there; no folder is left behind.
            MetatuiError: the folder cannot be written.
        """
        run = RunStore(runs_dir).create(settings, preset=preset)
        with _locked(run) as lock:
            try:
                return cls(run, lock, settings, preset=preset)
            except BaseException:
                discard(run)
                raise

    @classmethod
    def resume(cls, run: RunFolder, changes: Mapping[str, Scalar] | None = None) -> Session:
        """Go on from the newest good checkpoint, or from the start where there is none yet.

        Tweaks in the journal are made again at their meta-steps, so that the run is the one that was interrupted.

        Args:
            changes: settings to have otherwise from here on: live ones, and where it is computed.

        Raises:
            BadInput: the run is over or being written by a process, a change is not possible, no checkpoint is whole,
                or the device or the data set is not there.
        """
        with _locked(run) as lock:
            return cls._resumed(run, lock, changes or {})

    @classmethod
    def _resumed(cls, run: RunFolder, lock: RunLock, changes: Mapping[str, Scalar]) -> Session:
        first, journal = run.settings(), in_force(run.journal())
        state, problems = newest_checkpoint(run.checkpoints_path)
        iteration = int(state.values["iteration"]) if state else 0
        before = settings_at(first, journal, iteration)
        settings = change(before, _allowed(changes))
        if last_status(journal) == "finished" and iteration >= settings.training.iterations:
            raise BadInput(
                f"run {shown(run.id)} is finished after {iteration:,} meta-steps: resume it with a larger "
                "training.iterations, or start it anew"
            )
        started = next((entry for entry in journal if entry.event == "started"), None)
        preset = started.details.get("preset") if started else None
        session = cls(run, lock, settings, state=state, preset=preset)
        session._notes = [Warned(iteration, f"{problem}; an older checkpoint is used") for problem in problems]
        session._notes += [
            Tweaked(iteration, path, before.value(path), settings.value(path))
            for path in changes
            if KNOBS[path].live and before.value(path) != settings.value(path)
        ]
        for entry in journal:
            if (tweak := _tweak(entry)) and entry.iteration > iteration and tweak.path not in changes:
                session._tweaks[entry.iteration].append(tweak)
        return session

    def submit(self, command: Command) -> None:
        """Tell the trainer what to do after the meta-step it is at."""
        self._trainer.submit(command)

    def interrupt(self) -> None:
        """Finish the meta-step, save, and end as `interrupted`."""
        self.submit(Stop("interrupted"))

    def close(self) -> None:
        """Lets the run go. Only a session that is never iterated needs it."""
        self.control.close()
        self._writer.close()

    def __iter__(self) -> Generator[Event, None, None]:
        """Train. Every event is on disk when it is yielded; the run is let go when the iteration ends.

        Raises:
            MetatuiError: the disk refused, or the trainer failed unexpectedly: then crash.log in the run's folder has
                the traceback.
        """
        try:
            if problem := self.control.open():
                self._notes.append(Warned(self._trainer.iteration, problem))
            with closing(self._events()) as events:
                for event in events:
                    self.control.tell(event)
                    yield event
        except MetatuiError as error:
            self.outcome.status = "failed"
            self._writer.failed(str(error))
            raise
        except Exception as error:
            self.outcome.status = "failed"
            self._writer.crashed(error)
            raise MetatuiError(
                f"the run ended after meta-step {self.outcome.iteration} with an unexpected error "
                f"({type(error).__name__}): its traceback is in {self.run.crash_path}"
            ) from error
        except BaseException as error:
            if self.outcome.status in ("running", "paused"):  # not where it was over when its iteration was left
                self.outcome.status = "interrupted"
                self._writer.interrupted(type(error).__name__)
            raise
        finally:
            self.close()

    def _events(self) -> Generator[Event, None, None]:
        for event in self._trainer.events():
            yield self._recorded(event)
            while self._notes:  # after Started, which opens the journal's new chapter
                yield self._recorded(self._notes.pop(0))
            if isinstance(event, Progress):
                for tweak in self._tweaks.pop(event.iteration, ()):
                    self.submit(tweak)

    def _save(self, kind: str, state: TrainerState) -> None:
        self._writer.save(kind, state)

    def _recorded(self, event: Event) -> Event:
        self._writer.record(event)
        self.outcome.see(event)
        return event


@contextmanager
def _locked(run: RunFolder) -> Iterator[RunLock]:
    """The run's lock, let go only where the session that takes it over does not come about."""
    lock = RunLock(run.lock_path)
    try:
        yield lock
    except BaseException:
        lock.release()
        raise


def settings_at(settings: Settings, journal: list[Entry], iteration: int) -> Settings:
    """`settings` with the tweaks made until `iteration` meta-steps were done."""
    made = [t for entry in journal if entry.iteration <= iteration and (t := _tweak(entry))]
    return change(settings, {tweak.path: tweak.value for tweak in made})


def saved_state(run: RunFolder) -> tuple[Settings, TrainerState]:
    """The newest good checkpoint and the settings, tweaks included, that it was trained with.

    Raises BadInput where there is none.
    """
    settings = run.settings()
    state, _ = newest_checkpoint(run.checkpoints_path)
    if state is None:
        raise BadInput(f"run {shown(run.id)} has no checkpoint yet")
    return settings_at(settings, in_force(run.journal()), int(state.values["iteration"])), state


def _tweak(entry: Entry) -> Change | None:
    path, new = entry.details.get("path"), entry.details.get("new")
    if (
        entry.event == "tweaked"
        and isinstance(path, str)
        and path in KNOBS
        and isinstance(new, bool | int | float | str)
    ):
        return Change(path, new)
    return None


def _allowed(changes: Mapping[str, Scalar]) -> Mapping[str, Any]:
    for path in changes:
        knob = KNOBS[path]
        if not knob.live and knob.group not in FREE_ON_RESUME:
            live = ", ".join(name for name, k in KNOBS.items() if k.live)
            sentence = f"{path} cannot change when a run is resumed, but {live} and how it is computed can"
            raise SettingsError([Problem(path, sentence)])
    return changes
