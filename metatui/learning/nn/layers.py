"""Layers that torch does not provide, and functions that find the head of a model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metatui.learning.data.random import keys, uniform

Norm = Literal["batch", "group", "layer", "none"]
Head = Literal["linear", "cosine"]

NORM_FLOOR = 1e-12
"""Number that is added to squared norms, because the square root has no derivative at 0."""


class SpatialMean(nn.Module):
    """The mean over height and width: [..., C, H, W] to [..., C] (Finn et al. 2017, code for Omniglot)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(dim=(-2, -1))


class CosineLinear(nn.Module):
    """Cosine similarities between features and one weight vector per class, times a learned scale.

    Maps [..., inputs] to [..., outputs] (Gidaris and Komodakis 2018, section 3.2, equation 6).
    """

    def __init__(self, inputs: int, outputs: int, scale: float = 10.0) -> None:
        """Create the layer. Parameters are `weight` [outputs, inputs] and `scale` [1]."""
        super().__init__()
        self.weight = nn.Parameter(nn.Linear(inputs, outputs, bias=False).weight.detach())
        self.scale = nn.Parameter(torch.full((1,), scale))

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * F.linear(_normalised(x), _normalised(self.weight))

    def extra_repr(self) -> str:
        outputs, inputs = self.weight.shape
        return f"inputs={inputs}, outputs={outputs}"


class FiLM(nn.Module):
    """Scales and shifts each channel by linear functions of a context vector. Input and output are [B, C, ...].

    Feature-wise linear modulation (Perez et al. 2018) with the context parameters of Zintgraf et al. 2019. The context
    starts at zero and is not learned. With a context of zero, a new layer is the identity.
    """

    def __init__(self, context: int, channels: int) -> None:
        """Create the layer.

        Parameters are `context` [context], `weight` [2 * channels, context] and `bias` [2 * channels].
        """
        super().__init__()
        linear = nn.Linear(context, 2 * channels)
        self.context = nn.Parameter(torch.zeros(context), requires_grad=False)
        self.weight = nn.Parameter(linear.weight.detach())
        self.bias = nn.Parameter(torch.cat([torch.ones(channels), torch.zeros(channels)]))

    def forward(self, x: Tensor) -> Tensor:
        channel = (1, -1, *[1] * (x.dim() - 2))
        scale, shift = F.linear(self.context, self.weight, self.bias).chunk(2, dim=-1)
        return x * scale.view(channel) + shift.view(channel)

    def extra_repr(self) -> str:
        channels, context = self.weight.shape
        return f"context={context}, channels={channels // 2}"


class MaskSeed:
    """Seed of the masks of a `DropBlock` layer and of all its copies; None while the layer drops nothing."""

    def __init__(self) -> None:
        self.value: int | None = None

    def __deepcopy__(self, memo: object) -> MaskSeed:
        return self  # engines copy the model, and their copies must drop the same units


class DropBlock(nn.Module):
    """Drops square blocks of units in each channel during meta-steps. Input and output are [B, C, H, W].

    Ghiasi et al. 2018, Algorithm 1, with the scaling in line 6. The masks are a function of the seed, the layer and the
    position in the batch, so all tasks and inner steps of a meta-step share them. In this way, the network remains a
    function of its parameters and its input. Second derivatives and all engines rely on this.
    """

    def __init__(self, rate: float, number: int, size: int = 5) -> None:
        """Create the layer.

        Args:
            rate: approximate fraction of units that are dropped.
            number: index of the layer in its model.
            size: height and width of a block.
        """
        super().__init__()
        self.rate, self.number, self.size = rate, number, size
        self.seed = MaskSeed()

    def forward(self, x: Tensor) -> Tensor:
        if self.seed.value is None:
            return x
        batch, channels, height, width = x.shape
        size = min(self.size, height, width)
        rows, columns = height - size + 1, width - size + 1
        gamma = self.rate * height * width / (size**2 * rows * columns)
        key = keys(self.seed.value, f"drop_block/{self.number}", torch.zeros(1, dtype=torch.int64))
        corners = uniform(key, batch * channels * rows * columns).view(batch, channels, rows, columns) < gamma
        kept = 1 - F.max_pool2d(F.pad(corners.float(), [size - 1] * 4), size, stride=1)
        kept = kept * (kept.numel() / kept.sum().clamp(min=1))
        return x * kept.to(x)

    def extra_repr(self) -> str:
        return f"rate={self.rate:g}, size={self.size}"


