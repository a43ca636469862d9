"""Adaptation to held-out tasks: curves of loss and accuracy against the inner step.

Every task starts from the same parameters. The adaptation to one task does not influence the adaptation to another.
"""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from metatui.config.fields import fixed_reason
from metatui.config.settings import Settings
from metatui.events import Curve, Evaluation, Pool
from metatui.learning.algorithm import Algorithm
from metatui.learning.data.episodes import Episodes, Split
from metatui.learning.engines.base import task_of
from metatui.learning.evaluation.statistics import diverged_tasks, mean_ci95
from metatui.learning.experiment import Experiment
from metatui.learning.hardware.memory import free_unused_memory, is_out_of_memory
from metatui.learning.nn.output_sizes import output_sizes
from metatui.learning.optim.inner import Params
from metatui.learning.optim.losses import accuracy

CHUNK = {"regression": 200, "classification": 10}
"""Number of held-out tasks adapted together on a CPU: enough to keep the CPU busy, but few enough that a stop takes
effect soon."""

MAX_NUMEL = 2**31 - 1
"""Maximum number of elements in one tensor on a GPU, where many kernels use 32-bit indices."""


@dataclass(frozen=True)
class TaskResults:
    """Results of each held-out task at each inner step, starting at step 0, in float64 on the CPU."""

    split: Split
    shots: int
    loss: Tensor
    """Query losses, [T, steps + 1]."""
    accuracy: Tensor | None
    """Fraction of each query set that is predicted correctly, [T, steps + 1]; None for regression."""
    seconds: float
    pool: Pool | None = None
    """The same as `Evaluation.pool`."""

    @property
    def diverged(self) -> Tensor:
        """Mask of the tasks that diverged, bool [T]."""
        return diverged_tasks(self.loss, regression=self.accuracy is None)


def evaluate(
    experiment: Experiment, theta: Params, *, iteration: int, split: Split, tasks: int, steps: int, shots: int
) -> Generator[int, None, Evaluation]:
    """Adapt to held-out tasks and summarise the results; see `measure` and `summary`.

    Args:
        iteration: number of meta-steps that `theta` was trained for. It is stored in the result.
    """
    measured = yield from measure(experiment, theta, split=split, tasks=tasks, steps=steps, shots=shots)
    return summary(measured, experiment.settings, iteration=iteration)


