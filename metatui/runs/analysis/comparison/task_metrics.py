"""Adapting a run's best parameters to the held-out tasks of a comparison, task by task. Nothing is written."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Generator
from dataclasses import replace
from threading import Lock
from typing import TYPE_CHECKING

from metatui.config.settings import Settings
from metatui.events import Evaluation
from metatui.runs.analysis.comparison.values import TaskValues
from metatui.runs.storage.run_folder import RunFolder

if TYPE_CHECKING:
    from metatui.learning.training.trainer_state import TrainerState

REMEMBERED = 32
"""Measurements kept in memory: a comparison with one more run measures only that one."""

Checkpoints = tuple[tuple[str, int, int], ...]
_Key = tuple[RunFolder, Checkpoints, Settings, str]

_known: OrderedDict[_Key, tuple[Evaluation, TaskValues]] = OrderedDict()
_lock = Lock()


def checkpoints_of(run: RunFolder) -> Checkpoints:
    """Name, time and size of each checkpoint file: other ones where the run has gone on since."""
    try:
        files = sorted(run.checkpoints_path.glob("*.safetensors"))
        return tuple((file.name, (about := file.stat()).st_mtime_ns, about.st_size) for file in files)
    except OSError:  # replaced at this moment
        return ()


def measure(
    run: RunFolder, checkpoints: Checkpoints, settings: Settings, state: TrainerState, split: str
) -> Generator[int, None, tuple[Evaluation, TaskValues]]:
    """Measure `state` by the protocol in `settings`, yielding after each chunk of tasks how many are done.

    Args:
        checkpoints: what `checkpoints_of` said before `state` was read.

    Raises:
        BadInput: for a split there is none of, or where the device or the data is not there.
    """
    key = (run, checkpoints, settings, split)
    with _lock:
        if key in _known and checkpoints:
            _known.move_to_end(key)
            return _known[key]
    from metatui.learning.torch_state import isolated

    found = yield from isolated(_measured)(settings, state, split)
    with _lock:
        _known[key] = found
        while len(_known) > REMEMBERED:
            _known.popitem(last=False)
    return found


def _measured(
    settings: Settings, state: TrainerState, split: str
) -> Generator[int, None, tuple[Evaluation, TaskValues]]:
    from metatui.learning.evaluation import evaluate
    from metatui.learning.training.trainer_state import best_of, held_out_split, set_up_again

    held_out = held_out_split(split)
    experiment = set_up_again(settings, state)
    theta, iteration, checkpoint = best_of(experiment, state)
    protocol = settings.evaluation
    measured = yield from evaluate.measure(
        experiment,
        theta,
        split=held_out,
        tasks=protocol.test_tasks,
        steps=protocol.inner_steps,
        shots=settings.evaluation_shots,
    )
    values = TaskValues(
        loss=measured.loss.numpy(), accuracy=measured.accuracy.numpy() if measured.accuracy is not None else None
    )
    for array in (values.loss, values.accuracy):
        if array is not None:
            array.flags.writeable = False
    summary = evaluate.summary(measured, experiment.settings, iteration=iteration)
    return replace(summary, checkpoint=checkpoint), values
