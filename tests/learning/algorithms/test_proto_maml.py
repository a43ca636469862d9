"""Tests of ProtoMAML: training, adaptation, and agreement with a simple loop written from the paper."""

from __future__ import annotations

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from metatui.learning.experiment import set_up
from metatui.learning.explanations import explanation
from metatui.learning.optim.inner import Params
from metatui.utils.errors import SettingsError
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

WAYS = 3
FEATURES = 3
"""Number of features that enter the head of the small network.

Its four blocks reduce an image of 28 x 28 pixels to one pixel with three channels.
"""


def proto_maml(
    forward: Forward, body: Params, task: tuple[Tensor, ...], *, first_order: bool = False, adapt: str = "all"
) -> Tensor:
    """Compute the query loss after two inner steps, with a head that is initialised from the prototypes.

    The method is described in section 3 of the Meta-Dataset paper (Triantafillou et al. 2020).
    """
    x, y, query_x, query_y = task
    identity = {"17.weight": torch.eye(FEATURES, dtype=x.dtype), "17.bias": torch.zeros(FEATURES, dtype=x.dtype)}
    features = forward({**body, **identity}, x)
    c = torch.stack([features[y == k].mean(0) for k in range(WAYS)])
    fast = {**body, "17.weight": 2 * c, "17.bias": -(c * c).sum(1)}
    names = list(fast) if adapt == "all" else ["17.weight", "17.bias"]
    for _ in range(2):
        # The gradient at the point (body, head): new tensors, so that the head does not depend on the body.
        fast = {name: p.clone() for name, p in fast.items()}
        loss = F.cross_entropy(forward(fast, x), y)
        slopes = torch.autograd.grad(loss, [fast[name] for name in names], create_graph=True)
        for name, slope in zip(names, slopes, strict=True):
            fast[name] = fast[name] - 0.05 * (slope.detach() if first_order else slope)
    return F.cross_entropy(forward(fast, query_x), query_y)


@pytest.mark.parametrize("adapt", ["all", "head"])
def test_engines_agree_with_the_paper(adapt: str) -> None:
    settings = settings_of(IMAGES, "proto_maml", algorithm__adapt=adapt)
    check_meta_gradient(settings, partial(proto_maml, adapt=adapt))


@pytest.mark.parametrize("adapt", ["all", "head"])
def test_first_order_differentiates_the_prototypes(adapt: str) -> None:
    settings = settings_of(IMAGES, "proto_maml", algorithm__adapt=adapt, proto_maml__first_order=True)
    check_meta_gradient(settings, partial(proto_maml, first_order=True, adapt=adapt), is_derivative=False)


def test_training() -> None:
    check_training(settings_of(LEARNING["images"], "proto_maml", algorithm__inner_lr=0.05))


def test_adaptation() -> None:
    check_adaptation(settings_of(IMAGES, "proto_maml"))
    experiment = set_up(settings_of(IMAGES, "proto_maml"))
    assert not any(name.startswith("17.") for name in experiment.theta())


def test_explanation_of_the_first_order() -> None:
    explained = explanation(settings_of(IMAGES, "proto_maml", proto_maml__first_order=True))
    assert explained.hessian_products == 0
    assert "No second derivatives." in explained.costs


def test_regression_is_refused() -> None:
    with pytest.raises(SettingsError, match="ProtoMAML is for classification only"):
        settings_of(WAVES, "proto_maml")
