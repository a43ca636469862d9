"""Writes a run's folder as its events come: the only writer, by its lock."""

from __future__ import annotations

import os
import platform
import socket
import traceback
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import metatui
from metatui.errors import BadInput, MetatuiError
from metatui.files import write_atomically
from metatui.learning import events
from metatui.learning.events import Evaluation, Event, TaskView
from metatui.runs.checkpoints import save_checkpoint
from metatui.runs.folder import RunFolder
from metatui.runs.journal import JournalWriter
from metatui.runs.lock import RunLock
from metatui.runs.metrics import MetricsWriter
from metatui.runs.peak_memory import PeakMemory
from metatui.runs.records import AdaptationRecord, EvaluationRecord, write_record
from metatui.runs.tensorboard import TensorBoardLog

if TYPE_CHECKING:
    from metatui.learning.state import TrainerState


class RunWriter:
    """Records events in `run`, whose `lock` it holds until closed, from meta-step `iteration` on: metrics beyond it are
    dropped. Every method raises MetatuiError where the disk refuses."""

    def __init__(
        self,
        run: RunFolder,
        lock: RunLock,
        *,
        iteration: int = 0,
        preset: str | None = None,
        tensorboard: bool = False,
    ) -> None:
        self.run = run
        self._lock = lock
        self._preset = preset
        self._iteration = iteration
        self._memory: PeakMemory | None = None
        self._evaluations = _kept(run, iteration)
        self._metrics = MetricsWriter(run.metrics_path, after=iteration)
        self._journal = JournalWriter(run.journal_path)
        self._tensorboard = TensorBoardLog(run.tensorboard_path, iteration=iteration) if tensorboard else None

    def save(self, kind: str, state: TrainerState) -> None:
        """Saves a checkpoint, and first the metrics that lead to it."""
        self._metrics.flush(sync=True)
        if self._tensorboard:
            self._tensorboard.flush()
        save_checkpoint(self.run.checkpoints_path, kind, state)

    def record(self, event: Event) -> None:
        """Writes `event` down."""
        self._record(event)
        if self._tensorboard:
            self._tensorboard.see(event)

    def _record(self, event: Event) -> None:
        if isinstance(event, events.Progress):
            self._iteration = event.iteration
            self._metrics.append(event)
            return
        self._metrics.flush()
        match event:
            case events.Started():
                self._write_started(event)
            case events.Tweaked():
                self._note("tweaked", event.iteration, path=event.path, old=event.old, new=event.new)
            case events.Paused():
                self._note("paused", event.iteration)
            case events.Resumed():
                self._note("resumed", event.iteration)
            case events.Warned():
                self._note("warned", event.iteration, text=event.text)
            case events.Noted():
                self._note("noted", event.iteration, text=event.text)
            case events.Evaluated():
                self._write_evaluated(event)
            case events.Finished():
                self._write_finished(event)
            case events.Failed():
                self._note("failed", event.iteration, sentence=event.sentence)
            case events.Checkpointed() | events.Evaluating():
                pass  # a journal is for what a person wants to read later

    def interrupted(self, reason: str) -> None:
        """Notes that the run ends between two events; what the last checkpoint holds is kept."""
        with suppress(MetatuiError):
            self._note("interrupted", self._iteration, reason=reason)

    def crashed(self, error: Exception) -> None:
        """Notes an unexpected error, with its traceback in crash.log."""
        text = "".join(traceback.format_exception(error))
        with suppress(MetatuiError):
            write_atomically(self.run.crash_path, text.encode(errors="replace"))
        self.failed(f"{type(error).__name__}: see crash.log")

    def failed(self, sentence: str) -> None:
        with suppress(MetatuiError):
            self._note("failed", self._iteration, sentence=sentence)

    def close(self) -> None:
        """Writes what is left and lets the run go."""
        try:
            self._metrics.close()
            self._journal.close()
            if self._tensorboard:
                self._tensorboard.close()
        finally:
            self._lock.release()

    def _note(self, event: str, iteration: int, **details: Any) -> None:
        self._journal.write(event, iteration, **details)

    def _write_started(self, event: events.Started) -> None:
        import torch

        self._iteration = event.iteration
        self._memory = PeakMemory(event.device)
        self._note(
            "started",
            event.iteration,
            preset=self._preset,
            metatui=metatui.__version__,
            python=platform.python_version(),
            torch=str(torch.__version__),
            host=socket.gethostname(),
            pid=os.getpid(),
            device=event.device,
            device_name=event.device_name,
            engine=event.engine,
            engine_reason=event.engine_reason,
            parameters=event.parameters,
        )

    def _write_evaluated(self, event: events.Evaluated) -> None:
        best = {"best": event.evaluation} if event.best else {}
        self._keep(event.evaluation, event.views, validation=event.evaluation, **best)
        self._note("evaluated", event.evaluation.iteration, best=event.best, **headline(event.evaluation))

    def _write_finished(self, event: events.Finished) -> None:
        if event.test is not None:
            self._keep(event.test, event.views, test=event.test)
        name = event.reason if event.reason in ("stopped", "interrupted") else "finished"
        test = headline(event.test) if event.test is not None else None
        peak = self._memory.bytes() if self._memory else None
        self._note(
            name,
            event.iteration,
            reason=event.reason,
            seconds=round(event.seconds, 3),
            peak_memory_bytes=peak,
            test=test,
        )

    def _keep(self, evaluation: Evaluation, views: tuple[TaskView, ...], **records: Evaluation) -> None:
        self._evaluations = self._evaluations.model_copy(update=records)
        write_record(self.run.evaluation_path, self._evaluations)
        if views:
            record = AdaptationRecord(iteration=evaluation.iteration, split=evaluation.split, views=views)
            write_record(self.run.adaptation_path, record)


def _kept(run: RunFolder, iteration: int) -> EvaluationRecord:
    """The evaluations that a run resumed at meta-step `iteration` starts from: validations until then. What the test
    said of fewer meta-steps no longer holds."""
    try:
        before = run.evaluation()
    except BadInput:  # no reason to refuse the training: the next evaluation writes the file anew
        return EvaluationRecord()

    def held(evaluation: Evaluation | None) -> Evaluation | None:
        return evaluation if evaluation is not None and evaluation.iteration <= iteration else None

    return EvaluationRecord(validation=held(before.validation), best=held(before.best))


def headline(evaluation: Evaluation) -> dict[str, Any]:
    """The metric after the last inner step, with its protocol, as the journal holds it."""
    accuracy = evaluation.accuracy
    return {
        "split": evaluation.split,
        "tasks": evaluation.tasks,
        "shots": evaluation.shots,
        "batch_norm": evaluation.batch_norm,
        "inner_step": evaluation.steps[-1],
        "loss": evaluation.loss.mean[-1],
        "loss_ci95": evaluation.loss.ci95[-1],
        "accuracy": accuracy.mean[-1] if accuracy else None,
        "accuracy_ci95": accuracy.ci95[-1] if accuracy else None,
    }
