"""A sequence of meta-steps: numbering, metrics, and recovery when memory runs out."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial

import torch

from metatui.events import Event, Noted, Progress, Tweaked
from metatui.learning.engines.compiled.cuda_graph import CaptureFailedError
from metatui.learning.experiment import Experiment
from metatui.learning.hardware.memory import is_out_of_memory
from metatui.learning.optim.outer import DivergedError, scheduled_lr
from metatui.learning.training.learner import Learner, MetaStep, PendingStep, StepsPendingError

MAX_PENDING_STEPS = 10
"""Number of meta-steps that are queued on a device before the trainer waits for their metrics."""


class MetaSteps:
    """Runs meta-steps one at a time with the current settings, and reports their metrics."""

    def __init__(self, experiment: Experiment, learner: Learner) -> None:
        self._experiment = experiment
        self._learner = learner
        self.iteration = 0
        """Number of meta-steps so far."""
        self.tasks_seen = 0
        self.seconds = 0.0
        """Time spent in meta-steps, in seconds."""
        self._pending: list[tuple[range, partial[Progress], MetaStep | PendingStep]] = []
        """Meta-steps that have not been reported: their task numbers, their events without the metrics, and their
        results."""
        self._tried_to_capture: object = None
        """The kind of meta-step for which capturing a CUDA graph was last attempted."""
        self._stage: str | None = None
        """Stage (`Algorithm.stage`) of the last meta-step; None before the first meta-step of this process."""

    def next_tasks(self) -> range:
        """Return the task numbers of the next meta-batch."""
        return range(self.tasks_seen, self.tasks_seen + self._experiment.settings.algorithm.meta_batch)

    def step(self) -> Iterator[Event]:
        """Take a meta-step. If memory runs out, try again with fewer tasks in memory at the same time.

        Raises:
            DivergedError: if a loss or gradient is not finite; see `flush`.
            RuntimeError: if a single task does not fit in memory, see `is_out_of_memory`.
        """
        yield from self._new_stage()
        while True:
            try:
                yield from self._capture()
                self._make_step()
                if len(self._pending) == MAX_PENDING_STEPS or isinstance(self._pending[-1][-1], MetaStep):
                    yield from self.flush()
                return
            except StepsPendingError:
                yield from self.flush()
                continue
            except (torch.OutOfMemoryError, RuntimeError, MemoryError) as error:
                settings = self._experiment.settings
                meta_batch = settings.algorithm.meta_batch
                at_once = min(settings.compute.tasks_at_once or meta_batch, meta_batch)
                if not is_out_of_memory(error) or (at_once == 1 and self._learner.captures is None):
                    raise
            # Outside the except block: the exception keeps tensors alive.
            yield from self.flush()
            self._learner.free_memory()
            self._tried_to_capture = None
            device = settings.compute.device
            if at_once == 1:  # a graph needs more memory than an eager meta-step
                self._learner.captures = None
                text = f"{device} is out of memory even with one task at a time: training continues without CUDA graphs"
                yield Noted(self.iteration, text)
            else:
                yield Noted(self.iteration, f"{device} is out of memory with {at_once} tasks at once")
                old, new = self._experiment.change_setting("compute.tasks_at_once", at_once // 2)
                yield Tweaked(self.iteration, "compute.tasks_at_once", old, new)

    def flush(self) -> Iterator[Progress]:
        """Wait for pending meta-steps and report their metrics.

        Raises:
            DivergedError: if a meta-step diverged. `iteration` and `tasks_seen` are then reset to their values before
                this meta-step.
        """
        pending, self._pending = self._pending, []
        while pending:
            began = time.monotonic()
            metrics = [step for *_, step in pending if isinstance(step, MetaStep)]
            try:
                metrics = metrics or self._learner.read([s for *_, s in pending if isinstance(s, PendingStep)])
            except DivergedError:
                self.iteration -= len(pending)
                self.tasks_seen = pending[0][0].start
                raise
            self.seconds += time.monotonic() - began
            for (_, event, _), step in zip(pending, metrics, strict=False):
                yield event(**vars(step))
            pending = pending[len(metrics) :]

    def _new_stage(self) -> Iterator[Event]:
        """Yield a note on the next meta-step if it begins a new stage of the training (`Algorithm.stage`)."""
        if not self._experiment.algorithm.annealed:
            return
        if self._stage is None:
            self._stage = self._stage_after(max(self.iteration - 1, 0))
        before, self._stage = self._stage, self._stage_after(self.iteration)
        if self._stage != before:
            yield from self.flush()
            yield Noted(self.iteration, self._stage)

    def _stage_after(self, made: int) -> str:
        """Return the stage of the training (`Algorithm.stage`) after `made` meta-steps."""
        return self._experiment.algorithm.at(self._progress(made)).stage

    def _progress(self, made: int) -> float:
        """Return the fraction of the training that is completed after `made` meta-steps."""
        return min(made / self._experiment.settings.training.iterations, 1.0)

    def _capture(self) -> Iterator[Event]:
        """Capture a CUDA graph for meta-steps of the same kind as the next one, if possible and not attempted yet."""
        settings = self._experiment.settings
        kind = settings.algorithm.inner_steps, settings.algorithm.meta_batch, settings.compute.tasks_at_once
        if self._learner.captures is None or self._tried_to_capture == kind:
            return
        yield from self.flush()
        try:
            if self._learner.capture(self.next_tasks()):
                yield Noted(self.iteration, "From now on, each meta-step is one CUDA graph")
        except CaptureFailedError as error:
            yield Noted(self.iteration, f"Training continues on the {settings.compute.engine} engine: {error}")
        self._tried_to_capture = kind

    def _make_step(self) -> None:
        began = time.monotonic()
        settings = self._experiment.settings
        outer_lr = scheduled_lr(settings.algorithm, self.iteration, settings.training.iterations)
        tasks = self.next_tasks()
        self._learner.progress = self._progress(self.iteration)
        step = self._learner.meta_step(tasks, outer_lr)
        self.iteration += 1
        self.tasks_seen = tasks.stop
        self.seconds += time.monotonic() - began
        event = partial(
            Progress,
            iteration=self.iteration,
            outer_lr=outer_lr,
            tasks_seen=self.tasks_seen,
            seconds=self.seconds,
        )
        self._pending.append((tasks, event, step))
