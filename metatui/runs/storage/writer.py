"""Writer that records the events of a run in its folder."""

from __future__ import annotations

import os
import platform
import socket
import traceback
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import metatui
from metatui import events
from metatui.config.format_version import FORMAT
from metatui.events import Evaluation, Event, TaskView
from metatui.learning.data.schema import DataSchema
from metatui.learning.hardware.peak_memory import PeakMemory
from metatui.runs.storage.checkpoints import clean_checkpoints, save_checkpoint
from metatui.runs.storage.journal import JournalWriter
from metatui.runs.storage.lock import RunLock
from metatui.runs.storage.metrics import MetricsWriter
from metatui.runs.storage.result_files import AdaptationRecord, DataRecord, EvaluationRecord, write_record, write_tasks
from metatui.runs.storage.run_folder import RunFolder
from metatui.runs.storage.tensorboard import TensorBoardLog
from metatui.utils import slurm
from metatui.utils.errors import BadInput, MetatuiError, quote
from metatui.utils.files import remove_leftovers, write_atomically

if TYPE_CHECKING:
    from metatui.learning.training.trainer_state import TrainerState


class RunWriter:
    """Writer of the events of `run` that follow meta-step `iteration`. Metrics of later meta-steps are removed first.

    Every write goes through a queue. If the disk refuses a write, this write stays in the queue, and the next call to
    `catch_up` continues with it, so nothing is lost or written twice. `lock` is held until `close`.
    """

    def __init__(
        self,
        run: RunFolder,
        lock: RunLock,
        *,
        iteration: int = 0,
        preset: str | None = None,
        origin: str | None = None,
        tensorboard: bool = False,
        data: DataSchema | None = None,
    ) -> None:
        """Open the files of the run.

        Args:
            data: schema of the data set, which is written when the run starts; None to write no schema.

        Raises:
            BadInput: if the folder of the checkpoints or of the event files is a symbolic link.
            WriteRefusedError: if a file cannot be opened.
        """
        self.run = run
        self.saved_at = iteration
        """Meta-step of the newest checkpoint; 0 before the first checkpoint."""
        self.cause: str | None = None
        """Reason for an interruption, such as the name of a signal, to record in the journal."""
        self._lock = lock
        self._preset, self._origin, self._data = preset, origin, data
        self._iteration = iteration
        self._memory: PeakMemory | None = None
        self._evaluations = _evaluations_until(run, iteration)
        self._queue: deque[tuple[str, Callable[[], None]]] = deque()
        written_whole = (run.settings_path, run.evaluation_path, run.adaptation_path, run.data_path, run.crash_path)
        remove_leftovers(run.path, [path.name for path in written_whole])
        clean_checkpoints(run.checkpoints_path)
        self._metrics = MetricsWriter(run.metrics_path, after=iteration)
        self._journal = JournalWriter(run.journal_path)
        self._tensorboard = TensorBoardLog(run.tensorboard_path, iteration=iteration) if tensorboard else None

    def save(self, kind: str, state: TrainerState) -> None:
        """Queue the metrics up to the meta-step of a checkpoint, then the checkpoint."""

        def checkpoint() -> None:
            save_checkpoint(self.run.checkpoints_path, kind, state)
            self.saved_at = int(state.values["iteration"])

        self._queue.append(("metrics.jsonl", lambda: self._metrics.flush(sync=True)))
        if self._tensorboard:
            self._queue.append(("tensorboard", self._tensorboard.flush))
        self._queue.append((f"checkpoint {kind} of meta-step {state.values['iteration']:,}", checkpoint))

    def record(self, event: Event) -> None:
        """Write `event`. If WriteRefusedError is raised, call `catch_up` until it succeeds."""
        self.queue(event)
        self.catch_up()

    def catch_up(self) -> None:
        """Write all queued data in order.

        Raises:
            WriteRefusedError: if the disk refuses a write.
            MetatuiError: if the folder was deleted, moved or replaced. In this case, nothing is written, because a
                folder without settings and journal would not appear in any list of runs.
        """
        if self._queue:
            self._check_folder()
        while self._queue:
            _, write = self._queue[0]
            write()
            self._queue.popleft()

    def _check_folder(self) -> None:
        replaced = self._lock.was_replaced()
        if replaced or (replaced is None and not self.run.is_run()):  # a deleted lock file alone does no harm
            raise MetatuiError(
                f"the run ended after meta-step {self._iteration:,}, because its folder "
                f"{quote(str(self.run.path), 200)} was deleted, moved or replaced"
            )

    def try_again(self) -> None:
        """Write all queued data after the disk temporarily refused writes.

        Raises:
            WriteRefusedError: if the disk still refuses a write.
            BadInput: if another process took over the run in the meantime, which is possible on file servers.
        """
        try:
            self._lock.confirm()
        except BadInput:  # the files belong to the other process
            self._metrics.abandon()
            self._journal.abandon()
            raise
        self.catch_up()

    def unsaved(self) -> str:
        """Return a description of the queued writes."""
        return ", ".join(dict.fromkeys(what for what, _ in self._queue))

    def queue(self, event: Event) -> None:
        """Queue the writes that record `event`."""
        if isinstance(event, events.Progress):
            self._iteration = event.iteration
            self._metrics.append(event)
            if self._metrics.is_due:
                self._queue.append(("metrics.jsonl", self._metrics.flush))
        elif not isinstance(event, events.Checkpointed):
            self._queue.append(("metrics.jsonl", self._metrics.flush))
            self._queue_event(event)
        if self._tensorboard:
            self._tensorboard.add_event(event)
            if self._tensorboard.is_due:
                self._queue.append(("tensorboard", self._tensorboard.flush))

    def _queue_event(self, event: Event) -> None:
        match event:
            case events.Started():
                self._write_started(event)
            case events.Evaluated():
                self._write_evaluated(event)
            case events.Finished():
                self._write_finished(event)
            case (
                events.Tweaked()
                | events.Paused()
                | events.Resumed()
                | events.Warned()
                | events.Hinted()
                | events.Noted()
                | events.Failed()
            ):
                self.note(type(event).__name__.lower(), **vars(event))
            case _:
                pass  # the journal omits `Evaluating`, which is transient

    def interrupted(self, reason: str) -> None:
        """Record that the run was interrupted, for example by a second Ctrl-C, without saving a new checkpoint."""
        self._write_last("interrupted", reason=reason)

    def crashed(self, error: Exception) -> None:
        """Record an unexpected error and write its traceback to crash.log."""
        text = "".join(traceback.format_exception(error))
        with suppress(MetatuiError):
            self._check_folder()
            write_atomically(self.run.crash_path, text.encode(errors="replace"))
        self.failed(f"{type(error).__name__}: see crash.log")

    def failed(self, sentence: str) -> None:
        """Record why the run failed."""
        self._write_last("failed", sentence=sentence)

    def close(self) -> None:
        """Close the files and release the lock, even if the disk refuses writes."""
        for file in (self._metrics, self._journal, self._tensorboard):
            if file is not None:
                with suppress(MetatuiError):
                    file.close()
        self._lock.release()

    def note(self, event: str, iteration: int, **details: Any) -> None:
        """Queue a journal entry with the current time."""
        self._journal.append(event, iteration, **details)
        self._queue.append(("journal.jsonl", lambda: self._journal.flush(sync=True)))

    def _write_last(self, event: str, **details: Any) -> None:
        with suppress(MetatuiError):
            self._journal.record(event, self._iteration, **details)

    def _write_started(self, event: events.Started) -> None:
        import torch

        self._iteration = event.iteration
        self._memory = PeakMemory(event.device)
        self.note(
            "started",
            event.iteration,
            format=FORMAT,
            preset=self._preset,
            **({"origin": self._origin} if self._origin else {}),
            metatui=metatui.__version__,
            python=platform.python_version(),
            torch=str(torch.__version__),
            host=socket.gethostname(),
            pid=os.getpid(),
            **({"slurm": job} if (job := slurm.job()) else {}),
            device=event.device,
            device_name=event.device_name,
            engine=event.engine,
            engine_reason=event.engine_reason,
            threads=event.settings.compute.threads,
            second_order=event.settings.compute.second_order,
            parameters=event.parameters,
        )
        if self._data is not None:
            record = DataRecord(data=self._data)
            self._queue.append(("data.json", lambda: write_record(self.run.data_path, record)))

    def _write_evaluated(self, event: events.Evaluated) -> None:
        best = {"best": event.evaluation} if event.best else {}
        self._keep(event.evaluation, event.views, validation=event.evaluation, **best)
        self.note(
            "evaluated",
            event.evaluation.iteration,
            best=event.best,
            regular=event.regular,
            **journal_details(event.evaluation),
        )

    def _write_finished(self, event: events.Finished) -> None:
        if event.test is not None:
            self._keep(event.test, event.views, test=event.test)
        name = event.reason if event.reason in ("stopped", "interrupted") else "finished"
        test = journal_details(event.test) if event.test is not None else None
        peak = self._memory.bytes() if self._memory else None
        cause = {"cause": self.cause} if self.cause and name == "interrupted" else {}
        self.note(
            name,
            event.iteration,
            reason=event.reason,
            seconds=round(event.seconds, 3),
            peak_memory_bytes=peak,
            test=test,
            **({"warning": event.warning} if event.warning else {}),
            **cause,
        )
        if self._tensorboard:
            self._queue.append(("tensorboard", self._tensorboard.flush))

    def _keep(self, evaluation: Evaluation, views: tuple[TaskView, ...], **records: Evaluation) -> None:
        self._evaluations = kept = self._evaluations.model_copy(update=records)
        self._queue.append(("evaluation.json", lambda: write_record(self.run.evaluation_path, kept)))
        if views:
            tasks = AdaptationRecord(iteration=evaluation.iteration, split=evaluation.split, views=views)
            self._queue.append(("adaptation.json", lambda: write_tasks(self.run.adaptation_path, tasks)))


def _evaluations_until(run: RunFolder, iteration: int) -> EvaluationRecord:
    """Return the validations of a resumed run up to meta-step `iteration`, without the outdated test result."""
    try:
        return run.evaluation().holding(iteration, finished=False)
    except BadInput:  # the next evaluation replaces the file
        return EvaluationRecord()


def journal_details(evaluation: Evaluation) -> dict[str, Any]:
    """Return the protocol of an evaluation, and its metrics after the last inner step, for the journal."""
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
        "inner_lr": evaluation.inner_lr,
        "diverged": evaluation.diverged,
    }
