"""Checks of every registered algorithm, plugins included, on small tasks and networks."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from torch.func import functional_call

from metatui.config.declarations import Scalar
from metatui.config.fields import change
from metatui.config.plugins import plugin_failure
from metatui.config.registry import ALGORITHMS
from metatui.config.settings import Settings
from metatui.learning.algorithm import Algorithm, algorithm_class
from metatui.learning.algorithms.pretrained import POOLED, Pretrained
from metatui.learning.checks.comparison import (
    AGREEMENT,
    DIFFERENCES,
    Check,
    comparison,
    directional_error,
    relative_error,
)
from metatui.learning.data import random
from metatui.learning.data.episodes import Episodes
from metatui.learning.engines.base import Engine
from metatui.learning.engines.registry import ENGINES, make_engine
from metatui.learning.experiment import Experiment, set_up
from metatui.learning.optim.inner import Params
from metatui.learning.training.learner import Learner

TASKS = range(2)

POOLED_EXAMPLES = 20
"""Number of examples in the batch on which ordinary training is checked."""

SMALL: dict[str, Scalar] = {
    "algorithm.meta_batch": 2, "algorithm.inner_steps": 2, "algorithm.inner_lr": 0.05, "compute.precision": "float64",
    "compute.engine": "loop", "compute.threads": 1, "evaluation.inner_steps": 2,
}  # fmt: skip
WORKS: dict[str, dict[str, Scalar]] = {
    "waves": {"task.shots": 4, "task.queries": 5, "model.hidden": (8, 8)},
    "images": {
        "task.source": "glyphs", "task.ways": 3, "task.shots": 2, "task.queries": 2, "model.filters": 3,
    },
}  # fmt: skip


def check_algorithms(device: str = "cpu") -> Iterator[Check]:
    """Compare the engines' meta-gradients with finite differences, for every algorithm that has a meta-gradient.

    Some algorithms define their own meta-gradient, such as a first-order or an implicit one, which is not the
    derivative of the loss after adaptation. For these, the engines are compared with each other.
    """
    for name in ALGORITHMS.names():
        kind = algorithm_class(name)
        if kind.timed != "meta_gradient":
            continue
        for title, values in WORKS.items():
            settings = change(Settings(), {**SMALL, **values, "compute.device": device})
            if list(kind.violations(settings)):
                continue
            experiment = set_up(change(settings, {"algorithm.name": name}))
            if experiment.algorithm.annealed:
                yield from _compare(f"{title}: meta-gradient at the start", experiment, 0.0)
            yield from _compare(f"{title}: meta-gradient", experiment, 1.0)


def check_pretrained(device: str = "cpu") -> Iterator[Check]:
    """Compare the gradient of ordinary training with finite differences, for the algorithm `pretrained`."""
    for title, values in WORKS.items():
        changes = {**SMALL, **values, "compute.device": device, "algorithm.name": Pretrained.name}
        learner = Learner(set_up(change(Settings(), changes)))
        experiment = learner.experiment
        algorithm = Pretrained(experiment.settings, experiment.model)
        x, y = learner.pooled_batch(0, POOLED_EXAMPLES)
        meta = _randomised(learner.theta)
        gradients = algorithm.pooled_gradient(learner, meta, x, y)
        loss = partial(_pooled_loss, experiment, x, y)
        error = directional_error(loss, {name: meta[name] for name in gradients}, gradients)
        yield comparison(f"{title}: gradient", Pretrained.name, "autograd", "finite differences", error, DIFFERENCES)


def _pooled_loss(experiment: Experiment, x: torch.Tensor, y: torch.Tensor, trained: Params) -> torch.Tensor:
    """Compute the loss of ordinary training on the batch `x`, `y`. No autograd graph is kept."""
    params = {name.removeprefix(POOLED): p for name, p in trained.items()}
    return experiment.loss.one(functional_call(experiment.model, params, (x,)), y)


def _compare(title: str, experiment: Experiment, progress: float) -> Iterator[Check]:
    algorithm, meta = experiment.algorithm.at(progress), _randomised(experiment.theta())
    episodes = experiment.training_episodes(TASKS)
    engines = {
        name: engine
        for name in ENGINES
        if name != "native" or experiment.device.name == "cpu"
        if (engine := make_engine(name, experiment.model, experiment.loss)).unsupported(algorithm) is None
    }
    is_derivative = algorithm.second_order and type(algorithm).meta_gradient is Algorithm.meta_gradient
    gradients: dict[str, Params] = {}
    for name, engine in engines.items():
        try:
            gradients[name] = engine.meta_gradient_of(algorithm, meta, episodes).gradients
        except Exception as failure:
            if not (reason := plugin_failure(failure)):
                raise
            yield Check(title, algorithm.name, name, "none", float("nan"), AGREEMENT, ok=False, reason=reason)
            continue
        if is_derivative:
            loss = partial(_meta_loss, engine, algorithm, episodes)
            error = directional_error(loss, meta, gradients[name])
            yield comparison(title, algorithm.name, name, "finite differences", error, DIFFERENCES)
        elif name != "loop" and "loop" in gradients:
            error = relative_error(gradients[name], gradients["loop"])
            yield comparison(title, algorithm.name, name, "loop", error, AGREEMENT)


def _meta_loss(engine: Engine, algorithm: Algorithm, episodes: Episodes, meta: Params) -> torch.Tensor:
    """Compute the mean over tasks of the query losses that the algorithm minimises. No autograd graph is kept."""
    weights = algorithm.query_weights or [*[0.0] * algorithm.inner_steps, 1.0]
    total = torch.zeros((), dtype=torch.float64, device=episodes.query_x.device)
    path = engine.evaluation(algorithm, meta, episodes, algorithm.inner_steps)
    for weight, (_, outputs) in zip(weights, path, strict=True):
        total = total + weight * engine.loss.each(outputs, episodes.query_y).mean()
    return total


def _randomised(meta: Params) -> Params:
    """Add noise to meta-parameters, because initial scales of 1 and biases of 0 could hide a wrong derivative."""
    noisy = {}
    for number, (name, p) in enumerate(meta.items()):
        noise = random.normal(random.keys(number, "check/meta", torch.zeros(1, dtype=torch.int64)), p.numel())
        noisy[name] = p.detach() + 0.1 * p.detach().abs().mean() * noise.view_as(p).to(p)
    return noisy
