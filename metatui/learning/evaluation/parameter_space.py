"""Where in parameter space adaptation goes: from an initialisation to the parameters of many held-out tasks.

The parameters that tasks end at are projected to the two directions along which they differ most (principal
components, Pearson 1901), and so are the inner steps on the way. Both ends of an inner loop are in the picture, so it
shows what a meta-learned initialisation is: a place from which a few short steps lead to many tasks.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import torch
from torch import Tensor

from metatui.learning.data.episodes import Episodes
from metatui.learning.evaluation.evaluate import CHUNK, predictions
from metatui.learning.evaluation.trajectories import AdaptationTrajectories
from metatui.learning.optim.inner import InnerLoop, Params
from metatui.learning.training.experiment import Experiment

COMPONENTS = 2


@dataclass(frozen=True)
class Plane:
    """A plane in parameter space through the initialisation."""

    axes: Tensor
    """[2, P], orthonormal rows; a row of zeros where the displacements do not reach so many dimensions."""
    explained: tuple[float, float]
    """Shares of the displacements' variance about their mean."""


def principal_plane(displacements: Tensor) -> Plane:
    """The two directions along which `displacements` [T, P] vary most about their mean.

    By the eigenvectors of the T x T matrix of their products, as P may be large. Signs are such that the entry of each
    axis that is largest is positive.
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


def flattened(stack: Params) -> Tensor:
    """[T, P] of a stack of parameters."""
    return torch.cat([p.detach().flatten(1) for p in stack.values()], dim=1)


def cloud(
    experiment: Experiment, theta: Params, *, tasks: int, steps: int
) -> Generator[int, None, AdaptationTrajectories]:
    """Adapt `theta` to the first `tasks` test tasks, twice: to find the plane, then to follow the paths in it.

    Yields how many of 2 * `tasks` adaptations are done. `theta` stays as it is.
    """
    settings = experiment.settings
    inner = InnerLoop(settings.algorithm.inner_lr, steps, settings.algorithm.inner_optimizer)
    start = flattened({name: p.unsqueeze(0) for name, p in theta.items()})
    chunk = CHUNK[experiment.source.kind]
    parts = [range(first, min(first + chunk, tasks)) for first in range(0, tasks, chunk)]

    def episodes(numbers: range) -> Episodes:
        return experiment.episodes("test", numbers, seed=settings.evaluation.seed, shots=settings.evaluation_shots)

    ends = []
    for numbers in parts:
        given = episodes(numbers)
        for reached in experiment.engine.adapt(theta, given.support_x, given.support_y, inner):
            last = reached.params
        ends.append((flattened(last) - start).cpu().double())
        yield numbers.stop
    displacements = torch.cat(ends)
    plane = principal_plane(displacements)
    paths, losses = [], []
    for numbers in parts:
        given, places, found = episodes(numbers), [], []
        for params, outputs in predictions(experiment, theta, given, inner):
            places.append((flattened(params) - start).cpu().double() @ plane.axes.T)
            found.append(experiment.loss.each(outputs, given.query_y).cpu().double())
        paths.append(torch.stack(places, dim=1))
        losses.append(torch.stack(found, dim=1))
        yield tasks + numbers.stop
    walked, loss = torch.cat(paths), torch.cat(losses)
    return AdaptationTrajectories(
        paths=tuple(tuple((float(x), float(y)) for x, y in path) for path in walked.tolist()),
        explained=plane.explained,
        moved=tuple(displacements.norm(dim=1).tolist()),
        before=tuple(loss[:, 0].tolist()),
        after=tuple(loss[:, -1].tolist()),
        parameters=start.shape[1],
    )
