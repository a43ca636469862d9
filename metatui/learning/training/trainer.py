"""The training loop. It yields typed events, and executes typed commands between meta-steps."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

import torch
from torch.nn.modules.batchnorm import _BatchNorm

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
    Resume,
    Resumed,
    Started,
    Stop,
    Tweaked,
    Warned,
)
from metatui.learning.data.episodes import Split
from metatui.learning.evaluation.evaluate import evaluate
from metatui.learning.evaluation.task_views import task_views
from metatui.learning.experiment import Experiment, set_up
from metatui.learning.hardware.memory import is_out_of_memory
from metatui.learning.optim.inner import Params
from metatui.learning.optim.outer import DivergedError
from metatui.learning.training import best_model
from metatui.learning.training.best_model import BestModel
from metatui.learning.training.command_queue import CommandQueue
from metatui.learning.training.compile_switch import CompileSwitch
from metatui.learning.training.failures import divergence_message, out_of_memory_message, result_warning
from metatui.learning.training.hints import Hints
from metatui.learning.training.learner import Learner
from metatui.learning.training.meta_steps import MetaSteps
from metatui.learning.training.trainer_state import (
    TrainerState,
    as_validated,
    check_data,
    part,
    rename_tensors,
    write_theta,
)
from metatui.utils.errors import BadInput

VIEWS = 6
"""Maximum number of held-out tasks whose predictions are recorded for display after a validation or test."""

REPORT_EVERY = 0.5
"""Seconds between two events about the progress of an evaluation."""

Save = Callable[[str, TrainerState], None]


class Trainer:
    """The training loop of one experiment.

    Iterate over `events` in one thread; any thread or signal handler may call `submit`. Commands take effect between
    meta-steps. A stop also interrupts an evaluation, between two inner steps.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        state: TrainerState | None = None,
        save: Save | None = None,
        changes: Sequence[Planned] = (),
    ) -> None:
        """Set up the training, or continue from `state`.

        Args:
            save: function that writes the state as checkpoint `last` or `best`. It is called in the training thread,
                before `Checkpointed` is yielded.
            changes: scheduled changes and validations, in the order of their meta-steps. They are carried out before
                commands for the same meta-step.

        Raises:
            BadInput: if the device or the data set is not available, or `state` does not fit `settings`.
        """
        self._first_meta_batch: int = settings.algorithm.meta_batch
        if state is not None:
            self._first_meta_batch = state.values.get("first_meta_batch", self._first_meta_batch)
        self.experiment = set_up(settings, first_meta_batch=self._first_meta_batch)
        self.learner = Learner(self.experiment)
        self.best = BestModel()
        self._steps = MetaSteps(self.experiment, self.learner)
        self._switch = CompileSwitch(self.learner, self.learner.graphs) if self.learner.graphs else None
        self.commands = CommandQueue()
        self._planned = deque(changes)
        self._save = save
        self._saved_at = time.monotonic()
        self._stop: Stop | None = None
        self._overtaken: list[Change] = []
        """Changes that preceded a command to stop, if that command arrived during an evaluation or the wait for the
        compiler. They are carried out before the last checkpoint."""
        initial = self.learner.flat.vector.clone()
        self._hints = Hints(
            moved=lambda: float((self.learner.flat.vector - initial).norm() / initial.norm()),
            has_batch_norm=any(isinstance(module, _BatchNorm) for module in self.experiment.model.modules()),
            measured_ms=self._measured_ms(),
        )
        if state is not None:
            self._restore(state)

    def _measured_ms(self) -> float | None:
        """Return the engine's measured time per meta-step on a CPU.

        The result is None if this time is unknown, or if the hint about slow meta-steps does not apply.
        """
        compute = self.experiment.settings.compute
        # The compiled engine starts on the batched one, and with one thread there is nothing to suggest.
        if compute.device != "cpu" or compute.engine == "compiled" or compute.threads == 1:
            return None
        return self.experiment.measured.ms.get(compute.engine)

    @property
    def settings(self) -> Settings:
        """The current settings, including all changes during the run."""
        return self.experiment.settings

    @property
    def iteration(self) -> int:
        """Number of meta-steps so far."""
        return self._steps.iteration

    def submit(self, command: Command) -> None:
        """Queue a command."""
        self.commands.put(command)

    def stop_requested(self) -> bool:
        """Return whether a command to stop was submitted. Only the training thread may call this method.

        If so, the commands that precede the command to stop are skipped, except changes, which are carried out before
        the last checkpoint.
        """
        if not self._stop and any(isinstance(command, Stop) for command in self.commands.waiting()):
            while not isinstance(command := self.commands.get(), Stop):
                if isinstance(command, Change):
                    self._overtaken.append(command)
            self._stop = command
        return self._stop is not None

    def events(self) -> Iterator[Event]:
        """Train and yield events. Blocks while paused. The last event is `Finished` or `Failed`."""
        with closing(self._events()) as events:
            for event in events:
                yield event
                yield from self._hints.hints_for(event, self.settings, self.best)

    def _events(self) -> Generator[Event, None, None]:
        yield self._started()
        for text in self.experiment.notices:
            yield Warned(self.iteration, text)
        for text in self.experiment.notes:
            yield Noted(self.iteration, text)
        try:
            yield from self._train()
        except DivergedError as error:
            yield from self._checkpoint("last")
            yield from self._hints.failed(self.iteration, str(error), self.settings, self.best)
            yield Failed(self.iteration, divergence_message(self.settings, self.iteration, str(error)))
        except (torch.OutOfMemoryError, RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            yield from self._checkpoint("last")
            yield Failed(self.iteration, out_of_memory_message(self.settings, self.iteration))
        finally:
            if self._switch:
                self._switch.close()

    def _started(self) -> Started:
        return Started(
            settings=self.settings,
            device=self.experiment.device.name,
            device_name=self.experiment.device.title,
            engine=self.settings.compute.engine,
            engine_reason=self.experiment.engine_reason,
            parameters=sum(p.numel() for p in self.learner.theta.values()),
            iteration=self.iteration,
        )

    def _train(self) -> Iterator[Event]:
        if self._validation_is_due():  # a stop interrupted it before the checkpoint was written
            yield from self._validate()
        while self.experiment.algorithm.trains:
            yield from self._run_schedule()
            if self._is_over():
                break
            yield from self._process_commands()
            if self._is_over() or self._is_stale():
                break
            yield from self._prepare_compiled()
            if self._stop:
                break
            yield from self._steps.step()
            if self._validation_is_due():
                yield from self._steps.flush()
                yield from self._validate()
            if time.monotonic() - self._saved_at >= self.settings.checkpoint.every:
                yield from self._steps.flush()
                yield from self._checkpoint("last")
        yield from self._steps.flush()
        for command in self._overtaken:  # a resumed run continues with them
            yield self._change(command)
        yield from self._finish()

    def _is_over(self) -> bool:
        return self._stop is not None or self.iteration >= self.settings.training.iterations

    def _is_stale(self) -> bool:
        patience = self.settings.training.early_stop
        return bool(patience) and self.best.since_best >= patience

    def _prepare_compiled(self) -> Iterator[Event]:
        """Start the compiler, or switch to compiled meta-steps, if either is due."""
        if not self._switch:
            return
        outcome, tasks = self._switch.outcome, self._steps.next_tasks()
        for text in self._switch.prepare_step(self.iteration, self.settings, tasks, self.stop_requested):
            yield Noted(self.iteration, text)
        if self._switch.outcome not in (None, outcome):  # a resumed run must repeat this outcome
            yield from self._steps.flush()
            yield from self._checkpoint("last")

    def _finish(self) -> Iterator[Event]:
        reason = "early_stop" if self._is_stale() and not self._is_over() else "iterations"
        if not self._stop and self.best.validated_at != self.iteration:
            yield from self._validate(regular=False)
        yield from self._checkpoint("last")
        test, views, warning = None, (), None
        if not self._stop:
            checkpoint, theta, iteration = "last", self.learner.theta, self.iteration
            if self.best.theta:
                checkpoint, theta, iteration = "best", self.best.theta, self.best.iteration
            experiment = replace(self.experiment, settings=as_validated(self.settings, self.best.settings))
            tasks = self.settings.evaluation.test_tasks
            test = yield from self._evaluate("test", tasks, theta, iteration, experiment)
            if test is not None:
                test = replace(test, checkpoint=checkpoint)
                views = self._views("test", tasks, theta, experiment)
                warning = result_warning(test, self.settings, self.best.settings)
        if self._stop:  # the stop may have come during the validation or the test
            reason = self._stop.reason
        yield Finished(self.iteration, reason, self._steps.seconds, test, views, warning)

    # Commands and scheduled changes

    def _run_schedule(self) -> Iterator[Event]:
        """Carry out the changes and validations that are scheduled for this meta-step or an earlier one."""
        if self._planned and self._planned[0].iteration <= self.iteration:
            yield from self._steps.flush()
        while self._planned and self._planned[0].iteration <= self.iteration and not self._stop:
            match self._planned.popleft():
                case PlannedChange(path=path, value=value):
                    yield self._change(Change(path, value))
                case PlannedValidation():
                    yield from self._validate(regular=False)

    def _process_commands(self) -> Iterator[Event]:
        """Process all queued commands; while paused, wait for more."""
        paused = False
        while (paused or self.commands.waiting()) and not self._stop:
            yield from self._steps.flush()
            match self.commands.get():
                case Pause() if not paused:
                    paused = True
                    yield from self._checkpoint("last")
                    yield Paused(self.iteration)
                case Resume() if paused:
                    paused = False
                    yield Resumed(self.iteration)
                case Stop() as stop:
                    self._stop = stop
                case Checkpoint():
                    yield from self._checkpoint("last")
                case Evaluate():
                    yield from self._validate(regular=False)
                case Change() as command:
                    yield self._change(command)
                case _:
                    pass  # pausing twice, or resuming a run that is not paused, has no effect

    def _change(self, command: Change) -> Event:
        try:
            old, new = self.experiment.change_setting(command.path, command.value)
        except BadInput as error:
            return Warned(self.iteration, str(error))
        return Tweaked(self.iteration, command.path, old, new)

    # Validation and test

    def _validation_is_due(self) -> bool:
        every = self.settings.evaluation.every
        due = bool(every and self.iteration) and self.iteration % every == 0
        return due and self.best.validated_at != self.iteration

    def _validate(self, *, regular: bool = True) -> Iterator[Event]:
        theta, tasks = self.learner.theta, self.settings.evaluation.tasks
        result = yield from self._evaluate("val", tasks, theta, self.iteration, self.experiment)
        if result is None:
            return
        is_best = self.best.update(result, theta, self.settings)
        yield Evaluated(result, self._views("val", tasks, theta, self.experiment), is_best, regular)
        if is_best:
            yield from self._checkpoint("best")

    def _evaluate(
        self, split: Split, tasks: int, theta: Params, iteration: int, experiment: Experiment
    ) -> Generator[Event, None, Evaluation | None]:
        """Evaluate held-out tasks and yield the progress. Returns the result, or None if a stop was requested."""
        evaluation = evaluate(
            experiment,
            theta,
            iteration=iteration,
            split=split,
            tasks=tasks,
            steps=self.experiment.algorithm.evaluation_steps,
            shots=self.settings.evaluation_shots,
        )
        yield Evaluating(self.iteration, split, 0, tasks)
        reported, reported_at = 0, time.monotonic()
        while True:
            try:
                done = next(evaluation)
            except StopIteration as finished:
                result: Evaluation = finished.value
                return result
            if self.stop_requested():
                return None
            if done > reported and time.monotonic() - reported_at >= REPORT_EVERY:
                reported, reported_at = done, time.monotonic()
                yield Evaluating(self.iteration, split, done, tasks)

    def _views(self, split: Split, tasks: int, theta: Params, experiment: Experiment) -> tuple[Any, ...]:
        """Return views of the first `min(VIEWS, tasks)` held-out tasks of `split`."""
        return task_views(
            experiment,
            theta,
            split=split,
            tasks=range(min(VIEWS, tasks)),
            steps=self.experiment.algorithm.evaluation_steps,
            shots=self.settings.evaluation_shots,
        )

    # Checkpoints

    def _checkpoint(self, kind: str) -> Iterator[Event]:
        self._saved_at = time.monotonic()
        if self._save is not None:
            self._save(kind, self.state())
            yield Checkpointed(self.iteration, kind)

    def state(self) -> TrainerState:
        """Return a copy of everything that is needed to continue the training from this point."""
        tensors = {f"theta/{name}": p for name, p in self.learner.theta.items()}
        tensors |= {f"best/{name}": p for name, p in self.best.theta.items()}
        tensors |= {f"algorithm/{name}": p for name, p in self.learner.tensors().items()}
        tensors |= {f"frozen/{name}": t for name, t in self.experiment.frozen().items()}
        values: dict[str, Any] = {
            "iteration": self.iteration,
            "tasks_seen": self._steps.tasks_seen,
            "seconds": self._steps.seconds,
            **self.best.values(),
            "upgrade_since": self._switch.since if self._switch else None,
            "upgrade_kind": self._switch.kind if self._switch else None,
            "upgrade_outcome": self._switch.outcome if self._switch else None,
            "first_meta_batch": self._first_meta_batch,
            "hints": self._hints.values(),
            "data": self.experiment.source.fingerprint,
            **({"weights": self.experiment.weights} if self.experiment.weights else {}),
            "settings": self.settings.model_dump(mode="json"),
        }
        copies = {name: t.detach().to("cpu", copy=True).contiguous() for name, t in tensors.items()}
        return TrainerState(copies, values)

    def _restore(self, state: TrainerState) -> None:
        """Continue from a checkpoint. Raises BadInput if it does not fit the settings."""
        check_data(self.experiment, state)
        tensors = rename_tensors(state.tensors)
        write_theta(self.learner.theta, part(tensors, "theta"))
        best = part(tensors, "best")
        if best:
            best_theta = {name: p.clone() for name, p in self.learner.theta.items()}
            write_theta(best_theta, best)
            best = best_theta
        try:
            self.learner.load(part(tensors, "algorithm"))
        except (AssertionError, KeyError, IndexError, RuntimeError, ValueError, OverflowError):
            raise BadInput("the algorithm's state in the checkpoint does not fit the settings") from None
        values = state.values
        missing = {"tasks_seen", "seconds", *best_model.REQUIRED} - values.keys()
        if missing:
            raise BadInput(f"the checkpoint lacks the value '{min(missing)}'")
        self._steps.iteration = values["iteration"]
        self._steps.tasks_seen, self._steps.seconds = values["tasks_seen"], values["seconds"]
        self.best = BestModel.restore(values, best)
        if "hints" in values:
            self._hints.restore(values["hints"])
        as_validated(self.settings, self.best.settings)  # raises here rather than at the end of the training
        if self._switch:
            self._switch.restore(values.get("upgrade_since"), values.get("upgrade_kind"), values.get("upgrade_outcome"))
