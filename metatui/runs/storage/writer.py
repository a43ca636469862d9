"""Writes a run's folder as its events come: the only writer, by its lock."""

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
from metatui.runs.execution import slurm
from metatui.runs.execution.peak_memory import PeakMemory
from metatui.runs.execution.tensorboard import TensorBoardLog
from metatui.runs.storage.checkpoints import clean_checkpoints, save_checkpoint
from metatui.runs.storage.journal import JournalWriter
from metatui.runs.storage.lock import RunLock
from metatui.runs.storage.metrics import MetricsWriter
from metatui.runs.storage.result_files import AdaptationRecord, EvaluationRecord, write_record
from metatui.runs.storage.run_folder import RunFolder
from metatui.utils.errors import BadInput, MetatuiError
from metatui.utils.files import remove_leftovers, write_atomically

if TYPE_CHECKING:
    from metatui.learning.training.trainer_state import TrainerState


class RunWriter:
    """Records events in `run`, whose `lock` it holds until closed, from meta-step `iteration` on: metrics beyond it are
    dropped.

    What it is told it remembers first. Where the disk refuses, what is remembered and not yet written stays, and
    `catch_up` goes on with it, so nothing is lost and nothing is written twice.
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
    ) -> None:
        """Raises WriteRefused."""
        self.run = run
        self.saved_at = iteration
        """Meta-steps from which the run could be resumed: those of its newest checkpoint, and 0 before the first."""
        self.cause: str | None = None
        """Why the run was interrupted, for the journal."""
        self._lock = lock
        self._preset, self._origin = preset, origin
        self._iteration = iteration
        self._memory: PeakMemory | None = None
        self._evaluations = _kept(run, iteration)
        self._todo: deque[tuple[str, Callable[[], None]]] = deque()
        written_whole = (run.settings_path, run.evaluation_path, run.adaptation_path, run.crash_path)
        remove_leftovers(run.path, [path.name for path in written_whole])
        clean_checkpoints(run.checkpoints_path)
        self._metrics = MetricsWriter(run.metrics_path, after=iteration)
        self._journal = JournalWriter(run.journal_path)
        self._tensorboard = TensorBoardLog(run.tensorboard_path, iteration=iteration) if tensorboard else None

    def save(self, kind: str, state: TrainerState) -> None:
        """Remembers a checkpoint for the next `catch_up`, and that the metrics that lead to it come first."""

        def checkpoint() -> None:
            save_checkpoint(self.run.checkpoints_path, kind, state)
            self.saved_at = int(state.values["iteration"])

        self._todo.append(("metrics.jsonl", lambda: self._metrics.flush(sync=True)))
        if self._tensorboard:
            self._todo.append(("tensorboard", self._tensorboard.flush))
        self._todo.append((f"checkpoint {kind} of meta-step {state.values['iteration']:,}", checkpoint))

    def record(self, event: Event) -> None:
        """Writes `event` down. Raises WriteRefused; then `catch_up` is to be called until it does not."""
        self.remember(event)
        self.catch_up()

    def catch_up(self) -> None:
        """Writes what is remembered, in the order in which it came. Raises WriteRefused."""
        while self._todo:
            _, write = self._todo[0]
            write()
            self._todo.popleft()

    def try_again(self) -> None:
        """`catch_up` after a while in which nothing could be written. Raises BadInput where another process took the
        run over in that time, as a file server allows that lost sight of this one."""
        self._lock.confirm()
        self.catch_up()

    def unsaved(self) -> str:
        """What `catch_up` has before it, in words."""
        return ", ".join(dict.fromkeys(what for what, _ in self._todo))

    def remember(self, event: Event) -> None:
        """Keeps `event` for the next `catch_up`."""
        if isinstance(event, events.Progress):
            self._iteration = event.iteration
            self._metrics.append(event)
            if self._metrics.is_due:
                self._todo.append(("metrics.jsonl", self._metrics.flush))
        elif not isinstance(event, events.Checkpointed):
            self._todo.append(("metrics.jsonl", self._metrics.flush))
            self._remember(event)
        if self._tensorboard:
            self._tensorboard.see(event)
            if self._tensorboard.is_due:
                self._todo.append(("tensorboard", self._tensorboard.flush))

    def _remember(self, event: Event) -> None:
        match event:
            case events.Started():
                self._write_started(event)
            case events.Tweaked():
                self.note("tweaked", event.iteration, path=event.path, old=event.old, new=event.new)
            case events.Paused():
                self.note("paused", event.iteration)
            case events.Resumed():
                self.note("resumed", event.iteration)
            case events.Warned():
                self.note("warned", event.iteration, text=event.text)
            case events.Noted():
                self.note("noted", event.iteration, text=event.text)
            case events.Evaluated():
                self._write_evaluated(event)
            case events.Finished():
                self._write_finished(event)
            case events.Failed():
                self.note("failed", event.iteration, sentence=event.sentence)
            case _:
                pass  # a journal is for what a person wants to read later

    def interrupted(self, reason: str) -> None:
        """Notes that the run ends between two events; what the last checkpoint holds is kept."""
        self._last_word("interrupted", reason=reason)

    def crashed(self, error: Exception) -> None:
        """Notes an unexpected error, with its traceback in crash.log."""
        text = "".join(traceback.format_exception(error))
        with suppress(MetatuiError):
            write_atomically(self.run.crash_path, text.encode(errors="replace"))
        self.failed(f"{type(error).__name__}: see crash.log")

    def failed(self, sentence: str) -> None:
        self._last_word("failed", sentence=sentence)

    def close(self) -> None:
        """Writes what it still can of the meta-steps, and lets the run go."""
        for file in (self._metrics, self._journal, self._tensorboard):
            if file is not None:
                with suppress(MetatuiError):
                    file.close()
        self._lock.release()

    def note(self, event: str, iteration: int, **details: Any) -> None:
        """Keeps an entry of the journal, of this moment, for the next `catch_up`."""
        self._journal.append(event, iteration, **details)
        self._todo.append(("journal.jsonl", self._journal.flush))

    def _last_word(self, event: str, **details: Any) -> None:
        with suppress(MetatuiError):
            self._journal.write(event, self._iteration, **details)

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
            parameters=event.parameters,
        )

    def _write_evaluated(self, event: events.Evaluated) -> None:
        best = {"best": event.evaluation} if event.best else {}
        self._keep(event.evaluation, event.views, validation=event.evaluation, **best)
        self.note(
            "evaluated",
            event.evaluation.iteration,
            best=event.best,
            regular=event.regular,
            **headline(event.evaluation),
        )

    def _write_finished(self, event: events.Finished) -> None:
        if event.test is not None:
            self._keep(event.test, event.views, test=event.test)
        name = event.reason if event.reason in ("stopped", "interrupted") else "finished"
        test = headline(event.test) if event.test is not None else None
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
            self._todo.append(("tensorboard", self._tensorboard.flush))

    def _keep(self, evaluation: Evaluation, views: tuple[TaskView, ...], **records: Evaluation) -> None:
        self._evaluations = kept = self._evaluations.model_copy(update=records)
        self._todo.append(("evaluation.json", lambda: write_record(self.run.evaluation_path, kept)))
        if views:
            drawn = AdaptationRecord(iteration=evaluation.iteration, split=evaluation.split, views=views)
            self._todo.append(("adaptation.json", lambda: write_record(self.run.adaptation_path, drawn)))


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
        "inner_lr": evaluation.inner_lr,
        "diverged": evaluation.diverged,
    }
