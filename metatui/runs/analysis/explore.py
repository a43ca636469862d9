"""Saved runs on a held-out task of one's choice, beside each other. Nothing is written. No torch before it computes."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from metatui.config.settings import Settings
from metatui.events import TaskView
from metatui.learning.evaluation.custom_tasks import Drawn
from metatui.runs.analysis.comparison.labels import labels
from metatui.runs.analysis.comparison.shared_protocol import agree
from metatui.runs.analysis.comparison.task_metrics import Checkpoints, checkpoints_of
from metatui.runs.execution.replay_log import pin_compute
from metatui.runs.execution.session import saved_state
from metatui.runs.storage.run_folder import RunFolder

if TYPE_CHECKING:
    from metatui.learning.optim.inner import Params
    from metatui.learning.torch_state import TorchState
    from metatui.learning.training.experiment import Experiment
    from metatui.learning.training.trainer_state import TrainerState

FIRST_STEPS = 10
"""Inner steps that are shown before the rest, where they take a while."""


@dataclass(frozen=True)
class Explored:
    """One run on the task that was asked for."""

    number: int
    """The run's position among those asked for."""
    label: str
    inner_lr: float
    """That it was adapted with."""
    own_lr: float
    """Inner learning rate that its best parameters were validated with."""
    ways: int | None
    """Classes that it tells apart; None for regression."""
    view: TaskView


def exploring(
    runs: Sequence[RunFolder], *, task: int, drawn: Drawn | None = None, steps: int = 50, rate: float = 1.0
) -> Generator[Explored, None, None]:
    """Adapt the best parameters of each run to one task, all with the first run's shots, queries and seed.

    Yields each run once it is adapted; images after a few inner steps already, and then again after all.

    Args:
        task: the number of the held-out task.
        drawn: the task to take in its place.
        rate: what each run's own inner learning rate is multiplied by.

    Raises:
        BadInput: runs on different data, no whole checkpoint, or a value that cannot be.
    """
    from metatui.learning.evaluation.explorer import explore

    seen = [checkpoints_of(run) for run in runs]
    settings = [_saved(run, files)[0] for run, files in zip(runs, seen, strict=True)]
    names = labels(runs, settings)
    agreed = agree(settings, names, split="test", tasks=None, steps=steps, shots=None, device=None)
    early = min(FIRST_STEPS, steps)
    for reach in (early, steps) if settings[0].is_classification and early < steps else (steps,):
        for number, run in enumerate(runs):
            torch_state, experiment, theta = _ready(run, seen[number], agreed.settings[number])
            own = agreed.settings[number].algorithm.inner_lr
            with torch_state:
                view = explore(experiment, theta, task=task, drawn=drawn, steps=reach, inner_lr=own * rate)
            ways = settings[number].task.ways if settings[number].is_classification else None
            yield Explored(number, names[number], own * rate, own, ways, view)


@lru_cache(maxsize=8)
def _saved(run: RunFolder, checkpoints: Checkpoints) -> tuple[Settings, TrainerState]:
    """What the run has saved, read again where `checkpoints` say that it has gone on since."""
    return saved_state(run)


@lru_cache(maxsize=8)
def _ready(run: RunFolder, checkpoints: Checkpoints, settings: Settings) -> tuple[TorchState, Experiment, Params]:
    """The run's experiment and parameters, and the torch settings that they need, cached for the next task."""
    from metatui.learning.torch_state import TorchState
    from metatui.learning.training.trainer_state import best_of, set_up_again

    state, torch_state = _saved(run, checkpoints)[1], TorchState()
    with torch_state:
        experiment = set_up_again(pin_compute(settings, run.journal(), but={}), state)
        theta, *_ = best_of(experiment, state)
    return torch_state, experiment, theta
