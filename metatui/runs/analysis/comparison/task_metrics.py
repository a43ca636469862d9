"""Adaptation of a run's best parameters to the held-out tasks of a comparison."""

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
from metatui.runs.storage.summary import summarise

if TYPE_CHECKING:
    from metatui.learning.training.trainer_state import TrainerState

CACHE_SIZE = 32
"""Maximum number of cached measurements. With the cache, only the new run is measured when a run is added to a
comparison."""

Checkpoints = tuple[tuple[str, int, int], ...]
_Key = tuple[RunFolder, Checkpoints, Settings, str]

_cache: OrderedDict[_Key, tuple[Evaluation, TaskValues]] = OrderedDict()
_lock = Lock()


def checkpoints_of(run: RunFolder) -> Checkpoints:
    """Return the name, modification time and size of each checkpoint file.

    The result changes when the run saves a new checkpoint.
    """
    try:
        files = sorted(run.checkpoints_path.glob("*.safetensors"))
        return tuple((file.name, (stat := file.stat()).st_mtime_ns, stat.st_size) for file in files)
    except OSError:  # a file is being replaced
        return ()


def recorded_test(run: RunFolder, settings: Settings) -> tuple[Evaluation, TaskValues] | None:
    """Return the result of the final test of `run`, without per-task values.

    Return None if there was no final test, or if it did not follow the protocol in `settings`.
    """
    import numpy as np

    test = summarise(run).test
    if test is None or test.diverged is None or test.checkpoint is None:
        return None
    made = test.split, test.tasks, test.shots, test.queries, test.steps
    steps = tuple(range(settings.evaluation.inner_steps + 1))
    same = made == ("test", settings.evaluation.test_tasks, settings.evaluation_shots, settings.task.queries, steps)
    if not same or test.batch_norm not in (None, settings.evaluation.batch_norm):
        return None
    none = np.empty((0, len(steps)))
    return test, TaskValues(none, none if test.accuracy else None, np.empty(0, dtype=bool))


def measure(
    run: RunFolder, checkpoints: Checkpoints, settings: Settings, state: TrainerState, split: str
) -> Generator[int, None, tuple[Evaluation, TaskValues]]:
    """Evaluate `state` with the protocol in `settings`, yielding the number of finished tasks after each chunk.

    Args:
        checkpoints: result of a call to `checkpoints_of` that was made before `state` was read; part of the cache key.

    Raises:
        BadInput: if the split is unknown, or the device or the data is not available.
    """
    key = (run, checkpoints, settings, split)
    with _lock:
        if key in _cache and checkpoints:
            _cache.move_to_end(key)
            return _cache[key]
    from metatui.learning.hardware.torch_state import isolated

    measured = yield from isolated(_measure)(settings, state, split)
    with _lock:
        _cache[key] = measured
        while len(_cache) > CACHE_SIZE:
            _cache.popitem(last=False)
    return measured


def _measure(
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
        loss=measured.loss.numpy(),
        accuracy=measured.accuracy.numpy() if measured.accuracy is not None else None,
        diverged=measured.diverged.numpy(),
    )
    for array in (values.loss, values.accuracy, values.diverged):
        if array is not None:
            array.flags.writeable = False
    summary = evaluate.summary(measured, experiment.settings, iteration=iteration)
    return replace(summary, checkpoint=checkpoint), values
