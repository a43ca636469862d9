"""Tests of BOIL: training, adaptation, and agreement with a simple loop written from the paper."""

from __future__ import annotations

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from metatui.config.settings import Settings
from metatui.learning.experiment import set_up
from metatui.learning.optim.inner import Params
from tests.learning.algorithms.references import (
    IMAGES,
    LEARNING,
    WAVES,
    Forward,
    check_adaptation,
    check_meta_gradient,
    check_training,
    settings_of,
)

BASES = pytest.mark.parametrize("base", [WAVES, IMAGES], ids=["sinusoid", "images"])


def boil(forward: Forward, theta: Params, task: tuple[Tensor, ...], *, first_order: bool) -> Tensor:
    """Compute the query loss after two inner steps that adapt only the body (Oh et al. 2021, section 3.1)."""
    x, y, query_x, query_y = task
    loss = F.mse_loss if y.is_floating_point() else F.cross_entropy
    head = list(theta)[-2:]
    fast = theta
    for _ in range(2):
        slopes = torch.autograd.grad(loss(forward(fast, x), y), list(fast.values()), create_graph=True)
        rates = [0.0 if name in head else 0.05 for name in fast]
        fast = {
            name: p - rate * (slope.detach() if first_order else slope)
            for (name, p), rate, slope in zip(fast.items(), rates, slopes, strict=True)
        }
    return loss(forward(fast, query_x), query_y)


@BASES
def test_engines_agree_with_the_paper(base: Settings) -> None:
    check_meta_gradient(settings_of(base, "boil"), partial(boil, first_order=False))


@BASES
def test_first_order_boil_is_fomaml_of_the_body(base: Settings) -> None:
    settings = settings_of(base, "fomaml", algorithm__adapt="body")
    check_meta_gradient(settings, partial(boil, first_order=True), is_derivative=False)


@pytest.mark.parametrize("kind", LEARNING)
def test_training(kind: str) -> None:
    check_training(settings_of(LEARNING[kind], "boil"))


@BASES
def test_adaptation_keeps_the_head(base: Settings) -> None:
    check_adaptation(settings_of(base, "boil"))
    experiment = set_up(settings_of(base, "boil"))
    episodes, theta = experiment.training_episodes(range(2)), experiment.theta()
    *_, last = experiment.engine.adaptation(experiment.algorithm, theta, episodes, 3)
    kept = [name for name, p in theta.items() if torch.equal(last.params[name], p.expand(2, *p.shape))]
    assert kept == list(theta)[-2:]
