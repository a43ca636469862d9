"""Trajectories of adaptation: from an initialisation to the adapted parameters of many held-out tasks.

The adapted parameters and the inner steps that lead to them are projected onto the two directions in which the adapted
parameters vary most (principal components, Pearson 1901). A plot of the trajectories shows the meta-learned
initialisation as a point from which a few short steps lead to the solutions of many tasks.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import torch
from torch import Tensor

from metatui.learning.data.episodes import Episodes
from metatui.learning.evaluation.evaluate import CHUNK, predictions
from metatui.learning.evaluation.trajectories import AdaptationTrajectories
from metatui.learning.experiment import Experiment
from metatui.learning.optim.inner import Params

COMPONENTS = 2


@dataclass(frozen=True)
class Plane:
    """A plane through the initialisation in parameter space."""

    axes: Tensor
    """Directions of the plane as orthonormal rows, [2, P]. A row is zero if the displacements span fewer dimensions."""
    explained: tuple[float, float]
    """Fraction of the variance of the displacements that lies along each axis."""


def principal_plane(displacements: Tensor) -> Plane:
    """Compute the two directions in which `displacements` [T, P] vary most about their mean.

    P may be large, so this uses the eigenvectors of the [T, T] matrix of inner products. The signs are chosen so that
    the entry of largest magnitude in each axis is positive.
    """
    centred = (displacements - displacements.mean(0)).to(torch.float64)
    values, vectors = torch.linalg.eigh(centred @ centred.T)
    total = float(values.clamp(min=0).sum())
    axes, explained = [], []
    for i in range(1, COMPONENTS + 1):
        value = float(values[-i]) if i <= len(values) else 0.0
        if total <= 0 or value <= 1e-12 * total:
            axes.append(torch.zeros(centred.shape[1], dtype=torch.float64))
            explained.append(0.0)
            continue
        axis = centred.T @ vectors[:, -i] / value**0.5
        axes.append(axis * torch.sign(axis[axis.abs().argmax()]))
        explained.append(value / total)
    return Plane(torch.stack(axes), (explained[0], explained[1]))


def flatten_stack(stack: Params) -> Tensor:
    """Concatenate the parameters of each task in a stack into one row of a tensor [T, P]."""
    return torch.cat([p.detach().flatten(1) for p in stack.values()], dim=1)


def trajectories(
    experiment: Experiment, theta: Params, *, tasks: int, steps: int
) -> Generator[int, None, AdaptationTrajectories]:
    """Adapt `theta` to the first `tasks` test tasks twice: to find the plane of the chart, and to record trajectories.

    The origin of the plane is the point from which the first task starts. All tasks start from this point, unless the
    algorithm computes their starting points from their support sets.

    Yields:
        The number of finished adaptations, out of 2 * `tasks`.
    """
    settings = experiment.settings
    chunk = CHUNK[experiment.source.kind]
    chunks = [range(first, min(first + chunk, tasks)) for first in range(0, tasks, chunk)]

    def episodes_of(numbers: range) -> Episodes:
        return experiment.episodes("test", numbers, seed=settings.evaluation.seed, shots=settings.evaluation_shots)

    ends: list[Tensor] = []
    for numbers in chunks:
        episodes = episodes_of(numbers)
        path = experiment.engine.adaptation(experiment.algorithm, theta, episodes, steps)
        starts = flatten_stack(next(path).params)
        if not ends:
            origin = starts[:1]
        for step in path:
            last = step.params
        ends.append((flatten_stack(last) - starts).cpu().double())
        yield numbers.stop
    displacements = torch.cat(ends)
    plane = principal_plane(displacements[displacements.isfinite().all(1)])  # without tasks that diverged
    paths, losses = [], []
    for numbers in chunks:
        episodes, points, step_losses = episodes_of(numbers), [], []
        for params, outputs in predictions(experiment, theta, episodes, steps):
            points.append((flatten_stack(params) - origin).cpu().double() @ plane.axes.T)
            step_losses.append(experiment.loss.each(outputs, episodes.query_y).cpu().double())
        paths.append(torch.stack(points, dim=1))
        losses.append(torch.stack(step_losses, dim=1))
        yield tasks + numbers.stop
    loss = torch.cat(losses)
    return AdaptationTrajectories(
        paths=tuple(tuple((float(x), float(y)) for x, y in path) for path in torch.cat(paths).tolist()),
        explained=plane.explained,
        moved=tuple(displacements.norm(dim=1).tolist()),
        before=tuple(loss[:, 0].tolist()),
        after=tuple(loss[:, -1].tolist()),
        parameters=origin.shape[1],
    )
