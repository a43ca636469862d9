"""Tests of the built-in models: layers, initial values, and error messages for unsuitable settings."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Literal

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metatui.config.fields import parse
from metatui.learning.model import make_model
from metatui.learning.models.conv4 import conv4
from metatui.learning.models.mlp import mlp
from metatui.learning.models.resnet12 import resnet12
from metatui.learning.nn.layers import CosineLinear, SpatialMean, head_names
from metatui.utils.errors import SettingsError


def same(model: nn.Module, other: nn.Module) -> bool:
    """Return whether the parameters of both models have the same names and bitwise equal values."""
    ours, theirs = model.state_dict(), other.state_dict()
    return list(ours) == list(theirs) and all(torch.equal(t, theirs[name]) for name, t in ours.items())


def by_hand(seed: int, *layers: Any) -> nn.Sequential:
    """Set torch's seed, and create a sequence of layers, each given as a tuple of its class and arguments."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(*(make(*arguments) for make, *arguments in layers))


def test_default_mlp() -> None:
    settings = parse({"training": {"seed": 3}})
    expected = by_hand(3, (nn.Linear, 1, 40), (nn.ReLU,), (nn.Linear, 40, 40), (nn.ReLU,), (nn.Linear, 40, 1))
    assert same(make_model(settings, (1,)), expected)


@pytest.mark.parametrize("downsample", ["max_pool", "stride"])
def test_default_conv4(downsample: Literal["max_pool", "stride"]) -> None:
    settings = parse(
        {"task": {"source": "glyphs"}, "model": {"filters": 3, "downsample": downsample}, "training": {"seed": 5}}
    )
    pool = [(nn.MaxPool2d, 2)] if downsample == "max_pool" else []
    blocks = [
        layer
        for before, after in pairwise([1, 3, 3, 3, 3])
        for layer in (
            (nn.Conv2d, before, after, 3, 1 if pool else 2, 1, 1, 1, False),
            (nn.BatchNorm2d, after, 1e-5, 0.1, True, False),
            *pool,
            (nn.ReLU,),
        )
    ]
    expected = by_hand(5, *blocks, (nn.Flatten,), (nn.Linear, 3 if pool else 12, 5))
    model = make_model(settings, (1, 28, 28))
    assert same(model, expected)
    x = torch.rand(4, 1, 28, 28)
    assert torch.equal(model(x), expected(x))


def test_mlp_on_images_and_with_several_targets() -> None:
    images = parse({"task": {"source": "glyphs", "ways": 3}, "model": {"name": "mlp", "hidden": [7]}})
    assert make_model(images, (1, 28, 28))(torch.rand(2, 1, 28, 28)).shape == (2, 3)
    assert make_model(parse({}), (4,), targets=2)(torch.rand(5, 4)).shape == (5, 2)


@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("size", [1, 15, 28])
def test_kernel_keeps_the_number_of_features(kernel: int, size: int) -> None:
    model = conv4(2, input_shape=(1, size, size), filters=2, kernel=kernel, downsample="stride")
    assert model(torch.rand(3, 1, size, size)).shape == (3, 2)


def test_norms_of_conv4() -> None:
    layers = {
        norm: [repr(layer) for layer in list(conv4(2, filters=4, norm=norm, groups=2))[:2]]
        for norm in ("batch", "group", "layer", "none")
    }
    assert layers["batch"][1].startswith("BatchNorm2d(4, ")
    assert layers["group"][1].startswith("GroupNorm(2, 4, ")
    assert layers["layer"][1].startswith("GroupNorm(1, 4, ")
    assert layers["none"][1] == "Identity()"
    assert {norm: "bias=False" in convolution for norm, (convolution, _) in layers.items()} == {
        "batch": True, "group": True, "layer": True, "none": False,
    }  # fmt: skip


def test_layer_norm_is_over_channels_and_pixels() -> None:
    x = torch.rand(2, 3, 4, 5)
    norm = conv4(2, filters=3, norm="layer").get_submodule("1")
    torch.testing.assert_close(norm(x), F.layer_norm(x, (3, 4, 5)))


def test_cosine_head() -> None:
    layer = CosineLinear(4, 3)
    x = torch.randn(5, 4)
    expected = 10 * F.cosine_similarity(x.unsqueeze(1), layer.weight, dim=-1)
    torch.testing.assert_close(layer(x), expected)
    assert [name for name, _ in layer.named_parameters()] == ["weight", "scale"]


def test_cosine_of_zero_features_has_finite_derivatives() -> None:
    layer, x = CosineLinear(4, 3).double(), torch.zeros(2, 4, dtype=torch.float64, requires_grad=True)
    loss = F.cross_entropy(layer(x), torch.tensor([0, 2]))
    inputs = [x, *layer.parameters()]
    first = torch.autograd.grad(loss, inputs, create_graph=True)
    second = torch.autograd.grad(torch.cat([g.flatten() for g in first]).square().sum(), inputs)
    assert all(torch.isfinite(g).all() for g in (*first, *second))


