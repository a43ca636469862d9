"""Tests of CAVIA: training, evaluation, and agreement with a simple loop written from the paper."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call

from metatui.config.declarations import Scalar
from metatui.config.fields import change
from metatui.config.settings import Settings
from metatui.learning.experiment import set_up
from metatui.learning.nn.layers import FiLM, ResidualBlock
from metatui.learning.optim.inner import Params
from metatui.utils.errors import BadInput
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

STRIDED = change(IMAGES, {"model.downsample": "stride", "model.norm": "group", "model.groups": 3})
PERCEPTRON = change(IMAGES, {"model.name": "mlp"})
BASES = pytest.mark.parametrize(
    "base", [WAVES, IMAGES, STRIDED, PERCEPTRON], ids=["sinusoid", "images", "stride", "mlp for images"]
)


def cavia(base: Settings, **changes: Scalar) -> Settings:
    return settings_of(base, "cavia", cavia__context=4, **changes)


def plain_cavia(forward: Forward, theta: Params, task: tuple[Tensor, ...]) -> Tensor:
    """Compute the query loss after two inner steps on the context vector (Zintgraf et al. 2019, equations 3 and 4)."""
    x, y, query_x, query_y = task
    loss = F.mse_loss if y.is_floating_point() else F.cross_entropy
    assert "film.context" not in theta
    context = torch.zeros(4, dtype=torch.float64, requires_grad=True)
    for _ in range(2):
        predicted = forward({**theta, "film.context": context}, x)
        (slope,) = torch.autograd.grad(loss(predicted, y), context, create_graph=True)
        context = context - 0.05 * slope
    return loss(forward({**theta, "film.context": context}, query_x), query_y)


@BASES
def test_engines_agree_with_the_paper(base: Settings) -> None:
    check_meta_gradient(cavia(base), plain_cavia)


def test_training() -> None:
    check_training(cavia(LEARNING["sinusoid"], algorithm__inner_lr=0.5))


@BASES
def test_adaptation_changes_the_context_only(base: Settings) -> None:
    check_adaptation(cavia(base))
    experiment = set_up(cavia(base))
    episodes = experiment.training_episodes(range(2))
    first, *_, last = experiment.engine.adaptation(experiment.algorithm, experiment.theta(), episodes, 3)
    assert not first.params["film.context"].any()
    moved = {name for name, p in last.params.items() if not torch.equal(p, first.params[name])}
    assert moved == {"film.context"}


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 4, 5)])
def test_modulation_scales_and_shifts_channels(shape: tuple[int, ...]) -> None:
    film, context, x = FiLM(4, 3), torch.randn(4), torch.randn(shape)
    outputs = functional_call(film, {"context": context}, (x,))
    scale, shift = torch.split(film.weight @ context + film.bias, 3)
    for channel in range(3):
        torch.testing.assert_close(outputs[:, channel], x[:, channel] * scale[channel] + shift[channel])


def test_new_network_is_that_of_maml() -> None:
    for base in (WAVES, IMAGES):
        ordinary, modulated = set_up(settings_of(base, "maml")), set_up(cavia(base))
        x = ordinary.training_episodes(range(1)).support_x[0]
        assert torch.equal(modulated.model(x), ordinary.model(x))


def test_resnet12_is_modulated_after_its_third_block() -> None:
    settings = cavia(change(IMAGES, {"model.name": "resnet12", "resnet12.widths": (2, 3, 4, 5)}))
    children = list(set_up(settings).model.children())
    at = next(number for number, layer in enumerate(children) if isinstance(layer, FiLM))
    assert sum(isinstance(layer, ResidualBlock) for child in children[:at] for layer in child.modules()) == 3
    assert dict(children[at].named_parameters())["weight"].shape == (2 * 4, 4)


def test_model_without_stages_is_refused() -> None:
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2))
    with pytest.raises(BadInput, match="there is no layer to modulate"):
        set_up(cavia(WAVES)).algorithm.prepare_model(model, cavia(WAVES))
