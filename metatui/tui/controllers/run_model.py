"""What is known of one run: the events so far, as histories, the latest numbers and a journal in words."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from metatui.config.fields import FIELDS, change, text_of
from metatui.config.schedule import brief
from metatui.config.settings import Scalar, Settings
from metatui.events import (
    Checkpointed,
    Evaluated,
    Evaluating,
    Evaluation,
    Event,
    Failed,
    Finished,
    Noted,
    Paused,
    Progress,
    Resumed,
    Started,
    TaskView,
    Tweaked,
    Warned,
)
from metatui.tui.controllers.history import History, Step
from metatui.tui.formatting import headline, result_words

if TYPE_CHECKING:
    from metatui.tui.controllers.smoothing import Smoother

Tone = Literal["plain", "good", "warning", "error"]

JOURNAL_LINES = 500
"""Lines of the journal that are kept in the app; the run's own journal on disk has all."""

CHECKPOINT_SAVED = "Checkpoint saved"

RATE_WINDOW = 5.0
"""Seconds of training over which speeds are averaged."""


@dataclass(frozen=True)
class LiveChange:
    """A setting that was changed while the run trained."""

    iteration: int
    """Meta-steps done before the change."""
    seconds: float
    """Seconds of training before the change."""
    path: str
    old: Scalar
    new: Scalar

    @property
    def label(self) -> str:
        """Name of the change in a chart: `inner_lr 0.1`."""
        return brief(self.path, self.new)


@dataclass(frozen=True)
class JournalLine:
    iteration: int
    text: str
    tone: Tone = "plain"


