"""Checks shared by the tests of algorithms: agreement with a simple autograd loop, training, and adaptation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.func import functional_call

from metatui.config.declarations import Scalar
from metatui.config.fields import change, parse
from metatui.config.settings import Settings
from metatui.events import Progress, Stop
from metatui.learning.data.episodes import Episodes
from metatui.learning.engines.base import Engine
from metatui.learning.engines.registry import ENGINES, make_engine
from metatui.learning.experiment import Experiment, set_up
from metatui.learning.optim.inner import Params
from metatui.learning.training.trainer import Trainer
from metatui.learning.training.trainer_state import TrainerState

Forward = Callable[[Params, Tensor], Tensor]
PlainLoss = Callable[[Forward, Params, tuple[Tensor, Tensor, Tensor, Tensor]], Tensor]
"""Function that computes the query loss after adaptation to one task.

The arguments are a network, meta-parameters, and the task as a tuple (support x, support y, query x, query y).
"""

AGREEMENT = 1e-8

BASE = parse(
    {
        "model": {"hidden": (8, 8), "filters": 3},
        "algorithm": {"meta_batch": 2, "inner_steps": 2, "inner_lr": 0.05},
        "evaluation": {"every": 12, "tasks": 2, "test_tasks": 2, "inner_steps": 3},
        "compute": {"device": "cpu", "precision": "float64", "engine": "loop", "threads": 1},
    }
)
WAVES = change(BASE, {"task.shots": 4, "task.queries": 5})
IMAGES = change(BASE, {"task.source": "glyphs", "task.ways": 3, "task.shots": 2, "task.queries": 2})
BASES = pytest.mark.parametrize("base", [WAVES, IMAGES], ids=["sinusoid", "images"])
LEARNING = {
    "sinusoid": change(WAVES, {"algorithm.outer_lr": 0.01, "training.iterations": 40}),
    "images": change(
        IMAGES,
        {
            "algorithm.outer_lr": 0.02, "algorithm.inner_lr": 0.4, "model.filters": 8, "model.downsample": "stride",
            "algorithm.inner_steps": 1, "training.iterations": 20,
        },
    ),
}  # fmt: skip
"""Settings of short runs that are long enough to lower the meta-loss, keyed by the kind of task."""


def settings_of(base: Settings, name: str, **changes: Scalar) -> Settings:
    """Return `base` with the algorithm `name`. A keyword such as `training__iterations` changes another setting."""
    return change(base, {"algorithm.name": name, **{path.replace("__", "."): v for path, v in changes.items()}})


def noisy(meta: Params) -> Params:
    """Add noise to meta-parameters, because scales of 1 and biases of 0 could hide a wrong derivative."""
    generator = torch.Generator().manual_seed(0)
    return {n: p + 0.1 * torch.randn(p.shape, generator=generator, dtype=p.dtype) for n, p in meta.items()}


def engines_of(experiment: Experiment) -> dict[str, Engine]:
    """Return the engines that support the algorithm of the experiment, keyed by name."""
    engines = {name: make_engine(name, experiment.model, experiment.loss) for name in ENGINES}
    return {name: engine for name, engine in engines.items() if engine.unsupported(experiment.algorithm) is None}


def plain_gradient(experiment: Experiment, meta: Params, plain: PlainLoss) -> tuple[Tensor, Params]:
    """Return the mean of `plain` over the tasks of the first meta-step, and the gradient of this mean."""
    start = {name: p.detach().clone().requires_grad_() for name, p in meta.items()}
    tasks = zip(*experiment.training_episodes(range(2)).tensors(), strict=True)

    def forward(params: Params, x: Tensor) -> Tensor:
        outputs: Tensor = functional_call(experiment.model, params, (x,))
        return outputs

    loss = torch.stack([plain(forward, start, task) for task in tasks]).mean()
    gradients = torch.autograd.grad(loss, list(start.values()), materialize_grads=True)
    return loss.detach(), dict(zip(start, gradients, strict=True))


def check_meta_gradient(settings: Settings, plain: PlainLoss, *, is_derivative: bool = True) -> None:
    """Compare the meta-loss and the meta-gradient that every engine computes with those of `plain`.

    Args:
        is_derivative: whether to compare the gradient of `plain` with a central difference as well.
    """
    experiment = set_up(settings)
    meta = noisy(experiment.theta())
    loss, expected = plain_gradient(experiment, meta, plain)
    engines = engines_of(experiment)
    assert engines.keys() >= {"loop", "native", "batched", "unfolded"}
    for engine, made in engines.items():
        result = made.meta_gradient_of(experiment.algorithm, meta, experiment.training_episodes(range(2)))
        assert abs(result.loss.mean() - loss) <= AGREEMENT * abs(loss), engine
        assert result.gradients.keys() == meta.keys()
        for name, gradient in expected.items():
            assert (result.gradients[name] - gradient).norm() <= AGREEMENT * gradient.norm(), (engine, name)
    if is_derivative:
        length = torch.cat([g.flatten() for g in expected.values()]).norm()
        step = 1e-5 / length
        up, down = (
            plain_gradient(experiment, {n: p + sign * step * expected[n] for n, p in meta.items()}, plain)[0]
            for sign in (1, -1)
        )
        assert abs((up - down) / (2 * 1e-5) - length) <= 1e-6 * length


def check_training(settings: Settings, *, at: int = 13, falls_to: float = 0.9) -> None:
    """Check that training lowers the meta-loss, is deterministic, and gives the same result if stopped and resumed.

    Args:
        at: the meta-step after which to stop.
        falls_to: upper bound on the mean meta-loss of the last quarter of the run, relative to that of the first.
    """
    whole = Trainer(settings)
    losses = [event.meta_loss for event in whole.events() if isinstance(event, Progress)]
    quarter = len(losses) // 4
    assert sum(losses[-quarter:]) < falls_to * sum(losses[:quarter])
    saved: dict[str, TrainerState] = {}
    stopped = Trainer(settings, save=saved.__setitem__)
    for event in stopped.events():
        if isinstance(event, Progress):
            assert event.meta_loss == losses[event.iteration - 1]
            if event.iteration == at:
                stopped.submit(Stop())
    resumed = Trainer(settings, state=saved["last"])
    rest = [event.meta_loss for event in resumed.events() if isinstance(event, Progress)]
    assert rest == losses[at:]
    tensors, expected = resumed.state().tensors, whole.state().tensors
    assert tensors.keys() == expected.keys()
    assert all(torch.equal(tensors[name], tensor) for name, tensor in expected.items())


def check_adaptation(settings: Settings, *, steps: int = 5) -> None:
    """Check adaptation to held-out tasks with more steps than in training.

    Adaptation to a task must not depend on the other tasks or the query set, and must not change the meta-parameters.
    """
    experiment = set_up(settings)
    meta = noisy(experiment.theta())
    before = {name: p.clone() for name, p in meta.items()}
    episodes = experiment.episodes("test", range(3), seed=0, shots=settings.evaluation_shots)
    others = replace(episodes, query_x=episodes.query_x.flip(1) + 1)
    for engine in engines_of(experiment).values():
        path = _path(experiment, engine, meta, episodes, steps)
        assert len(path) == steps + 1
        assert all(p.isfinite().all() for params in path for p in params.values())
        for same in (
            _path(experiment, engine, meta, others, steps),
            _path(experiment, engine, meta, episodes, steps - 2),
            _path(experiment, engine, meta, episodes.chunk(1, 2), steps),
        ):
            for params, expected in zip(same, path, strict=False):
                for name, p in params.items():
                    rows = slice(1, 2) if len(p) == 1 else slice(None)
                    torch.testing.assert_close(p, expected[name][rows], rtol=1e-10, atol=1e-12)
    assert all(torch.equal(meta[name], p) for name, p in before.items())


def _path(experiment: Experiment, engine: Engine, meta: Params, episodes: Episodes, steps: int) -> list[Params]:
    return [step.params for step in engine.adaptation(experiment.algorithm, meta, episodes, steps)]
