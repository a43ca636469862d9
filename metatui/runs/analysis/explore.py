"""Adaptation of saved runs to one held-out task, for the task explorer. torch is imported on first use."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from metatui.config.settings import Settings
from metatui.events import TaskView
from metatui.learning.evaluation.custom_tasks import CustomTask
from metatui.runs.analysis.comparison.labels import labels
from metatui.runs.analysis.comparison.shared_protocol import agree
from metatui.runs.analysis.comparison.task_metrics import Checkpoints, checkpoints_of
from metatui.runs.execution.run_log import pin_compute
from metatui.runs.execution.session import saved_state
from metatui.runs.storage.run_folder import RunFolder

if TYPE_CHECKING:
    from metatui.learning.data.episodes import Split
    from metatui.learning.experiment import Experiment
    from metatui.learning.hardware.torch_state import TorchState
    from metatui.learning.optim.inner import Params
    from metatui.learning.training.trainer_state import TrainerState

FIRST_STEPS = 10
"""Number of inner steps after which a first result of a classification task is shown, because computing all inner steps
takes a long time."""


@dataclass(frozen=True)
class Explored:
    """Result of adapting one run to the chosen task."""

    number: int
    """Index of the run in the list of explored runs."""
    label: str
    inner_lr: float
    """Inner learning rate of the adaptation."""
    own_lr: float
    """Inner learning rate of the run at its best validation."""
    ways: int | None
    """Number of classes of a task; None for regression."""
    checkpoint: str
    """Name of the checkpoint whose parameters were adapted: `best` or `last`."""
    iteration: int
    """Meta-step that produced the parameters of the checkpoint."""
    view: TaskView


def explore_stepwise(
    runs: Sequence[RunFolder],
    *,
    task: int,
    split: Split = "test",
    drawn: CustomTask | None = None,
    steps: int = 50,
    rate: float = 1.0,
) -> Generator[Explored, None, None]:
    """Adapt the best parameters of each run to one task. The first run's shots, queries and seed are used for all runs.

    Yields each run after its adaptation. For classification with more than `FIRST_STEPS` inner steps, all runs are
    first yielded after `FIRST_STEPS` inner steps, and then again after all inner steps.

    Args:
        task: index of the held-out task.
        split: split of the held-out task.
        drawn: custom task to use instead of the held-out task.
        rate: factor for the inner learning rate of each run.

    Raises:
        BadInput: if the runs use different data, a run has no intact checkpoint, or a value is not allowed.
    """
    from metatui.learning.evaluation.explorer import explore

    checkpoints = [checkpoints_of(run) for run in runs]
    settings = [_saved(run, files)[0] for run, files in zip(runs, checkpoints, strict=True)]
    names = labels(runs, settings)
    agreed = agree(settings, names, split=split, tasks=None, steps=steps, shots=None, device=None)
    early = min(FIRST_STEPS, steps)
    for reach in (early, steps) if settings[0].is_classification and early < steps else (steps,):
        for number, run in enumerate(runs):
            torch_state, experiment, theta, iteration, checkpoint = _ready(
                run, checkpoints[number], agreed.settings[number]
            )
            own = agreed.settings[number].algorithm.inner_lr
            with torch_state:
                view = explore(experiment, theta, task=task, split=split, drawn=drawn, steps=reach, inner_lr=own * rate)
            ways = settings[number].task.ways if settings[number].is_classification else None
            yield Explored(number, names[number], own * rate, own, ways, checkpoint, iteration, view)


@lru_cache(maxsize=8)
def _saved(run: RunFolder, checkpoints: Checkpoints) -> tuple[Settings, TrainerState]:
    """Return the evaluation settings and the state of a run, cached until its checkpoints change."""
    return saved_state(run)


@lru_cache(maxsize=8)
def _ready(
    run: RunFolder, checkpoints: Checkpoints, settings: Settings
) -> tuple[TorchState, Experiment, Params, int, str]:
    """Return the torch settings, experiment and best parameters of a run, and the meta-step and name of its checkpoint.

    The result is cached for the next task that is explored.
    """
    from metatui.learning.hardware.torch_state import TorchState
    from metatui.learning.training.trainer_state import best_of, set_up_again

    state, torch_state = _saved(run, checkpoints)[1], TorchState()
    with torch_state:
        experiment = set_up_again(pin_compute(settings, run.journal(), but={}), state)
        theta, iteration, checkpoint = best_of(experiment, state)
    return torch_state, experiment, theta, iteration, checkpoint
