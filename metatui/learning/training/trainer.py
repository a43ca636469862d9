"""The training loop: typed events out, typed commands in between meta-steps. It has no idea of a terminal."""

from __future__ import annotations

import queue
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from metatui.config.fields import FIELDS, change
from metatui.config.schedule import Planned, PlannedChange, PlannedValidation
from metatui.config.settings import Settings
from metatui.events import (
    Change,
    Checkpoint,
    Checkpointed,
    Command,
    Evaluate,
    Evaluated,
    Evaluating,
    Evaluation,
    Event,
    Failed,
    Finished,
    Noted,
    Pause,
    Paused,
    Progress,
    Resume,
    Resumed,
    Started,
    Stop,
    Tweaked,
    Warned,
)
from metatui.learning.algorithms import ALGORITHMS, MetaStep, PendingStep
from metatui.learning.data.episodes import Split
from metatui.learning.engines.compiled.cuda_graph import CaptureFailed
from metatui.learning.evaluation.evaluate import evaluate
from metatui.learning.evaluation.task_views import task_views
from metatui.learning.hardware.memory import is_out_of_memory
from metatui.learning.optim.inner import Params
from metatui.learning.optim.outer import Diverged, scheduled_lr
from metatui.learning.training.compile_switch import CompileSwitch
from metatui.learning.training.experiment import Experiment, set_up
from metatui.learning.training.trainer_state import (
    TrainerState,
    as_validated,
    check_data,
    live_values,
    part,
    write_theta,
)
from metatui.utils.errors import BadInput

VIEWS = 6
"""Held-out tasks drawn out at each validation."""

SEEN_EVERY = 10
"""Meta-steps that a device may have been given before anybody waits for what they saw."""


@dataclass(frozen=True)
class StepInfo:
    """What is known of a meta-step without waiting for it."""

    iteration: int
    outer_lr: float
    tasks: int
    """In its meta-batch."""
    tasks_seen: int
    seconds: float


Save = Callable[[str, TrainerState], None]


