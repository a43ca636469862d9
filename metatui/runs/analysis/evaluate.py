"""Evaluation of a saved run on held-out tasks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from metatui.config.fields import FIELDS, change, fixed_reason
from metatui.config.settings import Settings
from metatui.events import Evaluation, TaskView
from metatui.runs.analysis.comparison.labels import algorithm_title
from metatui.runs.execution.run_log import pin_compute
from metatui.runs.execution.session import saved_state
from metatui.runs.storage.run_folder import RunFolder
from metatui.utils.errors import Problem, SettingsError, quote


def evaluate(
    run: RunFolder,
    *,
    split: str = "test",
    tasks: int | None = None,
    steps: int | None = None,
    shots: int | None = None,
    inner_lr: float | None = None,
    batch_norm: str | None = None,
    device: str | None = None,
) -> Evaluation:
    """Evaluate the best parameters of a run, or the last parameters if there was no validation, on held-out tasks.

    Args:
        split: `val` or `test`.
        tasks, steps, shots, batch_norm, device: protocol and device of the evaluation; by default, those of the run.
        inner_lr: inner learning rate; defaults to the rate at the best validation.

    Raises:
        BadInput: if a value is not allowed, the run has no intact checkpoint, or the device or data is not available.
    """
    from metatui.learning.training.trainer_state import evaluate_state

    settings, state = saved_state(run)
    settings = with_protocol(
        settings, tasks=tasks, steps=steps, shots=shots, inner_lr=inner_lr, batch_norm=batch_norm, device=device
    )
    settings = pin_compute(settings, run.journal(), but={"compute.device": device} if device else {})
    return evaluate_state(settings, state, split=split)


def views(run: RunFolder, tasks: Sequence[int]) -> tuple[TaskView, ...]:
    """Return the test tasks with the indices `tasks`, with predictions before and after adaptation.

    This function raises the same errors as `evaluate`.
    """
    from metatui.learning.training.trainer_state import views_of_state

    settings, state = saved_state(run)
    settings = pin_compute(settings, run.journal(), but={})
    steps, shots = settings.evaluation_steps, settings.evaluation_shots
    return views_of_state(settings, state, split="test", tasks=tasks, steps=steps, shots=shots)


def with_protocol(
    settings: Settings,
    *,
    tasks: int | None,
    steps: int | None,
    shots: int | None,
    inner_lr: float | None,
    batch_norm: str | None,
    device: str | None,
) -> Settings:
    """Return `settings` with the given evaluation protocol and device. Arguments that are None change nothing."""
    if batch_norm is not None and not settings.is_classification:
        sentence = f"evaluation.batch_norm is {quote(batch_norm)}, but the model of this run has no batch norm"
        raise SettingsError([Problem("evaluation.batch_norm", sentence)])
    if shots == 0:  # as a setting, 0 selects task.shots
        sentence = "evaluation.shots is 0, but must be a whole number from 1 to 1,000 in an evaluation"
        raise SettingsError([Problem("evaluation.shots", sentence)])
    if steps is not None and not FIELDS["evaluation.inner_steps"].is_relevant(settings):
        sentence = (
            f"evaluation.inner_steps is {steps}, but {algorithm_title(settings)}, the algorithm of this run, ignores it"
        )
        raise SettingsError([Problem("evaluation.inner_steps", sentence)])
    if inner_lr is not None and (reason := fixed_reason("algorithm.inner_lr", settings)):
        sentence = f"algorithm.inner_lr is {inner_lr:g}, but cannot be changed in an evaluation of this run: {reason}"
        raise SettingsError([Problem("algorithm.inner_lr", sentence)])
    protocol: dict[str, Any] = {
        "evaluation.test_tasks": tasks,
        "evaluation.inner_steps": steps,
        "evaluation.shots": shots,
        "algorithm.inner_lr": inner_lr,
        "evaluation.batch_norm": batch_norm,
        "compute.device": device,
    }
    return change(settings, {path: value for path, value in protocol.items() if value is not None})
