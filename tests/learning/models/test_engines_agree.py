"""Test that all engines agree with plain autograd on the layers of the built-in models."""

from __future__ import annotations

from typing import Literal

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metatui.learning.checks.plain_autograd import plain_meta_gradient
from metatui.learning.data.episodes import Episodes
from metatui.learning.engines.autograd import AutogradEngine
from metatui.learning.engines.base import meta_parameters
from metatui.learning.engines.layers.group_norm import GroupNorm
from metatui.learning.engines.registry import ENGINES, make_engine
from metatui.learning.engines.sequential import is_chain
from metatui.learning.models.conv4 import conv4
from metatui.learning.models.resnet12 import resnet12
from metatui.learning.nn.layers import ResidualBlock
from metatui.learning.optim.inner import InnerLoop
from metatui.learning.optim.losses import CROSS_ENTROPY
from tests.learning.engines.test_engines import AGREEMENT, flat, pictures

MODELS = {
    "group norm": lambda: conv4(3, input_shape=(1, 16, 16), filters=4, norm="group", groups=2),
    "layer norm": lambda: conv4(3, input_shape=(1, 16, 16), filters=2, norm="layer", downsample="stride"),
    "no norm": lambda: conv4(3, input_shape=(1, 16, 16), filters=2, norm="none", kernel=5, features="mean"),
    "cosine head": lambda: conv4(3, input_shape=(1, 16, 16), filters=2, head="cosine"),
    "resnet12": lambda: resnet12(3, input_shape=(1, 16, 16), widths=(2, 2, 2, 3), head="cosine"),
}


@pytest.mark.parametrize("name", MODELS)
def test_layers_agree_with_autograd(name: str) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = MODELS[name]().double()
        for p in model.parameters():
            p.data += 0.1 * torch.randn_like(p)
    episodes, lr, steps = Episodes(*pictures(2, 3)), 0.1, 2
    for first_order in (False, True):
        loss, gradient = plain_meta_gradient(model, F.cross_entropy, episodes, lr, steps, first_order=first_order)
        expected = flat(gradient)
        for engine_name in ENGINES:
            engine = make_engine(engine_name, model, CROSS_ENTROPY)
            assert not isinstance(engine, AutogradEngine)  # it would be compared with itself
            inner = InnerLoop(lr, steps)
            result = engine.meta_gradient(meta_parameters(model), episodes, inner, first_order=first_order)
            assert abs(result.loss.mean() - loss) <= AGREEMENT * loss
            difference = flat(result.gradients) - expected
            assert difference.norm() <= AGREEMENT * expected.norm(), (engine_name, first_order)


@pytest.mark.parametrize("downsample", ["max_pool", "stride"])
def test_group_norms_alone_are_adapted(downsample: Literal["max_pool", "stride"]) -> None:
    """Check models in which only the group norms are adapted.

    No gradient is computed for the input of the first group norm. In this case, torch's kernel for channels-last images
    crashes.
    """
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = conv4(3, input_shape=(1, 16, 16), filters=2, norm="layer", downsample=downsample).double()
    for name, p in model.named_parameters():
        p.requires_grad_(isinstance(model.get_submodule(name.split(".")[0]), nn.GroupNorm))
    for first_order in (False, True):
        results = [
            flat(
                make_engine(name, model, CROSS_ENTROPY)
                .meta_gradient(
                    meta_parameters(model), Episodes(*pictures(2, 3)), InnerLoop(0.1, 2), first_order=first_order
                )
                .gradients
            )
            for name in ENGINES
            if name != "higher"  # it adapts frozen parameters too if the order is 1
        ]
        for result in results:
            assert (result - results[-1]).norm() <= AGREEMENT * results[-1].norm()


@pytest.mark.parametrize("size", [(3, 2), (1, 1)])
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_group_norm_derivatives(size: tuple[int, int], groups: int, memory_format: torch.memory_format) -> None:
    generator = torch.Generator().manual_seed(0)
    x, weight, bias = (
        torch.randn(shape, generator=generator, dtype=torch.float64) for shape in ((2, 4, *size), (4,), (4,))
    )
    x = x.contiguous(memory_format=memory_format)
    norm = GroupNorm(nn.GroupNorm(groups, 4))

    def ours(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return torch.func.functional_call(norm, {"weight": weight, "bias": bias}, (x,))  # type: ignore[no-any-return]

    inputs = [t.requires_grad_() for t in (x, weight, bias)]
    torch.testing.assert_close(ours(*inputs), F.group_norm(x, groups, weight, bias))
    assert torch.autograd.gradcheck(ours, inputs)
    assert torch.autograd.gradgradcheck(ours, inputs)
    assert (
        torch.autograd.grad(ours(x.detach(), weight, bias).sum(), [bias])[0].tolist() == [2.0 * size[0] * size[1]] * 4
    )


@pytest.mark.parametrize("name", MODELS)
def test_predictions_for_single_examples_can_be_vectorised(name: str) -> None:
    model = MODELS[name]().double()
    engine, params, x = make_engine("loop", model, CROSS_ENTROPY), meta_parameters(model), pictures(2, 3)[0]
    with torch.no_grad():
        together = torch.vmap(lambda examples: engine.forward(params, examples))(x)
        torch.testing.assert_close(together, torch.stack([engine.forward(params, examples) for examples in x]))


def test_second_order_matters() -> None:
    """Check that first-order and second-order gradients differ clearly.

    Otherwise, the tolerance of the other tests could hide a missing second derivative.
    """
    model = MODELS["resnet12"]().double()
    episodes = Episodes(*pictures(2, 3))
    first, second = (
        flat(plain_meta_gradient(model, F.cross_entropy, episodes, 0.1, 2, first_order=first_order)[1])
        for first_order in (True, False)
    )
    assert (first - second).norm() > 1e-3 * second.norm()


class HalvingBlock(ResidualBlock):
    """A residual block with a modified forward pass, which halves the output."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 0.5 * super().forward(x)


def test_only_unmodified_residual_blocks_are_rewritten() -> None:
    assert is_chain(nn.Sequential(ResidualBlock(1, 2)))
    assert not is_chain(nn.Sequential(HalvingBlock(1, 2)))
    tracking = ResidualBlock(1, 2)
    tracking.bn2 = nn.BatchNorm2d(2)
    assert not is_chain(nn.Sequential(tracking))
    shared = ResidualBlock(2, 2)
    shared.conv3 = shared.conv2
    assert not is_chain(nn.Sequential(shared))
    hooked = ResidualBlock(1, 2)
    hooked.conv1.register_forward_hook(lambda *_: None)
    assert not is_chain(nn.Sequential(hooked))
