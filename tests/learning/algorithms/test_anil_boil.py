"""Tests of ANIL and BOIL: training, adaptation, and agreement with a simple loop written from the papers."""

from __future__ import annotations

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from metatui.config.settings import Settings
from metatui.learning.engines import task as task_module
from metatui.learning.experiment import set_up
from metatui.learning.optim.inner import Params
from tests.learning.algorithms.references import (
    BASES,
    IMAGES,
    LEARNING,
    Forward,
    check_adaptation,
    check_meta_gradient,
    check_training,
    settings_of,
)

PARTS = pytest.mark.parametrize(("name", "part"), [("anil", "head"), ("boil", "body")])


def names_of(part: str, theta: Params) -> list[str]:
    """Return the names of the parameters in the head or the body of the model.

    The head consists of the weight and the bias of the last layer, and the body of all other parameters.
    """
    return list(theta)[-2:] if part == "head" else list(theta)[:-2]


def adapt_part(
    forward: Forward, theta: Params, task: tuple[Tensor, ...], *, part: str, first_order: bool = False
) -> Tensor:
    """Compute the query loss after two inner steps that adapt only a part of the model.

    This part is the head in ANIL (Raghu et al. 2020, equation 2) and the body in BOIL (Oh et al. 2021, section 3.1).
    """
    x, y, query_x, query_y = task
    loss = F.mse_loss if y.is_floating_point() else F.cross_entropy
    fast, names = dict(theta), names_of(part, theta)
    for _ in range(2):
        slopes = torch.autograd.grad(loss(forward(fast, x), y), [fast[name] for name in names], create_graph=True)
        for name, slope in zip(names, slopes, strict=True):
            fast[name] = fast[name] - 0.05 * (slope.detach() if first_order else slope)
    return loss(forward(fast, query_x), query_y)


@BASES
@PARTS
def test_engines_agree_with_the_paper(base: Settings, name: str, part: str) -> None:
    check_meta_gradient(settings_of(base, name), partial(adapt_part, part=part))


@BASES
@PARTS
def test_first_order_variant_is_fomaml_of_the_part(base: Settings, name: str, part: str) -> None:
    settings = settings_of(base, "fomaml", algorithm__adapt=part)
    check_meta_gradient(settings, partial(adapt_part, part=part, first_order=True), is_derivative=False)


@pytest.mark.parametrize(("name", "adapt"), [("anil", "all"), ("fomaml", "head")])
def test_body_sees_each_set_once(name: str, adapt: str, monkeypatch: pytest.MonkeyPatch) -> None:
    experiment = set_up(settings_of(IMAGES, name, algorithm__adapt=adapt, algorithm__inner_steps=4))
    passes = []
    original = task_module.Network

    def counted(body: task_module.Forward, *heads: task_module.Forward) -> task_module.Network:
        def forward(params: Params, x: Tensor) -> Tensor:
            passes.append(torch.is_grad_enabled())
            return body(params, x)

        return original(forward, *heads)

    monkeypatch.setattr("metatui.learning.engines.base.Network", counted)
    episodes = experiment.training_episodes(range(1))
    experiment.engine.meta_gradient_of(experiment.algorithm, experiment.theta(), episodes)
    support_is_differentiated = name == "anil"
    assert passes == [support_is_differentiated, True]


@pytest.mark.parametrize("kind", LEARNING)
@pytest.mark.parametrize("name", ["anil", "boil"])
def test_training(kind: str, name: str) -> None:
    check_training(settings_of(LEARNING[kind], name))


@BASES
@PARTS
def test_adaptation_changes_only_the_part(base: Settings, name: str, part: str) -> None:
    check_adaptation(settings_of(base, name))
    experiment = set_up(settings_of(base, name))
    episodes, theta = experiment.training_episodes(range(2)), experiment.theta()
    *_, last = experiment.engine.adaptation(experiment.algorithm, theta, episodes, 3)
    changed = [name for name, p in theta.items() if not torch.equal(last.params[name], p.expand(2, *p.shape))]
    assert changed == names_of(part, theta)
