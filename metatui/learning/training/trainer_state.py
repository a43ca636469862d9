"""The state of a training run that a checkpoint contains, and functions to evaluate this state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from torch import Tensor

from metatui.config.fields import FIELDS, change
from metatui.config.settings import Settings
from metatui.events import Evaluation, TaskView
from metatui.learning.data.episodes import SPLITS, Split, TaskSource
from metatui.learning.evaluation.evaluate import evaluate
from metatui.learning.evaluation.task_views import task_views
from metatui.learning.experiment import Experiment, set_up
from metatui.learning.hardware.torch_state import isolated
from metatui.learning.nn.weights import check_weights
from metatui.learning.optim.inner import Params
from metatui.utils.errors import BadInput, quote

ADAPTATION = ("algorithm.inner_lr",)
"""The live settings (those that can change during a run) that affect the adaptation to held-out tasks."""


@dataclass(frozen=True)
class TrainerState:
    """The state of a trainer between two meta-steps."""

    tensors: Params
    """Tensors, keyed by name: current meta-parameters as `theta/...`, the meta-parameters with the best validation
    result as `best/...`, tensors of the model that are never learned as `frozen/...`, and the state of the outer
    optimiser as `algorithm/...`."""
    values: dict[str, Any]
    """JSON values: `iteration`, `tasks_seen`, `seconds`, `settings`, the fingerprint of the `data`, the SHA-256 of the
    pretrained `weights` if there are any, `first_meta_batch`, the fields of `BestModel`, and the fields of
    `CompileSwitch` as `upgrade_...`."""


def live_values(settings: Settings) -> dict[str, Any]:
    """Return the live settings (those that can change during a run), keyed by path. All values are numbers.

    Options of unused components are left out, because their plugins may be missing when the checkpoint is read.
    """
    return {
        path: settings.value(path)
        for path, field in FIELDS.items()
        if field.live and (field.group in Settings.model_fields or field.is_relevant(settings))
    }


def as_validated(settings: Settings, validated: Mapping[str, Any] | None) -> Settings:
    """Return a copy of `settings` in which the settings in `ADAPTATION` have their values from the best validation.

    Args:
        validated: live settings at that validation, keyed by path; None if there was no validation.

    Raises:
        SettingsError: if a value is not allowed.
    """
    return change(settings, {path: value for path, value in (validated or {}).items() if path in ADAPTATION})


def part(tensors: Params, prefix: str) -> Params:
    """Return the tensors whose names start with `prefix/`, without the prefix."""
    return {name.removeprefix(f"{prefix}/"): t for name, t in tensors.items() if name.startswith(f"{prefix}/")}


def rename_tensors(tensors: Params) -> Params:
    """Rename tensors of old checkpoints of `pretrained`.

    In some of them, the head for training was not a meta-parameter; in others, its cosine scale was also the scale of
    the head for evaluation.
    """
    current = dict(tensors)
    for name, p in part(tensors, "algorithm/head").items():
        del current[f"algorithm/head/{name}"]
        _add_pooled(current, name, p)
    for name in part(current, "theta/pooled"):
        scale = f"{name.removesuffix('weight')}scale"
        if f"theta/{scale}" in current and f"theta/pooled/{scale}" not in current:
            _add_pooled(current, scale, current[f"theta/{scale}"])
    return current


def _add_pooled(tensors: Params, name: str, p: Tensor) -> None:
    """Add `p` as the parameter `pooled/NAME` for training, and rename the optimiser's state of NAME accordingly."""
    tensors[f"theta/pooled/{name}"] = p
    if f"best/{name}" in tensors:
        tensors[f"best/pooled/{name}"] = p
    for key in ("exp_avg", "exp_avg_sq", "step"):
        if f"algorithm/{key}/{name}" in tensors:
            tensors[f"algorithm/{key}/pooled/{name}"] = tensors.pop(f"algorithm/{key}/{name}")


def write_theta(theta: Params, saved: Params) -> None:
    """Copy saved parameters into `theta`.

    Raises:
        BadInput: if names or shapes differ.
    """
    for name, p in theta.items():
        if name not in saved or saved[name].shape != p.shape:
            raise BadInput(f"the checkpoint's parameter '{name}' does not fit the model that the settings describe")
        p.copy_(saved[name])