def drop_blocks(model: nn.Module) -> list[DropBlock]:
    """Return the `DropBlock` layers of `model`."""
    return [layer for layer in model.modules() if isinstance(layer, DropBlock)]


@contextmanager
def dropping_blocks(layers: Sequence[DropBlock], seed: int) -> Iterator[None]:
    """Let `layers` and their copies drop units within this context, with masks that depend on `seed`."""
    for layer in layers:
        layer.seed.value = seed
    try:
        yield
    finally:
        for layer in layers:
            layer.seed.value = None


def _normalised(x: Tensor) -> Tensor:
    return x * (x.square().sum(-1, keepdim=True) + NORM_FLOOR).rsqrt()


class ResidualBlock(nn.Module):
    """Three 3x3 convolutions with norms, and a shortcut past them: [B, inputs, H, W] to [B, width, H, W].

    A block of ResNet-12 as in the code published by Lee et al. (2019), without its pooling.
    """

    def __init__(self, inputs: int, width: int, norm: Norm = "batch", groups: int = 8) -> None:
        super().__init__()
        bias = norm == "none"
        self.conv1 = nn.Conv2d(inputs, width, 3, padding=1, bias=bias)
        self.bn1 = norm_layer(norm, width, groups)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=bias)
        self.bn2 = norm_layer(norm, width, groups)
        self.conv3 = nn.Conv2d(width, width, 3, padding=1, bias=bias)
        self.bn3 = norm_layer(norm, width, groups)
        self.relu = nn.LeakyReLU(0.1)
        self.downsample = nn.Sequential(nn.Conv2d(inputs, width, 1, bias=bias), norm_layer(norm, width, groups))

    def forward(self, x: Tensor) -> Tensor:
        h = self.relu(self.bn1(self.conv1(x)))
        h = self.relu(self.bn2(self.conv2(h)))
        h = self.bn3(self.conv3(h))
        y: Tensor = self.relu(h + self.downsample(x))
        return y


def norm_layer(norm: Norm, channels: int, groups: int) -> nn.Module:
    """Create a normalization layer for inputs [B, channels, H, W], without running statistics.

    Args:
        groups: number of groups of the group norm, a divisor of `channels`. With one group, group norm is layer norm
            over the channels and pixels of each image.
    """
    match norm:
        case "batch":
            return nn.BatchNorm2d(channels, track_running_stats=False)
        case "group":
            return nn.GroupNorm(groups, channels)
        case "layer":
            return nn.GroupNorm(1, channels)
        case "none":
            return nn.Identity()


def head_layer(head: Head, features: int, outputs: int) -> nn.Module:
    """Create the last layer, which maps [B, features] to [B, outputs]."""
    return CosineLinear(features, outputs) if head == "cosine" else nn.Linear(features, outputs)


HEADS = (nn.Linear, CosineLinear)
"""Layers that can be the head of a model."""


def head_names(model: nn.Module) -> list[str]:
    """Return the names of the parameters of the last linear layer of `model`, or an empty list if there is none.

    The last layer is the one that was assigned to the model last.
    """
    layers = [name for name, module in model.named_modules() if isinstance(module, HEADS)]
    if not layers:
        return []
    prefix = f"{layers[-1]}." if layers[-1] else ""
    return [prefix + name for name, _ in model.get_submodule(layers[-1]).named_parameters()]
