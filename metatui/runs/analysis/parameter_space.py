"""Paths of the parameters of a saved run during adaptation, from its best and from its initial parameters."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from metatui.config.fields import FIELDS
from metatui.learning.evaluation.trajectories import AdaptationTrajectories
from metatui.runs.analysis.comparison.labels import algorithm_title
from metatui.runs.execution.run_log import pin_compute
from metatui.runs.execution.session import saved_state
from metatui.runs.storage.run_folder import RunFolder
from metatui.utils.errors import BadInput

if TYPE_CHECKING:
    from metatui.config.settings import Settings

TASKS = 40
"""Number of held-out tasks. With more tasks, the paths of individual tasks could not be distinguished."""


@dataclass(frozen=True)
class ProjectionProgress:
    """Number of adaptations and projections that are finished (`done`), and their total number (`of`)."""

    done: int
    of: int


@dataclass(frozen=True)
class Start:
    """An initialisation, and the paths of its parameters during the adaptation to tasks."""

    label: str
    cloud: AdaptationTrajectories


@dataclass(frozen=True)
class ParameterSpace:
    """Adaptation from two initialisations, the meta-learned one and a random one, with the settings of the same run."""

    settings: Settings
    iteration: int
    """Meta-step that produced the meta-learned parameters. These are the best parameters, or the last ones if there was
    no validation."""
    tasks: int
    steps: int
    learned: Start
    ordinary: Start
    """Random initialisation at the start of training."""


def project_stepwise(run: RunFolder, *, tasks: int = TASKS) -> Generator[ProjectionProgress, None, ParameterSpace]:
    """Adapt the best and the initial parameters of `run` to the first `tasks` test tasks, yielding progress.

    Both are adapted with the inner loop of the run.

    Raises:
        BadInput: if the algorithm has no inner steps, the run has no intact checkpoint, or the device or the data is
            not available.
    """
    from metatui.learning.hardware.torch_state import isolated

    return isolated(_steps)(run, tasks)


def _steps(run: RunFolder, tasks: int) -> Generator[ProjectionProgress, None, ParameterSpace]:
    from metatui.learning.evaluation.parameter_space import trajectories
    from metatui.learning.training.trainer_state import best_of, set_up_again

    settings, state = saved_state(run)
    if not FIELDS["evaluation.inner_steps"].is_relevant(settings):
        raise BadInput(f"{algorithm_title(settings)} does not adapt with inner steps, so there are no paths to show")
    experiment = set_up_again(pin_compute(settings, run.journal(), but={}), state)
    steps = settings.evaluation_steps
    ordinary = {name: p.clone() for name, p in experiment.theta().items()}  # copied before best_of replaces them
    theta, iteration, _ = best_of(experiment, state)
    starts = []
    names = (algorithm_title(settings), "ordinary initialisation")
    for number, (label, start) in enumerate(zip(names, (theta, ordinary), strict=True)):
        work = trajectories(experiment, start, tasks=tasks, steps=steps)
        while True:
            try:
                yield ProjectionProgress(2 * tasks * number + next(work), 4 * tasks)
            except StopIteration as done:
                starts.append(Start(label, done.value))
                break
    return ParameterSpace(settings, iteration, tasks, steps, starts[0], starts[1])
