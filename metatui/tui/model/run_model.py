"""Model of one run: metric histories, latest numbers, live changes and journal lines."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from metatui.config.declarations import Scalar
from metatui.config.fields import FIELDS, change, text_of
from metatui.config.schedule import brief
from metatui.config.settings import Settings
from metatui.events import (
    Checkpointed,
    Evaluated,
    Evaluating,
    Evaluation,
    Event,
    Failed,
    Finished,
    Hinted,
    Noted,
    Paused,
    Progress,
    Resumed,
    Started,
    TaskView,
    Tweaked,
    Warned,
)
from metatui.runs.evaluation_clock import EvaluationClock
from metatui.runs.formatting import change_text, hint_text, result_words
from metatui.tui.formatting import short_metric
from metatui.tui.model.history import History, Step
from metatui.utils.numbers import format_diverged
from metatui.utils.text import as_sentence

if TYPE_CHECKING:
    from metatui.tui.model.smoothing import Smoother

Tone = Literal["plain", "good", "warning", "error"]

JOURNAL_LINES = 500
"""Maximum number of journal lines that the app keeps. The journal on disk contains all lines."""

CHECKPOINT_SAVED = "Checkpoint saved"

LOADING = "loading PyTorch"
"""Text that the app shows during the first step of starting a run."""

RATE_WINDOW = 5.0
"""Seconds of training over which speeds are averaged."""

FINISH_TEXTS = {
    "iterations": "Finished",
    "early_stop": "Finished early: the validation result has not improved for a long time",
    "stopped": "Stopped and saved",
    "interrupted": "Interrupted and saved",
}


@dataclass(frozen=True)
class LiveChange:
    """A change to a setting while the run was training."""

    iteration: int
    """Number of finished meta-steps before the change."""
    seconds: float
    """Seconds of training that had passed before the change."""
    path: str
    old: Scalar
    new: Scalar

    @property
    def label(self) -> str:
        """Label of the change in a chart, such as `inner_lr 0.1`."""
        return brief(self.path, self.new)


@dataclass(frozen=True)
class JournalLine:
    iteration: int
    text: str
    tone: Tone = "plain"


class RunModel:
    """State of one run, updated by its events.

    Events that the run sends while it trains and events that are read from disk have the same effect.
    """

    def __init__(self, settings: Settings, run_id: str = "", status: str = "") -> None:
        self.settings = settings
        self.run_id = run_id
        self.status = status
        """Displayed status, or an empty string while the app follows the run."""
        self.other_user = ""
        """Name of the user who is training the run, if this is another user; otherwise an empty string."""
        self.packed: tuple[int, int] | None = None
        """Numbers of images packed so far and in total, while images are packed before training, otherwise None."""
        self.stage = LOADING
        """Current step of the preparation for training, as shown in the app."""
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
        """All live changes in order, including undone ones."""
        self.hints: list[Hinted] = []
        """Hints that the user has neither applied nor hidden and that are still relevant, oldest first."""
        self.targets = ""
        """Unit of the losses (see `target_scales`)."""
        self.evaluating: Evaluating | None = None
        """Progress of the current validation or test, or None if neither is in progress."""
        self._clock = EvaluationClock()
        self.waits_because = ""
        """Warning shown while the run waits because its files cannot be written. Empty if the run is not waiting."""
        self._since_best: set[int] = set()
        """Meta-steps of the validations since the best one."""
        self._warning = ""
        """Text of the last event if it was a warning, otherwise empty."""
        self.ended: Finished | Failed | None = None
        self.smoother: Smoother | None = None
        """The smoother that has processed the meta-steps read from disk, or None for a new run."""
        self._recent: deque[Progress] = deque()

    def copy_metrics(self, run_id: str, status: str) -> RunModel:
        """Return a new model with copies of the settings and metrics, but without events and results."""
        other = RunModel(self.settings, run_id, status)
        other.latest, other._recent = self.latest, self._recent.copy()
        other.meta_loss, other.grad_norm = self.meta_loss.copy(), self.grad_norm.copy()
        other.accuracy = self.accuracy.copy()
        return other

    def reopen(self, settings: Settings) -> None:
        """Record that this run, which was read from disk, is training again with `settings`."""
        self.settings, self.status, self.other_user, self.ended = settings, "", "", None

    @property
    def iteration(self) -> int:
        return self.latest.iteration if self.latest else (self.started.iteration if self.started else 0)

    @property
    def compiled_after(self) -> int | None:
        """Number of the meta-step after which the compiled engine is used, or None if the run uses another engine.

        Meta-steps up to this one use the batched engine. A change to the number of inner steps or to the meta-batch
        postpones the use of the compiled engine (see `CompileSwitch`).
        """
        if self.started is None or self.started.engine != "compiled":
            return None
        kind = ("algorithm.inner_steps", "algorithm.meta_batch")
        since = max((made.iteration for made in self.changes if made.path in kind), default=0)
        return since + self.started.settings.compute.compile_after

    @property
    def seconds(self) -> float:
        """Seconds spent training so far."""
        return self.latest.seconds if self.latest else 0.0

    @property
    def speeds(self) -> tuple[float, float] | None:
        """Recent meta-steps per second and tasks per second, or None before the second meta-step."""
        if len(self._recent) < 2:
            return None
        first, last = self._recent[0], self._recent[-1]
        took = last.seconds - first.seconds
        if took <= 0:
            return None
        return (last.iteration - first.iteration) / took, (last.tasks_seen - first.tasks_seen) / took

    @property
    def remaining(self) -> float | None:
        """Seconds of training left at the current speed, or None if this is unknown or training has ended."""
        speeds = self.speeds
        left = self.settings.training.iterations - self.iteration
        return left / speeds[0] if left > 0 and speeds and speeds[0] > 0 and not self.ended else None

    @property
    def evaluation_left(self) -> float | None:
        """Seconds left in the current evaluation, or None if there is none or its speed is not known yet."""
        return self._clock.left if self.evaluating else None

    @property
    def evaluation_left_text(self) -> str:
        """Time left in the current evaluation, such as `, 0:40 left`, or an empty string if it is not known."""
        return self._clock.left_text if self.evaluating else ""

    @property
    def is_followed(self) -> bool:
        """True if the app is following the run, and the run has not ended."""
        return self.ended is None and not self.status

    @property
    def is_live(self) -> bool:
        """True if the run is training, whether the app follows it or has read it from disk."""
        return self.is_followed or self.status in ("Running", "Paused")

    @property
    def result(self) -> Evaluation | None:
        """The test result, or the last validation result if there is no test."""
        return self.test or self.evaluation

    @property
    def has_no_result(self) -> bool:
        """True if the run has a `result` that is not finite."""
        return self.result is not None and not self.result.is_finite

    @property
    def outcome(self) -> str:
        """Status to display when a run that the app followed has ended."""
        match self.ended:
            case Failed():
                return "Failed"
            case Finished(reason="stopped" | "interrupted" as reason):
                return reason.capitalize()
            case _:
                return "Finished"

    @property
    def ended_early(self) -> bool:
        """True if early stopping has ended the training."""
        return 0 < self.settings.training.early_stop <= len(self._since_best)

    @property
    def is_untested(self) -> bool:
        """True if the run was stopped or interrupted after its training and before the end of its test."""
        is_trained = self.ended_early or self.iteration >= self.settings.training.iterations
        return is_trained and isinstance(self.ended, Finished) and self.ended.reason in ("stopped", "interrupted")

    @property
    def state(self) -> str:
        """The displayed status, such as `Stopped`, or `Stopped, trained` if only the test of the run is missing."""
        return f"{self.status}, trained" if self.is_untested else self.status

    @property
    def undoable(self) -> list[LiveChange]:
        """The user's live changes that are still in effect, in order. Changes that cancel each other out are omitted.

        Changes to the number of tasks in memory at once are left out, because the trainer itself lowers this number
        when memory runs out, and because the number does not affect results.
        """
        in_effect: list[LiveChange] = []
        for made in self.changes:
            if made.path == "compute.tasks_at_once":
                continue
            if in_effect and (made.path, made.new) == (in_effect[-1].path, in_effect[-1].old):
                in_effect.pop()
            else:
                in_effect.append(made)
        return in_effect

    def add_steps(self, averaged: Sequence[Step]) -> None:
        """Add several meta-steps, in order. This is much faster than calling `add_event` for each."""
        if not averaged:
            return
        steps = [step.progress for step in averaged]
        last = steps[-1]
        if steps[0].iteration <= self.iteration:  # the run went back to a checkpoint
            self._recent.clear()
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

    def add_event(self, event: Event) -> None:
        """Update the model with one event."""
        warning, self._warning = self._warning, event.text if isinstance(event, Warned) else ""
        match event:
            case Started():
                self._start(event)
            case Progress():
                self.add_steps([Step(event)])
            case Evaluating():
                self.evaluating = event
                self._clock.update(event)
            case Evaluated():
                self._evaluated(event)
            case Checkpointed(kind="last"):
                # Only the newest checkpoint gets a line; the best one is mentioned with its validation.
                if self.journal and self.journal[-1].text == CHECKPOINT_SAVED:
                    self.journal.pop()
                self._add_line(event.iteration, CHECKPOINT_SAVED)
            case Tweaked():
                self._tweaked(event)
            case Paused() | Resumed():
                # If a pause is requested, a checkpoint is saved before it.
                self.waits_because = warning if isinstance(event, Paused) else ""
                self.evaluating = None if self.waits_because else self.evaluating
                self._add_line(event.iteration, type(event).__name__)
            case Warned():
                self.waits_because = event.text if self.waits_because else ""
                self._add_line(event.iteration, as_sentence(event.text), "warning")
            case Hinted():
                self.hints.append(event)
                self._add_line(event.iteration, hint_text(event), "warning")
            case Noted():
                self._add_line(event.iteration, event.text)
            case Finished():
                self._finished(event)
            case Failed():
                self.ended = replace(event, sentence=as_sentence(event.sentence))
                self._add_line(event.iteration or self.iteration, self.ended.sentence, "error")

    def _add_line(self, iteration: int, text: str, tone: Tone = "plain") -> None:
        self.journal.append(JournalLine(iteration, text, tone))

    def _start(self, event: Started) -> None:
        """Start or resume the run. If it is resumed, remove everything that happened after the checkpoint."""
        self.started, self.settings = event, event.settings
        self.changes = [made for made in self.changes if made.iteration < event.iteration]
        for history in (self.val_loss, self.val_accuracy):
            history.forget_after(event.iteration)
        self._keep_hints(lambda hint: hint.iteration <= event.iteration)
        self._since_best = {iteration for iteration in self._since_best if iteration <= event.iteration}
        self.test = self.ended = None
        if self.evaluation and self.evaluation.iteration > event.iteration:
            self.evaluation = None
        if self.best and self.best.iteration > event.iteration:
            self.best = None
        verb = "Resumed" if event.iteration else "Started"
        reason = f" ({event.engine_reason})" if event.engine_reason else ""
        self._add_line(event.iteration, f"{verb} on {event.device}, engine {event.engine}{reason}")

    def _evaluated(self, event: Evaluated) -> None:
        evaluation, previous = event.evaluation, self.evaluation
        if previous and previous.diverged and evaluation.is_finite and not evaluation.diverged:
            self._keep_hints(lambda hint: hint.kind != "diverging")
        self.evaluation, self.evaluating = evaluation, None
        self.views = event.views or self.views
        seconds = self._seconds_at(evaluation.iteration)
        for history, curve in ((self.val_loss, evaluation.loss), (self.val_accuracy, evaluation.accuracy)):
            if curve:
                value = curve.mean[-1] if evaluation.is_finite else math.nan
                history.add(evaluation.iteration, seconds, value)
        if event.best:
            self.best = evaluation
            self._since_best.clear()
        elif self.best is None or evaluation.iteration > self.best.iteration:
            self._since_best.add(evaluation.iteration)
        # The protocol is the same for all validations of a run, and is shown with the adaptation.
        lost = format_diverged(evaluation.diverged, evaluation.tasks) if evaluation.diverged else ""
        result = ", ".join(filter(None, [short_metric(evaluation) if evaluation.is_finite or not lost else "", lost]))
        text = f"val {result}{'  best' if event.best else ''}"
        self._add_line(evaluation.iteration, text, _tone(evaluation, "good" if event.best else "plain"))

    def _tweaked(self, event: Tweaked) -> None:
        field = FIELDS[event.path]
        if field.live and event.old != event.new:  # other settings change only when a run is resumed
            seconds = self._seconds_at(event.iteration)
            self.changes.append(LiveChange(event.iteration, seconds, event.path, event.old, event.new))
        self.settings = change(self.settings, {event.path: event.new})
        self._keep_hints()
        self._add_line(event.iteration, change_text(event.path, text_of(event.old), text_of(event.new)))

    def _keep_hints(self, applies: Callable[[Hinted], bool] = lambda hint: True) -> None:
        """Remove the hints for which `applies` returns False, and those that suggest the current value of a setting."""
        self.hints = [hint for hint in self.hints if applies(hint) and self.settings.value(hint.path) != hint.new]

    def _finished(self, event: Finished) -> None:
        self.ended, self.test, self.evaluating = event, event.test, None
        self.views = event.views or self.views
        warned = event.warning or event.reason == "interrupted" or self.has_no_result
        self._add_line(event.iteration, FINISH_TEXTS.get(event.reason, event.reason), "warning" if warned else "good")
        if event.warning:
            self._add_line(event.iteration, event.warning, "warning")
        if event.test:
            text = f"test {result_words(event.test, self.best)}"
            self._add_line(event.iteration, text, _tone(event.test, "good"))

    def _seconds_at(self, iteration: int) -> float:
        """Return the training time in seconds at a meta-step or, if it is not known, the training time so far."""
        seconds = self.meta_loss.seconds_at(iteration)
        return self.seconds if seconds is None else seconds


def _tone(evaluation: Evaluation, tone: Tone) -> Tone:
    """Return `tone`, or `warning` if tasks diverged."""
    return "warning" if evaluation.diverged or not evaluation.is_finite else tone
