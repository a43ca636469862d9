"""State of a run, collected from its events."""

from __future__ import annotations

from dataclasses import dataclass, field

from metatui.events import Evaluated, Evaluation, Event, Failed, Finished, Hinted, Paused, Progress, Resumed, Started
from metatui.runs.storage.journal import Status


@dataclass
class Outcome:
    """State of a run after the events passed to `update`."""

    status: Status = "running"
    iteration: int = 0
    meta_loss: float | None = None
    """Meta-loss of the last meta-step; None before the first meta-step, and for the algorithm `scratch`."""
    accuracy: float | None = None
    """Query accuracy of the last meta-step; None for regression."""
    seconds: float = 0.0
    """Training time in seconds, excluding pauses, validations and checkpoints."""
    tasks_seen: int = 0
    device: str = ""
    engine: str = ""
    engine_reason: str = ""
    best: Evaluation | None = None
    """Result of the best validation since this process started; None before the first finite result."""
    validation: Evaluation | None = None
    """Result of the last validation since this process started; None before the first validation."""
    test: Evaluation | None = None
    hints: list[Hinted] = field(default_factory=list)
    """Hints given since this process started."""
    warning: str | None = None
    """Reason why the result is not usable (`Finished.warning`); None if the result is usable."""
    sentence: str | None = None
    """Reason why the run failed; None if it did not fail."""

    @property
    def tasks_per_second(self) -> float:
        return self.tasks_seen / self.seconds if self.seconds > 0 else 0.0

    @property
    def error(self) -> str | None:
        """Reason why the run has no result (it failed, or too many test tasks diverged); None if it has a result."""
        diverged = self.test is not None and not self.test.is_finite
        return self.sentence or (self.warning if diverged else None)

    def update(self, event: Event) -> None:
        match event:
            case Progress():
                self.iteration, self.meta_loss, self.accuracy = event.iteration, event.meta_loss, event.accuracy
                self.tasks_seen, self.seconds = event.tasks_seen, event.seconds
            case Started():
                self.iteration, self.device = event.iteration, event.device
                self.engine, self.engine_reason = event.engine, event.engine_reason
            case Evaluated():
                self.validation = event.evaluation
                self.best = event.evaluation if event.best else self.best
            case Hinted():
                self.hints.append(event)
            case Paused():
                self.status = "paused"
            case Resumed():
                self.status = "running"
            case Failed():
                self.status, self.sentence = "failed", event.sentence
            case Finished():
                endings: dict[str, Status] = {"stopped": "stopped", "interrupted": "interrupted"}
                self.status = endings.get(event.reason, "finished")
                self.iteration, self.test, self.warning = event.iteration, event.test, event.warning
            case _:
                pass