class Monitor:
    """One run as it is shown. Fed with events by the app, never by the training thread."""

    def __init__(self, settings: Settings, run_id: str = "", status: str = "") -> None:
        self.settings = settings
        self.run_id = run_id
        self.status = status
        """How it stands, in words, for a run that is not going on in this process."""
        self.packed: tuple[int, int] | None = None
        """How many images are packed, and of how many, while that comes before the training."""
        self.started: Started | None = None
        self.latest: Progress | None = None
        self.meta_loss, self.grad_norm, self.val_loss = History(), History(), History()
        self.accuracy, self.val_accuracy = History(largest_is_best=True), History(largest_is_best=True)
        self.evaluation: Evaluation | None = None
        self.views: tuple[TaskView, ...] = ()
        self.best: Evaluation | None = None
        self.test: Evaluation | None = None
        self.journal: deque[JournalLine] = deque(maxlen=JOURNAL_LINES)
        self.changes: list[LiveChange] = []
        """Every live change in order, including undone ones."""
        self.evaluating: Evaluating | None = None
        """The validation or test that is under way."""
        self.ended: Finished | Failed | None = None
        self.smoother: Smoother | None = None
        """The smoother that has averaged the meta-steps read from disk; None for a new run."""
        self._recent: deque[Progress] = deque()

    def trained_alike(self, run_id: str, status: str) -> Monitor:
        """Another monitor that has seen the same meta-steps, and nothing else."""
        other = Monitor(self.settings, run_id, status)
        other.latest, other._recent = self.latest, self._recent.copy()
        other.meta_loss, other.grad_norm = self.meta_loss.copy(), self.grad_norm.copy()
        other.accuracy = self.accuracy.copy()
        return other

    @property
    def iteration(self) -> int:
        return self.latest.iteration if self.latest else (self.started.iteration if self.started else 0)

    @property
    def seconds(self) -> float:
        """Seconds spent training so far."""
        return self.latest.seconds if self.latest else 0.0

    @property
    def speeds(self) -> tuple[float, float] | None:
        """Meta-steps a second and tasks a second, lately; None before two meta-steps."""
        if len(self._recent) < 2:
            return None
        first, last = self._recent[0], self._recent[-1]
        took = last.seconds - first.seconds
        if took <= 0:
            return None
        return (last.iteration - first.iteration) / took, (last.tasks_seen - first.tasks_seen) / took

    @property
    def remaining(self) -> float | None:
        """Seconds of training left at the present speed."""
        speeds = self.speeds
        left = self.settings.training.iterations - self.iteration
        return left / speeds[0] if speeds and speeds[0] > 0 and not self.ended else None

    @property
    def has_no_result(self) -> bool:
        """Whether the test, or the last validation where there is no test, is not finite."""
        result = self.test or self.evaluation
        return result is not None and not result.is_finite

    @property
    def outcome(self) -> str:
        """How a run of this process ended."""
        match self.ended:
            case Failed():
                return "Failed"
            case Finished(reason="stopped" | "interrupted" as reason):
                return reason.capitalize()
            case _:
                return "Finished"

    def take(self, event: Event) -> None:
        """Learn of one event."""
        match event:
            case Started():
                self._start(event)
            case Progress():
                self.take_steps([Step(event)])
            case Evaluating():
                self.evaluating = event
            case Evaluated():
                self._evaluated(event)
            case Checkpointed():
                self._checkpointed(event)
            case Tweaked():
                self._tweak(event)
            case Paused():
                self._say(event.iteration, "Paused")
            case Resumed():
                self._say(event.iteration, "Resumed")
            case Warned():
                self._say(event.iteration, event.text, "warning")
            case Noted():
                self._say(event.iteration, event.text)
            case Finished():
                self._finished(event)
            case Failed():
                self.ended = event
                self._say(event.iteration or self.iteration, event.sentence, "error")

    def _say(self, iteration: int, text: str, tone: Tone = "plain") -> None:
        self.journal.append(JournalLine(iteration, text, tone))

    def _start(self, event: Started) -> None:
        self.started, self.settings = event, event.settings
        self.forget_changes(event.iteration)
        self.test = self.ended = None
        if self.evaluation and self.evaluation.iteration > event.iteration:
            self.evaluation = None
        if self.best and self.best.iteration > event.iteration:
            self.best = None
        verb = "Resumed" if event.iteration else "Started"
        self._say(event.iteration, f"{verb} on {event.device_name}, engine {event.engine} ({event.engine_reason})")

    def take_steps(self, averaged: Sequence[Step]) -> None:
        """Learn of some meta-steps, in order: the same as to take one by one, and much faster."""
        if not averaged:
            return
        steps = [step.progress for step in averaged]
        last = steps[-1]
        self.latest, self.evaluating = last, None
        iterations, seconds = [step.iteration for step in steps], [step.seconds for step in steps]
        self.meta_loss.extend(iterations, seconds, [s.meta_loss for s in steps], [s.meta_loss for s in averaged])
        self.grad_norm.extend(iterations, seconds, [step.grad_norm for step in steps])
        if last.accuracy is not None:
            accuracies = [math.nan if step.accuracy is None else step.accuracy for step in steps]
            self.accuracy.extend(iterations, seconds, accuracies, [step.accuracy for step in averaged])
        self._recent += [steps[0], last] if last is not steps[0] else [last]
        while len(self._recent) > 2 and last.seconds - self._recent[1].seconds > RATE_WINDOW:
            self._recent.popleft()

    def _evaluated(self, event: Evaluated) -> None:
        self.evaluation, self.evaluating = event.evaluation, None
        evaluation = event.evaluation
        self.views = event.views or self.views
        self.add_validation(evaluation, self.seconds)
        if event.best:
            self.best = evaluation
        self.journal.append(validation_line(evaluation, best=event.best))

    def add_validation(self, evaluation: Evaluation, seconds: float) -> None:
        """Add a validation to the curves, as nan where most of its tasks diverged."""
        for history, curve in ((self.val_loss, evaluation.loss), (self.val_accuracy, evaluation.accuracy)):
            if curve:
                history.add(evaluation.iteration, seconds, curve.mean[-1] if evaluation.is_finite else math.nan)

    def _checkpointed(self, event: Checkpointed) -> None:
        if event.kind != "last":  # the validation that was best has its own line
            return
        if self.journal and self.journal[-1].text == CHECKPOINT_SAVED:
            self.journal.pop()
        self._say(event.iteration, CHECKPOINT_SAVED)

    def forget_changes(self, iteration: int) -> None:
        """Forget the changes from `iteration` on, at which the run was resumed."""
        self.changes = [made for made in self.changes if made.iteration < iteration]

    @property
    def undoable(self) -> list[LiveChange]:
        """The user's changes that are still in effect, in order. A change back to the previous value cancels both.

        Changes of the number of tasks in memory at once are not included: the trainer itself lowers it if memory runs
        out, and it does not affect results.
        """
        holding: list[LiveChange] = []
        for made in self.changes:
            if made.path == "compute.tasks_at_once":
                continue
            if holding and (made.path, made.new) == (holding[-1].path, holding[-1].old):
                holding.pop()
            else:
                holding.append(made)
        return holding

    def _tweak(self, event: Tweaked) -> None:
        if FIELDS[event.path].live and event.old != event.new:  # other settings change only when a run is resumed
            self.changes.append(LiveChange(event.iteration, self.seconds, event.path, event.old, event.new))
        self.settings = change(self.settings, {event.path: event.new})
        label = FIELDS[event.path].label
        self._say(event.iteration, f"{label} changed from {text_of(event.old)} to {text_of(event.new)}")

    def _finished(self, event: Finished) -> None:
        self.ended, self.test, self.evaluating = event, event.test, None
        self.views = event.views or self.views
        why = {
            "iterations": "Finished",
            "early_stop": "Finished early: no new best for long",
            "stopped": "Stopped and saved",
            "interrupted": "Interrupted and saved",
        }
        test = event.test
        tone: Tone = "warning" if event.warning or (test and not test.is_finite) else "good"
        self._say(event.iteration, why.get(event.reason, event.reason), tone)
        if event.warning:
            self._say(event.iteration, event.warning, "warning")
        if test:
            self.journal.append(result_line(event.iteration, test, self.best))


def validation_line(evaluation: Evaluation, *, best: bool) -> JournalLine:
    """Return the journal's line for a validation."""
    tone: Tone = "warning" if evaluation.diverged or not evaluation.is_finite else "good" if best else "plain"
    said = f"Validation: {headline(evaluation)}{', best so far' if best else ''}"
    return JournalLine(evaluation.iteration, said, tone)


def result_line(iteration: int, test: Evaluation, best: Evaluation | None) -> JournalLine:
    """Return the journal's line for a test.

    Args:
        iteration: number of meta-steps of the run.
        best: the best validation.
    """
    tone: Tone = "warning" if test.diverged or not test.is_finite else "good"
    return JournalLine(iteration, f"Test: {result_words(test, best)}", tone)
