"""What a run came to, gathered from its events."""

from __future__ import annotations

from dataclasses import dataclass

from metatui.learning.events import Evaluation, Event, Failed, Finished, Paused, Progress, Resumed, Started
from metatui.runs.journal import Status


@dataclass
class Outcome:
    """Where a run stands after the events that `see` was told of."""

    status: Status = "running"
    iteration: int = 0
    meta_loss: float | None = None
    """Of the last meta-step; None before the first, and for `scratch`."""
    accuracy: float | None = None
    """Query accuracy of the last meta-step; None for regression."""
    seconds: float = 0.0
    """Spent training, without pauses, validations and checkpoints."""
    tasks_seen: int = 0
    device: str = ""
    engine: str = ""
    test: Evaluation | None = None
    sentence: str | None = None
    """Why the run failed."""

    @property
    def tasks_per_second(self) -> float:
        return self.tasks_seen / self.seconds if self.seconds > 0 else 0.0

    def see(self, event: Event) -> None:
        match event:
            case Progress():
                self.iteration, self.meta_loss, self.accuracy = event.iteration, event.meta_loss, event.accuracy
                self.tasks_seen, self.seconds = event.tasks_seen, event.seconds
            case Started():
                self.iteration, self.device, self.engine = event.iteration, event.device, event.engine
            case Paused():
                self.status = "paused"
            case Resumed():
                self.status = "running"
            case Failed():
                self.status, self.sentence = "failed", event.sentence
            case Finished():
                endings: dict[str, Status] = {"stopped": "stopped", "interrupted": "interrupted"}
                self.status = endings.get(event.reason, "finished")
                self.iteration, self.test = event.iteration, event.test
            case _:
                pass