class Trainer:
    """Trains one experiment.

    `events` is to be iterated in one thread; `submit` may be called from any. Commands are obeyed between meta-steps
    and, for stopping, between inner steps of an evaluation.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        state: TrainerState | None = None,
        save: Save | None = None,
        changes: Sequence[Planned] = (),
    ) -> None:
        """Get ready, or go on from `state`.

        Args:
            changes: what to do at which meta-step, in order, before any command that comes in then.
            save: called in the training thread with `last` or `best` and the state, before `Checkpointed` is yielded.

        Raises:
            BadInput: where the device or the data is not there, or `state` does not fit `settings`.
        """
        self._first_meta_batch: int = settings.algorithm.meta_batch
        if state is not None:
            self._first_meta_batch = state.values.get("first_meta_batch", self._first_meta_batch)
        self.experiment = set_up(settings, first_meta_batch=self._first_meta_batch)
        self.settings = self.experiment.settings
        self.algorithm = ALGORITHMS[settings.algorithm.name](self.experiment)
        self.iteration = 0
        self.tasks_seen = 0
        self.seconds = 0.0
        self.best: float | None = None
        self.best_theta: Params = {}
        self.best_iteration = 0
        self.best_settings: dict[str, float] | None = None
        self.since_best = 0
        self._best_diverged = 0
        self._diverging = 0
        self._validated_at: int | None = None
        self._commands: queue.SimpleQueue[Command] = queue.SimpleQueue()
        self._planned = deque(changes)
        self._save = save
        self._saved_at = time.monotonic()
        self._stop: Stop | None = None
        self._captured: object = None
        """The kind of meta-steps for which a capture was last tried."""
        self._waiting: list[tuple[StepInfo, MetaStep | PendingStep]] = []
        self._upgrade = CompileSwitch(self.algorithm, self.algorithm.graphs) if self.algorithm.graphs else None
        if state is not None:
            self._restore(state)

    def submit(self, command: Command) -> None:
        """Tell the trainer what to do next."""
        self._commands.put(command)

    def events(self) -> Iterator[Event]:
        """Train, yielding what happens. Blocks while paused. Ends with `Finished` or `Failed`."""
        yield self._started()
        for text in self.experiment.notices:
            yield Warned(self.iteration, text)
        try:
            yield from self._train()
        except Diverged as what:
            yield from self._checkpoint("last")
            yield Failed(self.iteration, self._divergence_hint(str(what)))
        except (torch.OutOfMemoryError, RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            yield from self._checkpoint("last")
            yield Failed(self.iteration, self._oom_hint())
        finally:
            if self._upgrade:
                self._upgrade.close()

    def state(self) -> TrainerState:
        """All that is needed to go on from here, in tensors of its own."""
        tensors = {f"theta/{name}": p for name, p in self.algorithm.theta.items()}
        tensors |= {f"best/{name}": p for name, p in self.best_theta.items()}
        tensors |= {f"algorithm/{name}": p for name, p in self.algorithm.tensors().items()}
        values: dict[str, Any] = {
            "iteration": self.iteration,
            "tasks_seen": self.tasks_seen,
            "seconds": self.seconds,
            "best": self.best,
            "best_iteration": self.best_iteration,
            "since_best": self.since_best,
            "best_settings": self.best_settings,
            "best_diverged": self._best_diverged,
            "diverging": self._diverging,
            "validated_at": self._validated_at,
            "upgrade_since": self._upgrade.since if self._upgrade else None,
            "upgrade_kind": self._upgrade.kind if self._upgrade else None,
            "upgrade_outcome": self._upgrade.outcome if self._upgrade else None,
            "first_meta_batch": self._first_meta_batch,
            "data": self.experiment.source.fingerprint,
            "settings": self.settings.model_dump(mode="json"),
        }
        copies = {name: t.detach().to("cpu", copy=True).contiguous() for name, t in tensors.items()}
        return TrainerState(copies, values)

    def _restore(self, state: TrainerState) -> None:
        check_data(self.experiment, state)
        write_theta(self.algorithm.theta, part(state.tensors, "theta"))
        best = part(state.tensors, "best")
        if best:
            self.best_theta = self._copy_of_theta()
            write_theta(self.best_theta, best)
        try:
            self.algorithm.load(part(state.tensors, "algorithm"))
        except (AssertionError, KeyError, IndexError, RuntimeError, ValueError, OverflowError):
            raise BadInput("what the checkpoint's algorithm remembers does not fit the settings") from None
        missing = {
            "tasks_seen",
            "seconds",
            "best",
            "best_iteration",
            "since_best",
            "validated_at",
        } - state.values.keys()
        if missing:
            raise BadInput(f"the checkpoint does not say {min(missing)}")
        values = state.values
        self.iteration, self.tasks_seen, self.seconds = values["iteration"], values["tasks_seen"], values["seconds"]
        self.best, self.best_iteration = values["best"], values["best_iteration"]
        self.since_best, self._validated_at = values["since_best"], values["validated_at"]
        self.best_settings = values.get("best_settings")
        as_validated(self.settings, self.best_settings)  # raises here rather than at the end of training
        self._best_diverged, self._diverging = values.get("best_diverged", 0), values.get("diverging", 0)
        if self._upgrade:
            self._upgrade.go_on(values.get("upgrade_since"), values.get("upgrade_kind"), values.get("upgrade_outcome"))

    def _copy_of_theta(self) -> Params:
        return {name: p.clone() for name, p in self.algorithm.theta.items()}

    def _started(self) -> Started:
        return Started(
            settings=self.settings,
            device=self.experiment.device.name,
            device_name=self.experiment.device.title,
            engine=self.settings.compute.engine,
            engine_reason=self.experiment.engine_reason,
            parameters=sum(p.numel() for p in self.algorithm.theta.values()),
            iteration=self.iteration,
        )

    def _train(self) -> Iterator[Event]:
        if self._validation_is_due():  # a stop came in the middle of it
            yield from self._validate()
        while self.algorithm.trains:
            yield from self._do_planned()
            if self._stop or self.iteration >= self.settings.training.iterations:
                break
            yield from self._process_commands()
            if self._stop or self._is_stale():
                break
            if self.iteration >= self.settings.training.iterations:
                break  # a command has just lowered them
            yield from self._improve()
            if self._stop:
                break
            yield from self._meta_step_that_fits()
            if self._validation_is_due():
                yield from self._flush_progress()
                yield from self._validate()
            if time.monotonic() - self._saved_at >= self.settings.checkpoint.every:
                yield from self._flush_progress()
                yield from self._checkpoint("last")
        yield from self._flush_progress()
        yield from self._finish()

    def _improve(self) -> Iterator[Event]:
        """Switch to compiled meta-steps when they are ready."""
        if self._upgrade:
            outcome = self._upgrade.outcome
            for said in self._upgrade.before(
                self.iteration, self.settings, self._next_tasks(), self._stop_is_waiting
            ):  # fmt: skip
                yield Noted(self.iteration, said)
            if self._upgrade.outcome not in (None, outcome):  # for ever, whatever another compilation would come to
                yield from self._flush_progress()
                yield from self._checkpoint("last")

    def _capture(self) -> Iterator[Event]:
        """Capture the kind of meta-step that comes next, where the device has graphs."""
        algorithm, at_once = self.settings.algorithm, self.settings.compute.tasks_at_once
        kind = algorithm.inner_steps, algorithm.meta_batch, at_once
        if self.algorithm.captures is None or self._captured == kind:
            return
        yield from self._flush_progress()
        try:
            if self.algorithm.capture(self._next_tasks(), algorithm):
                yield Noted(self.iteration, "Meta-steps are one CUDA graph each from here on")
        except CaptureFailed as failed:
            yield Noted(self.iteration, f"The {self.settings.compute.engine} engine goes on: {failed}")
        self._captured = kind

    def _next_tasks(self) -> range:
        return range(self.tasks_seen, self.tasks_seen + self.settings.algorithm.meta_batch)

    def _meta_step_that_fits(self) -> Iterator[Event]:
        """A meta-step, with fewer tasks in memory together where memory asks for it."""
        while True:
            try:
                yield from self._capture()
                self._meta_step()
                if len(self._waiting) == SEEN_EVERY or isinstance(self._waiting[-1][1], MetaStep):
                    yield from self._flush_progress()
                return
            except (torch.OutOfMemoryError, RuntimeError, MemoryError) as error:
                meta_batch = self.settings.algorithm.meta_batch
                at_once = min(self.settings.compute.tasks_at_once or meta_batch, meta_batch)
                if not is_out_of_memory(error) or (at_once == 1 and self.algorithm.captures is None):
                    raise
            # Outside of the except block, where the error keeps tensors alive.
            yield from self._flush_progress()
            self.algorithm.free_memory()
            self._captured = None
            device, engine = self.experiment.device.name, self.settings.compute.engine
            if at_once == 1:  # a graph takes more memory than an eager meta-step
                self.algorithm.captures = None
                yield Noted(
                    self.iteration,
                    f"{device} is out of memory with one task at once: {engine} continues without CUDA graphs",
                )
            else:
                yield Noted(self.iteration, f"{device} is out of memory with {at_once} tasks at once")
                yield self._change(Change("compute.tasks_at_once", at_once // 2))

    def _meta_step(self) -> None:
        began = time.monotonic()
        algorithm = self.settings.algorithm
        outer_lr = scheduled_lr(algorithm, self.iteration, self.settings.training.iterations)
        tasks = self._next_tasks()
        step = self.algorithm.meta_step(tasks, algorithm, outer_lr)
        self.iteration += 1
        self.tasks_seen = tasks.stop
        self.seconds += time.monotonic() - began
        self._waiting.append((StepInfo(self.iteration, outer_lr, len(tasks), self.tasks_seen, self.seconds), step))

    def _flush_progress(self) -> Iterator[Progress]:
        """Say what the meta-steps saw that have been taken since the last time. Raises Diverged."""
        waiting, self._waiting = self._waiting, []
        while waiting:
            began = time.monotonic()
            seen = [step for _, step in waiting if isinstance(step, MetaStep)]
            try:
                seen = seen or self.algorithm.read([step for _, step in waiting if isinstance(step, PendingStep)])
            except Diverged:
                first = waiting[0][0]
                self.iteration, self.tasks_seen = first.iteration - 1, first.tasks_seen - first.tasks
                raise
            self.seconds += time.monotonic() - began
            for (done, _), step in zip(waiting, seen, strict=False):
                yield Progress(
                    iteration=done.iteration,
                    meta_loss=step.meta_loss,
                    accuracy=step.accuracy,
                    support_loss=step.support_loss,
                    grad_norm=step.grad_norm,
                    outer_lr=done.outer_lr,
                    tasks_seen=done.tasks_seen,
                    seconds=done.seconds,
                )
            waiting = waiting[len(seen) :]

    def _validation_is_due(self) -> bool:
        every = self.settings.evaluation.every
        return bool(every and self.iteration) and self.iteration % every == 0 and self._validated_at != self.iteration

    def _is_stale(self) -> bool:
        patience = self.settings.training.early_stop
        return bool(patience) and self.since_best >= patience

    def _finish(self) -> Iterator[Event]:
        reason = self._stop.reason if self._stop else "early_stop" if self._is_stale() else "iterations"
        if not self._stop and self._validated_at != self.iteration:
            yield from self._validate(regular=False)
        yield from self._checkpoint("last")
        test, views, warning = None, (), None
        if not self._stop:
            theta = self.best_theta or self.algorithm.theta
            iteration = self.best_iteration if self.best_theta else self.iteration
            experiment = replace(self.experiment, settings=as_validated(self.settings, self.best_settings))
            tasks = self.settings.evaluation.test_tasks
            test = yield from self._evaluation("test", tasks, theta, iteration, experiment)
            if test is not None:
                test = replace(test, checkpoint="best" if self.best_theta else "last")
                views = self._views("test", theta, experiment)
                warning = self._no_result(test)
        if self._stop:
            reason = self._stop.reason
        yield Finished(self.iteration, reason, self.seconds, test, views, warning)

    def _do_planned(self) -> Iterator[Event]:
        """Carry out what is planned for when so many meta-steps are done."""
        if self._planned and self._planned[0].iteration <= self.iteration:
            yield from self._flush_progress()
        while self._planned and self._planned[0].iteration <= self.iteration and not self._stop:
            match self._planned.popleft():
                case PlannedChange(path=path, value=value):
                    yield self._change(Change(path, value))
                case PlannedValidation():
                    yield from self._validate(regular=False)

    def _process_commands(self) -> Iterator[Event]:
        """Carry out the commands that have come in, waiting for more while paused."""
        paused = False
        if not self._commands.empty():
            yield from self._flush_progress()
        while paused or not self._commands.empty():
            match self._commands.get():
                case Pause() if not paused:
                    paused = True
                    yield from self._checkpoint("last")
                    yield Paused(self.iteration)
                case Resume() if paused:
                    paused = False
                    yield Resumed(self.iteration)
                case Stop() as stop:
                    self._stop = stop
                    return
                case Checkpoint():
                    yield from self._checkpoint("last")
                case Evaluate():
                    yield from self._validate(regular=False)
                case Change() as wanted:
                    yield self._change(wanted)
                case _:
                    pass  # pausing what is paused, or resuming what runs, is no error
            if self._stop:
                return

    def _change(self, wanted: Change) -> Event:
        knob = FIELDS.get(wanted.path)
        if knob is None or not knob.live:
            live = ", ".join(path for path, k in FIELDS.items() if k.live)
            return Warned(self.iteration, f"{wanted.path} cannot change during a run; {live} can")
        old = self.settings.value(wanted.path)
        try:
            self.settings = change(self.settings, {wanted.path: wanted.value})
        except BadInput as error:
            return Warned(self.iteration, str(error))
        self.experiment.settings = self.settings
        return Tweaked(self.iteration, wanted.path, old, self.settings.value(wanted.path))

    def _validate(self, *, regular: bool = True) -> Iterator[Event]:
        result = yield from self._evaluation(
            "val", self.settings.evaluation.tasks, self.algorithm.theta, self.iteration, self.experiment
        )
        if result is None:
            return
        value, diverged = result.final[0] if result.accuracy else -result.final[0], result.diverged or 0
        # Means leave diverged tasks out, so they only compare between validations with equally many of those.
        score = -diverged, value
        best = result.is_finite and (self.best is None or score > (-self._best_diverged, self.best))
        again = self._validated_at == self.iteration
        if best:
            self.best, self.best_iteration, self.since_best = value, self.iteration, 0
            self.best_theta, self._best_diverged = self._copy_of_theta(), diverged
            self.best_settings = live_values(self.settings)
        elif not again:
            self.since_best += 1
        self._validated_at = self.iteration
        yield Evaluated(result, self._views("val", self.algorithm.theta, self.experiment), best, regular)
        if not (diverged or not result.is_finite):
            self._diverging = 0
        elif not again:
            self._diverging += 1
            if self._diverging == 2:
                tasks = f"{diverged:,} of {result.tasks:,} in the last"
                yield Warned(
                    self.iteration, f"Tasks diverged in two validations in a row ({tasks}): lower {self._to_lower()}"
                )
        if best:
            yield from self._checkpoint("best")

    def _evaluation(
        self, split: Split, tasks: int, theta: Params, iteration: int, experiment: Experiment
    ) -> Generator[Event, None, Evaluation | None]:
        """Evaluate, unless a stop comes in between: then None."""
        run = evaluate(
            experiment,
            theta,
            iteration=iteration,
            split=split,
            tasks=tasks,
            steps=self.settings.evaluation.inner_steps,
            shots=self.settings.evaluation_shots,
        )
        yield Evaluating(self.iteration, split, 0, tasks)
        done = 0
        while True:
            before = done
            try:
                done = next(run)
            except StopIteration as finished:
                result: Evaluation = finished.value
                return result
            if self._stop_is_waiting():
                return None
            if done > before:
                yield Evaluating(self.iteration, split, done, tasks)

    def _stop_is_waiting(self) -> bool:
        """Whether a stop has come in; what else has come in keeps its order."""
        waiting = []
        while not self._commands.empty():
            command = self._commands.get()
            if isinstance(command, Stop):
                self._stop = command
            waiting.append(command)
        for command in waiting:
            self._commands.put(command)
        return self._stop is not None

    def _views(self, split: Split, theta: Params, experiment: Experiment) -> tuple[Any, ...]:
        evaluation = self.settings.evaluation
        tasks = range(min(VIEWS, evaluation.tasks))
        return task_views(
            experiment, theta, split=split, tasks=tasks, steps=evaluation.inner_steps,
            shots=self.settings.evaluation_shots,
        )  # fmt: skip

    def _checkpoint(self, kind: str) -> Iterator[Event]:
        self._saved_at = time.monotonic()
        if self._save is not None:
            self._save(kind, self.state())
            yield Checkpointed(self.iteration, kind)

    def _no_result(self, test: Evaluation) -> str | None:
        """Why `test` is not a good result, and which setting to lower; None where it is one."""
        what = []
        if not self.best_theta:
            what.append("no validation was finite, so the last parameters were tested and not the best")
        if test.diverged:
            what.append(f"{test.diverged:,} of {test.tasks:,} test tasks diverged")
        if not what:
            return None
        said = "; ".join(what)
        return f"{said[0].upper()}{said[1:]}: lower {self._to_lower()} and train again"

    def _to_lower(self) -> str:
        """The learning rates to lower: those that were raised after the best validation, else both."""
        algorithm, best = self.settings.algorithm, self.best_settings or {}
        now = {"algorithm.inner_lr": algorithm.inner_lr, "algorithm.outer_lr": algorithm.outer_lr}
        raised = [
            f"{path} (now {rate:g}, {before:g} at the best validation)"
            for path, rate in now.items()
            if rate > (before := best.get(path, rate))
        ]
        return " or ".join(raised or [f"{path} (now {rate:g})" for path, rate in now.items()])

    def _divergence_hint(self, what: str) -> str:
        algorithm = self.settings.algorithm
        return (
            f"The {what} of meta-step {self.iteration + 1} is not finite: lower algorithm.inner_lr "
            f"(now {algorithm.inner_lr:g}) or algorithm.outer_lr (now {algorithm.outer_lr:g}); "
            f"the state after meta-step {self.iteration} is kept"
        )

    def _oom_hint(self) -> str:
        algorithm, task = self.settings.algorithm, self.settings.task
        return (
            f"{self.experiment.device.name} is out of memory: lower algorithm.meta_batch (now {algorithm.meta_batch}), "
            f"algorithm.inner_steps (now {algorithm.inner_steps}) or task.queries (now {task.queries}); "
            f"the state after meta-step {self.iteration} is kept"
        )