def check_data(experiment: Experiment, state: TrainerState) -> None:
    """Check that the data set and the pretrained weights have not changed since the training that led to `state`.

    With other data, the held-out tasks would change and might contain classes that the model was trained on.

    Raises:
        BadInput: if the data set or the weights file has changed.
    """
    check_weights(experiment.settings.model.weights, experiment.weights, str(state.values.get("weights", "")))
    source, settings = experiment.source, experiment.settings
    saved = state.values.get("data", source.fingerprint)
    if saved not in (source.fingerprint, *source.former_fingerprints):
        name = settings.task.source
        files = (
            path
            for path, field in FIELDS.items()
            if field.kind == "path" and field.group in ("task", name) and field.is_relevant(settings)
        )
        path = next((path for path in files if settings.value(path)), "task.source")
        content = "classes or images" if settings.is_classification else "rows"
        raise BadInput(
            f"{path} is {quote(settings.value(path), 200)}, but its {content} are no longer those of the run: restore "
            "them, or start a new run"
        )


@isolated
def evaluate_state(settings: Settings, state: TrainerState, *, split: str = "test") -> Evaluation:
    """Evaluate the parameters with the best validation result, or the last ones if there was no validation.

    Args:
        split: `val` or `test`.

    Raises:
        BadInput: if the split does not exist, the device or the data set is not available, or the data set has changed.
    """
    held_out = held_out_split(split)
    experiment = set_up_again(settings, state)
    theta, iteration, checkpoint = best_of(experiment, state)
    tasks, steps, shots = settings.evaluation.test_tasks, settings.evaluation_steps, settings.evaluation_shots
    run = evaluate(experiment, theta, iteration=iteration, split=held_out, tasks=tasks, steps=steps, shots=shots)
    while True:
        try:
            next(run)
        except StopIteration as done:
            result: Evaluation = replace(done.value, checkpoint=checkpoint)
            return result


@isolated
def views_of_state(
    settings: Settings, state: TrainerState, *, split: str, tasks: Sequence[int], steps: int, shots: int
) -> tuple[TaskView, ...]:
    """Adapt saved parameters to the held-out tasks numbered `tasks`, and return a view of each task.

    Raises the same errors as `evaluate_state`.
    """
    experiment = set_up_again(settings, state)
    theta, *_ = best_of(experiment, state)
    return task_views(experiment, theta, split=held_out_split(split), tasks=tasks, steps=steps, shots=shots)


def held_out_split(name: str) -> Split:
    """Check that `name` is `val` or `test`.

    Raises:
        BadInput: if `name` is neither, because an evaluation on training tasks would not measure generalisation.
    """
    for split in SPLITS[1:]:
        if name == split:
            return split
    raise BadInput(f"split is '{name}', but must be {' or '.join(SPLITS[1:])}")


def set_up_again(settings: Settings, state: TrainerState, *, source: TaskSource | None = None) -> Experiment:
    """Set up an experiment to evaluate `state`, with the same numbers of threads as in training. See `set_up`."""
    frozen = part(state.tensors, "frozen")
    return set_up(settings, first_meta_batch=state.values.get("first_meta_batch"), source=source, frozen=frozen)


def best_of(experiment: Experiment, state: TrainerState) -> tuple[Params, int, str]:
    """Load the best parameters in `state`, or the last ones if there was no validation.

    Returns:
        The parameters, their meta-step, and `best` or `last`.

    Raises:
        BadInput: if the data set has changed since the training.
    """
    check_data(experiment, state)
    return parameters_of(experiment, state)


def parameters_of(
    experiment: Experiment, state: TrainerState, checkpoint: Literal["best", "last"] = "best"
) -> tuple[Params, int, str]:
    """Load the parameters in `state` without checking the data set. Returns the same values as `best_of`.

    Args:
        checkpoint: `best` for the best parameters, or the last ones if there was no validation; `last` for the last
            parameters.
    """
    theta = experiment.theta()
    tensors = rename_tensors(state.tensors)
    best = part(tensors, "best") if checkpoint == "best" else {}
    write_theta(theta, best or part(tensors, "theta"))
    iteration = int(state.values.get("best_iteration" if best else "iteration", 0))
    return theta, iteration, "best" if best else "last"
