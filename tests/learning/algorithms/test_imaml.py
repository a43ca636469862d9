"""Tests of iMAML: training, evaluation, and agreement with the exact implicit gradient."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call

from metatui.config.settings import Settings
from metatui.learning.data.episodes import Episodes
from metatui.learning.engines.registry import EngineName, make_engine
from metatui.learning.experiment import Experiment, set_up
from metatui.learning.optim.inner import Params
from tests.learning.algorithms.learned import GLYPHS, SINUSOID, changed, noisy
from tests.learning.algorithms.references import IMAGES, LEARNING, WAVES, check_adaptation, check_training, settings_of

ENGINES: tuple[EngineName, ...] = ("loop", "native", "batched", "unfolded")
STRENGTH = 8.0
"""Regularisation strength λ, large enough to make the regularised inner loss convex."""


def imaml(base: Settings, **options: int) -> Settings:
    settings = changed(base, algorithm__name="imaml", algorithm__inner_lr=0.05, algorithm__inner_steps=10)
    return changed(settings, imaml__regularization=STRENGTH, **options)


def exact(experiment: Experiment, meta: Params, episodes: Episodes) -> tuple[Tensor, Tensor]:
    """Return the mean query loss and the implicit gradient (Rajeswaran et al. 2019, equation 6).

    The gradient is exact: a dense linear solver replaces the conjugate-gradient method.
    """
    algorithm = experiment.settings.algorithm
    loss_fn = F.cross_entropy if experiment.settings.is_classification else F.mse_loss
    sizes = [p.numel() for p in meta.values()]
    theta = torch.cat([p.flatten() for p in meta.values()])

    def loss(vector: Tensor, x: Tensor, y: Tensor) -> Tensor:
        parts = zip(meta.items(), torch.split(vector, sizes), strict=True)
        return loss_fn(functional_call(experiment.model, {name: v.view_as(p) for (name, p), v in parts}, (x,)), y)

    losses, gradients = [], []
    for x, y, query_x, query_y in zip(*episodes.tensors(), strict=True):
        phi = theta.clone()
        for _ in range(algorithm.inner_steps):
            phi.requires_grad_()
            objective = loss(phi, x, y) + STRENGTH / 2 * (phi - theta).square().sum()
            (slope,) = torch.autograd.grad(objective, phi)
            phi = (phi - algorithm.inner_lr * slope).detach()
        phi.requires_grad_()
        query_loss = loss(phi, query_x, query_y)
        (v,) = torch.autograd.grad(query_loss, phi)
        hessian = torch.autograd.functional.hessian(lambda p, x=x, y=y: loss(p, x, y), phi)  # type: ignore[no-untyped-call]
        gradients.append(torch.linalg.solve(torch.eye(len(phi), dtype=phi.dtype) + hessian / STRENGTH, v))
        losses.append(query_loss.detach())
    return torch.stack(losses).mean(), torch.stack(gradients).mean(0)


@pytest.mark.parametrize("base", [SINUSOID, changed(GLYPHS, model__filters=1)], ids=["sinusoid", "images"])
def test_engines_match_the_exact_implicit_gradient(base: Settings) -> None:
    experiment = set_up(imaml(base, imaml__cg_steps=60))
    meta, episodes = (
        noisy(experiment.theta()),
        experiment.training_episodes(range(1, 3) if base is SINUSOID else range(1, 2)),
    )
    loss, expected = exact(experiment, meta, episodes)
    for name in ENGINES:
        engine = make_engine(name, experiment.model, experiment.loss)
        result = engine.meta_gradient_of(experiment.algorithm, meta, episodes)
        torch.testing.assert_close(result.loss.mean(), loss, rtol=1e-9, atol=0)
        actual = torch.cat([result.gradients[key].flatten() for key in meta])
        assert (actual - expected).norm() <= 1e-8 * expected.norm(), name


def test_few_cg_steps_approximate_it() -> None:
    errors = []
    for steps in (1, 5, 25):
        experiment = set_up(imaml(SINUSOID, imaml__cg_steps=steps))
        meta, episodes = noisy(experiment.theta()), experiment.training_episodes(range(2))
        _, expected = exact(experiment, meta, episodes)
        result = experiment.engine.meta_gradient_of(experiment.algorithm, meta, episodes)
        actual = torch.cat([result.gradients[key].flatten() for key in meta])
        errors.append(float((actual - expected).norm() / expected.norm()))
    assert errors[0] > errors[1] > errors[2]


def test_zero_curvature_is_defined() -> None:
    # A dead hidden layer: the support loss does not depend on the first layer, and its Hessian is zero there.
    experiment = set_up(imaml(SINUSOID))
    meta = {name: torch.full_like(p, -1.0) if name == "0.bias" else p * 0 for name, p in experiment.theta().items()}
    result = experiment.engine.meta_gradient_of(experiment.algorithm, meta, experiment.training_episodes(range(2)))
    assert all(torch.isfinite(g).all() for g in result.gradients.values())


def test_training() -> None:
    check_training(settings_of(LEARNING["sinusoid"], "imaml", algorithm__outer_lr=0.03, training__iterations=24))


@pytest.mark.parametrize("base", [WAVES, IMAGES], ids=["sinusoid", "images"])
def test_adaptation(base: Settings) -> None:
    check_adaptation(settings_of(base, "imaml"))