def plain_resnet12(params: dict[str, Tensor], x: Tensor) -> Tensor:
    """Compute the outputs of ResNet-12 with functions of torch, as in the code of MetaOptNet.

    Batch norm uses the statistics of the batch.
    """

    def unit(x: Tensor, convolution: str, norm: str, padding: int) -> Tensor:
        y = F.conv2d(x, params[f"{convolution}.weight"], padding=padding)
        return F.batch_norm(y, None, None, params[f"{norm}.weight"], params[f"{norm}.bias"], True)

    for layer in ("layer1.0", "layer2.0", "layer3.0", "layer4.0"):
        h = F.leaky_relu(unit(x, f"{layer}.conv1", f"{layer}.bn1", 1), 0.1)
        h = F.leaky_relu(unit(h, f"{layer}.conv2", f"{layer}.bn2", 1), 0.1)
        h = unit(h, f"{layer}.conv3", f"{layer}.bn3", 1)
        h = h + unit(x, f"{layer}.downsample.0", f"{layer}.downsample.1", 0)
        x = F.max_pool2d(F.leaky_relu(h, 0.1), 2)
    return F.linear(x.mean((2, 3)), params["head.weight"], params["head.bias"])


def test_resnet12_matches_plain_functions() -> None:
    model = resnet12(4, input_shape=(3, 33, 20), widths=(2, 3, 4, 5))
    x = torch.rand(6, 3, 33, 20)
    torch.testing.assert_close(model(x), plain_resnet12(dict(model.named_parameters()), x))


def test_resnet12_has_the_published_size() -> None:
    with torch.device("meta"):
        sizes = [
            sum(p.numel() for p in resnet12(5, widths=widths)[:-1].parameters())
            for widths in ((64, 128, 256, 512), (64, 160, 320, 640))
        ]
    assert sizes == [7_996_800, 12_424_320]


@pytest.mark.parametrize(
    ("model", "names"),
    [
        (conv4(2, filters=2), ["17.weight", "17.bias"]),
        (conv4(2, filters=2, head="cosine"), ["17.weight", "17.scale"]),
        (resnet12(2, widths=(1, 1, 1, 1)), ["head.weight", "head.bias"]),
        (mlp([3]), ["2.weight", "2.bias"]),
        (nn.Linear(2, 1), ["weight", "bias"]),
        (nn.Sequential(nn.Linear(2, 1, bias=False), nn.ReLU()), ["0.weight"]),
        (nn.Sequential(nn.Conv2d(1, 2, 3), SpatialMean()), []),
    ],
    ids=["conv4", "cosine", "resnet12", "mlp", "linear", "not last", "none"],
)
def test_head_names(model: nn.Module, names: list[str]) -> None:
    assert head_names(model) == names


@pytest.mark.parametrize(
    ("model", "shape", "sentence"),
    [
        ({}, (1, 15, 20), "model.downsample is 'max_pool', but must be 'stride' for images of 15x20 pixels"),
        ({"name": "resnet12"}, (3, 15, 84), "model.name is 'resnet12', but must be another model for images of 15x84"),
        ({}, (20,), "model.name is 'auto', but must be another model, such as mlp: conv4 is for images, not for "),
    ],
)
def test_images_of_another_shape(model: dict[str, Any], shape: tuple[int, ...], sentence: str) -> None:
    settings = parse({"task": {"source": "glyphs"}, "model": model})
    with pytest.raises(SettingsError) as caught:
        make_model(settings, shape)
    assert str(caught.value).startswith(sentence)


@pytest.mark.parametrize(
    ("groups", "sentence"),
    [
        (
            {"model": {"name": "conv4"}},
            "model.name is 'conv4', but must be one of auto, mlp if task.source = 'sinusoid'",
        ),
        ({"model": {"kernel": 4}}, "model.kernel is 4, but must be an odd number"),
        ({"model": {"norm": "group", "groups": 7}}, "model.groups is 7, but must be a divisor of 64, "),
        (
            {"model": {"name": "resnet12", "norm": "group"}, "resnet12": {"widths": [8, 16, 20, 32]}},
            "model.groups is 8, but must be a divisor of 20, ",
        ),
        (
            {"model": {"name": "resnet12"}, "task": {"source": "folder", "folder": "/images", "image_size": 15}},
            "task.image_size is 15, but must be at least 16 if model.name = 'resnet12'",
        ),
        ({"resnet12": {"widths": [8, 16]}}, "resnet12.widths is [8, 16], but must be four whole numbers"),
        ({"model": {"name": "conv5"}}, "model.name is 'conv5', but must be one of auto, conv4, mlp, resnet12"),
    ],
)
def test_settings_that_do_not_fit(groups: dict[str, Any], sentence: str) -> None:
    source = {} if groups.get("model", {}).get("name") == "conv4" else {"task": {"source": "glyphs"}}
    with pytest.raises(SettingsError) as caught:
        parse({**source, **groups})
    assert str(caught.value).startswith(sentence)
