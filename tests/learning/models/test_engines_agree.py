"""Agreement of all engines with plain autograd for the layers of the built-in models."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from metatui.learning.data.episodes import Episodes
from metatui.learning.engines.autograd import AutogradEngine
from metatui.learning.engines.base import meta_parameters
from metatui.learning.engines.registry import ENGINES, make_engine
from metatui.learning.engines.sequential import is_chain
from metatui.learning.layers import ResidualBlock
from metatui.learning.models.conv4 import conv4
from metatui.learning.models.resnet12 import resnet12
from metatui.learning.optim.inner import InnerLoop
from metatui.learning.optim.losses import CROSS_ENTROPY
from tests.learning.engines.test_engines import AGREEMENT, by_hand, flat, pictures

MODELS = {
    "group norm": lambda: conv4(3, input_shape=(1, 16, 16), filters=4, norm="group", groups=2),
    "layer norm": lambda: conv4(3, input_shape=(1, 16, 16), filters=2, norm="layer", downsample="stride"),
    "no norm": lambda: conv4(3, input_shape=(1, 16, 16), filters=2, norm="none", kernel=5, features="mean"),
    "cosine head": lambda: conv4(3, input_shape=(1, 16, 16), filters=2, head="cosine"),
    "resnet12": lambda: resnet12(3, input_shape=(1, 16, 16), widths=(2, 2, 2, 3)),
    "resnet12 with group norm and cosine head": lambda: resnet12(
        3, input_shape=(1, 16, 16), widths=(2, 2, 4, 2), norm="group", groups=2, head="cosine"
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_layers_agree_with_autograd(name: str) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = MODELS[name]().double()
        for p in model.parameters():
            p.data += 0.1 * torch.randn_like(p)
    data, lr, steps = pictures(2, 3), 0.1, 2
    for first_order in (False, True):
        loss, expected = by_hand(model, F.cross_entropy, data, lr, steps, first_order)
        for engine_name in ENGINES:
            engine = make_engine(engine_name, model, CROSS_ENTROPY)
            assert not isinstance(engine, AutogradEngine)  # it would be compared with itself
            inner = InnerLoop(lr, steps)
            result = engine.meta_gradient(meta_parameters(model), Episodes(*data), inner, first_order=first_order)
            assert abs(result.loss.mean() - loss) <= AGREEMENT * loss
            difference = flat(result.gradients) - expected
            assert difference.norm() <= AGREEMENT * expected.norm(), (engine_name, first_order)


def test_second_order_matters() -> None:
    """Without this, a missing second derivative could hide behind the tolerance."""
    model = MODELS["resnet12"]().double()
    first, second = (
        by_hand(model, F.cross_entropy, pictures(2, 3), 0.1, 2, first_order)[1] for first_order in (True, False)
    )
    assert (first - second).norm() > 1e-3 * second.norm()


class Halved(ResidualBlock):
    """A residual block with another forward pass."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 0.5 * super().forward(x)


def test_only_unmodified_residual_blocks_are_rewritten() -> None:
    assert is_chain(nn.Sequential(ResidualBlock(1, 2)))
    assert not is_chain(nn.Sequential(Halved(1, 2)))
    tracking = ResidualBlock(1, 2)
    tracking.bn2 = nn.BatchNorm2d(2)
    assert not is_chain(nn.Sequential(tracking))
    shared = ResidualBlock(2, 2)
    shared.conv3 = shared.conv2
    assert not is_chain(nn.Sequential(shared))
    hooked = ResidualBlock(1, 2)
    hooked.conv1.register_forward_hook(lambda *_: None)
    assert not is_chain(nn.Sequential(hooked))
