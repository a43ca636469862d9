"""What a run needs to go on where it was: tensors and plain values, for a checkpoint to hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from metatui.config.fields import FIELDS, change
from metatui.config.settings import Settings
from metatui.events import Evaluation, TaskView
from metatui.learning.data.episodes import SPLITS, Split
from metatui.learning.evaluation.evaluate import evaluate
from metatui.learning.evaluation.task_views import task_views
from metatui.learning.optim.inner import Params
from metatui.learning.torch_state import isolated
from metatui.learning.training.experiment import Experiment, set_up
from metatui.utils.errors import BadInput, quote

ADAPTATION = ("algorithm.inner_lr",)
"""Live settings that decide how the model adapts to held-out tasks."""


@dataclass(frozen=True)
class TrainerState:
    """The state of a trainer between two meta-steps."""

    tensors: Params
    """`theta/…` the meta-parameters, `best/…` those of the best validation, `algorithm/…` what the algorithm
    remembers besides."""
    values: dict[str, Any]
    """JSON values: iteration, tasks_seen, seconds, best, best_iteration, since_best, validated_at, data, settings;
    `first_meta_batch`, and `upgrade_…` how far the change to compiled meta-steps is; `best_settings` the live settings
    of the best validation by path, `best_diverged` the tasks that diverged in it, `diverging` the validations in a row
    in which tasks diverged."""


def live_values(settings: Settings) -> dict[str, Any]:
    """The values of the live settings, all of them numbers, by path."""
    return {path: settings.value(path) for path, knob in FIELDS.items() if knob.live}


def as_validated(settings: Settings, validated: Mapping[str, Any] | None) -> Settings:
    """`settings`, but with the adaptation settings of the best validation.

    Args:
        validated: the live settings of that validation by path; None where there was none.

    Raises:
        SettingsError: a value is not allowed.
    """
    return change(settings, {path: value for path, value in (validated or {}).items() if path in ADAPTATION})


def part(tensors: Params, prefix: str) -> Params:
    """The tensors whose names begin with `prefix/`, without it."""
    return {name.removeprefix(f"{prefix}/"): t for name, t in tensors.items() if name.startswith(f"{prefix}/")}


def write_theta(theta: Params, saved: Params) -> None:
    """Copy saved parameters into `theta`. Raises BadInput where names or shapes differ."""
    for name, p in theta.items():
        if name not in saved or saved[name].shape != p.shape:
            raise BadInput(f"the checkpoint's parameter '{name}' does not fit the model that the settings describe")
        p.copy_(saved[name])


def check_data(experiment: Experiment, state: TrainerState) -> None:
    """Raises BadInput where the data are not those that `state` was trained on: its held-out tasks would be others, and
    might be of classes that it was trained on."""
    source, task = experiment.source, experiment.settings.task
    saved = state.values.get("data", source.fingerprint)
    if saved not in (source.fingerprint, *source.former_fingerprints):
        data = f"task.folder is {quote(task.folder, 200)}" if task.folder else f"task.source is '{task.source}'"
        raise BadInput(
            f"{data}, but its classes or images are no longer those of the run: put them back as they were, or start a "
            "new run"
        )


@isolated
def evaluate_state(
    settings: Settings,
    state: TrainerState,
    *,
    split: str = "test",
    tasks: int | None = None,
    steps: int | None = None,
    shots: int | None = None,
    views: Sequence[int] = (),
) -> tuple[Evaluation, tuple[TaskView, ...]]:
    """Evaluate saved parameters: the best by validation, or the last where there was no validation.

    Args:
        tasks, steps, shots: as in the settings where None.
        views: numbers of the held-out tasks to draw out.

    Raises:
        BadInput: for a split there is none of, or where the device or the data is not there.
    """
    held_out = held_out_split(split)
    experiment = set_up_again(settings, state)
    theta, iteration, checkpoint = best_of(experiment, state)
    steps = settings.evaluation.inner_steps if steps is None else steps
    shots = settings.evaluation_shots if shots is None else shots
    tasks = settings.evaluation.test_tasks if tasks is None else tasks
    run = evaluate(experiment, theta, iteration=iteration, split=held_out, tasks=tasks, steps=steps, shots=shots)
    while True:
        try:
            next(run)
        except StopIteration as done:
            result: Evaluation = replace(done.value, checkpoint=checkpoint)
            break
    drawn = task_views(experiment, theta, split=held_out, tasks=views, steps=steps, shots=shots) if views else ()
    return result, drawn


@isolated
def views_of_state(
    settings: Settings, state: TrainerState, *, split: str, tasks: Sequence[int], steps: int, shots: int
) -> tuple[TaskView, ...]:
    """Held-out tasks drawn out for saved parameters. Raises as `evaluate_state` does."""
    experiment = set_up_again(settings, state)
    theta, *_ = best_of(experiment, state)
    return task_views(experiment, theta, split=held_out_split(split), tasks=tasks, steps=steps, shots=shots)


def held_out_split(name: str) -> Split:
    """`val` or `test`. Raises BadInput for anything else: training tasks measure nothing."""
    for split in SPLITS[1:]:
        if name == split:
            return split
    raise BadInput(f"split is '{name}', but must be one of {', '.join(SPLITS[1:])}")


def set_up_again(settings: Settings, state: TrainerState) -> Experiment:
    """Set up an experiment to evaluate `state`, with the same use of threads as its training.

    Raises:
        BadInput: as `set_up` does.
    """
    return set_up(settings, first_meta_batch=state.values.get("first_meta_batch"))


def best_of(experiment: Experiment, state: TrainerState) -> tuple[Params, int, str]:
    """The parameters in `state` to evaluate: the best, or the last where there are none.

    Returns:
        The parameters, the meta-step they are from, and `best` or `last`.

    Raises:
        BadInput: the data have changed since the training.
    """
    check_data(experiment, state)
    theta = experiment.theta()
    best = part(state.tensors, "best")
    write_theta(theta, best or part(state.tensors, "theta"))
    iteration = int(state.values.get("best_iteration" if best else "iteration", 0))
    return theta, iteration, "best" if best else "last"