def measure(
    experiment: Experiment, theta: Params, *, split: Split, tasks: int, steps: int, shots: int
) -> Generator[int, None, TaskResults]:
    """Adapt to the first `tasks` held-out tasks of `split`, and measure loss and accuracy after each inner step.

    Args:
        steps: number of inner steps; there are `steps` + 1 results per task.
        shots: number of shots; it may differ from the number in training.

    Yields:
        After each inner step, the number of finished tasks. For tasks that are adapted together, the number rises with
        their inner steps, so that the progress is shown evenly.
    """
    began = time.monotonic()
    losses: list[Tensor] = []
    accuracies: list[Tensor] = []
    chunk, done = _chunk(experiment, shots), 0
    while done < tasks:
        numbers = range(done, min(done + chunk, tasks))
        try:
            loss, hits = yield from _measure_chunk(experiment, theta, split, numbers, steps, shots)
        except (torch.OutOfMemoryError, RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error) or chunk == 1:
                raise
            chunk = max(1, min(chunk, tasks) // 2)
        else:
            losses.append(loss)
            accuracies += [hits] if hits is not None else []
            done = numbers.stop
            yield done
            continue
        free_unused_memory(experiment.torch_device)  # outside the except block: the exception keeps tensors alive
    pool = experiment.source.pool(split, experiment.settings.task.ways)
    return TaskResults(
        split=split,
        shots=shots,
        # Move to the CPU first, because mps does not support float64.
        loss=torch.cat(losses).cpu().double(),
        accuracy=torch.cat(accuracies).cpu().double() if accuracies else None,
        seconds=time.monotonic() - began,
        pool=pool if pool is not None and pool.tasks < tasks else None,
    )


def _measure_chunk(
    experiment: Experiment, theta: Params, split: Split, tasks: range, steps: int, shots: int
) -> Generator[int, None, tuple[Tensor, Tensor | None]]:
    """Return loss and accuracy at each inner step, [T, steps + 1]; the accuracy is None for regression."""
    episodes = experiment.episodes(split, tasks, seed=experiment.settings.evaluation.seed, shots=shots)
    outputs = []
    for _, predicted in predictions(experiment, theta, episodes, steps):
        outputs.append(predicted)
        yield tasks.start + len(tasks) * len(outputs) // (steps + 2)
    losses = torch.stack([experiment.loss.each(o, episodes.query_y) for o in outputs], dim=1)
    if not experiment.settings.is_classification:
        return losses, None
    return losses, torch.stack([accuracy(o, episodes.query_y) for o in outputs], dim=1)


def predictions(
    experiment: Experiment, theta: Params, episodes: Episodes, steps: int
) -> Iterator[tuple[Params, Tensor]]:
    """Adapt to the support sets and predict the query sets.

    Yields:
        For each inner step from 0 to `steps`, the stack of the tasks' parameters and the predictions [T, B, ...].
    """
    engine, algorithm = experiment.engine, experiment.algorithm
    if not _is_per_example(experiment):
        yield from engine.evaluation(algorithm, theta, episodes, steps)
        return
    for step in engine.adaptation(algorithm, theta, episodes, steps):
        yield step.params, _outputs_per_example(experiment, step.params, episodes)


def adapted_predictions(experiment: Experiment, stack: Params, episodes: Episodes) -> Tensor:
    """Predict the query sets [T, B, ...] with parameters that are adapted to the support sets."""
    if _is_per_example(experiment):
        return _outputs_per_example(experiment, stack, episodes)
    return experiment.engine.predictions(experiment.algorithm, stack, episodes, episodes.query_x)


def _is_per_example(experiment: Experiment) -> bool:
    settings = experiment.settings
    return settings.is_classification and settings.evaluation.batch_norm == "per_example"


def _outputs_per_example(experiment: Experiment, stack: Params, episodes: Episodes) -> Tensor:
    """Predict [T, B, N] with batch norm over the support set and one query example at a time.

    This is the non-transductive evaluation of Nichol et al. 2018, section 6.1: the prediction for a query example does
    not depend on other query examples.
    """
    engine, algorithm = experiment.engine, experiment.algorithm
    if type(algorithm).predict is not Algorithm.predict:  # its code may not run under vmap
        inputs = (torch.cat([episodes.support_x, query.unsqueeze(1)], 1) for query in episodes.query_x.unbind(1))
        return torch.stack([engine.predictions(algorithm, stack, episodes, x)[:, -1] for x in inputs], 1)

    @torch.no_grad()
    def predict_task(t: int) -> Tensor:
        params, support = task_of(stack, t), episodes.support_x[t]

        def predict(query: Tensor) -> Tensor:
            return engine.forward(params, torch.cat([support, query.unsqueeze(0)]))[-1]

        outputs: Tensor = torch.vmap(predict, chunk_size=64)(episodes.query_x[t])
        return outputs

    return torch.stack(engine.map_tasks(predict_task, len(episodes)))


def _chunk(experiment: Experiment, shots: int) -> int:
    """Return the number of tasks to adapt together. On a GPU, `MAX_NUMEL` limits this number."""
    if experiment.device.name == "cpu":
        return CHUNK[experiment.source.kind]
    settings = experiment.settings
    examples = max(shots, settings.task.queries) * (settings.task.ways if settings.is_classification else 1)
    unfolded = settings.compute.engine == "unfolded"
    largest = largest_activation(experiment.model, experiment.source.input_shape, unfolded=unfolded)
    return max(1, MAX_NUMEL // (examples * largest))


def largest_activation(model: nn.Module, input_shape: tuple[int, ...], *, unfolded: bool) -> int:
    """Count the elements of the largest tensor in a forward pass of one example.

    Args:
        unfolded: whether convolutions also build a matrix with one row per output position.
    """
    sizes = []
    for layer, outputs in output_sizes(model, input_shape):
        sizes.append(outputs)
        if unfolded and isinstance(layer, nn.Conv2d):
            filters, *kernel = layer.weight.shape
            sizes.append(outputs // filters * math.prod(kernel))
    return max(sizes)


def summary(measured: TaskResults, settings: Settings, *, iteration: int) -> Evaluation:
    """Average over the tasks that did not diverge, with 95 % intervals, and record how the model was evaluated.

    If at least half of the tasks diverged, the means are NaN: the remaining tasks would be a biased sample.
    """
    tasks, values = measured.loss.shape
    kept = ~measured.diverged
    count = tasks - int(kept.sum())
    kept &= 2 * count < tasks
    loss, accuracies = measured.loss[kept], measured.accuracy[kept] if measured.accuracy is not None else None
    return Evaluation(
        split=measured.split,
        tasks=tasks,
        shots=measured.shots,
        queries=settings.task.queries,
        ways=settings.task.ways if settings.is_classification else None,
        batch_norm=settings.evaluation.batch_norm if settings.is_classification else None,
        iteration=iteration,
        steps=tuple(range(values)),
        loss=Curve(*mean_ci95(loss)),
        accuracy=Curve(*mean_ci95(accuracies)) if accuracies is not None else None,
        seconds=measured.seconds,
        inner_lr=None if fixed_reason("algorithm.inner_lr", settings) else settings.algorithm.inner_lr,
        diverged=count,
        pool=measured.pool,
    )
