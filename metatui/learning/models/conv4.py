"""The four-block convolutional network of few-shot classification (Vinyals et al. 2016; Finn et al. 2017, 5.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from metatui.config.settings import Settings
from metatui.learning.model import Model

if TYPE_CHECKING:
    from torch import nn


class Conv4(Model):
    """Four convolution blocks and a head."""

    name = "conv4"
    title = "Conv-4"
    kinds = frozenset({"classification"})
    default_for = frozenset({"classification"})
    uses = frozenset({"model.filters", "model.downsample", "model.features"})

    @classmethod
    def build(cls, settings: Settings, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
        channels, height, width = input_shape
        return conv4(
            outputs,
            input_shape=(channels, height, width),
            filters=settings.model.filters,
            downsample=settings.model.downsample,
            features=settings.model.features,
        )


def conv4(
    ways: int,
    *,
    input_shape: tuple[int, int, int] = (1, 28, 28),
    filters: int = 64,
    downsample: Literal["max_pool", "stride"] = "max_pool",
    features: Literal["flatten", "mean"] = "flatten",
) -> nn.Sequential:
    """Create a network from images [B, C, H, W] to logits [B, ways].

    Each block is a 3x3 convolution, batch norm, ReLU and 2x2 max-pooling, or the same with stride 2 in place of the
    pooling. Batch norm always uses the statistics of its batch and stores none: a running average would mix the
    statistics of different tasks.
    """
    from torch import nn

    from metatui.learning.layers import SpatialMean

    channels, height, width = input_shape
    stride = 2 if downsample == "stride" else 1
    layers: list[nn.Module] = []
    for _ in range(4):
        # Batch norm subtracts the mean, so a bias before it would have no effect.
        layers.append(nn.Conv2d(channels, filters, 3, stride=stride, padding=1, bias=False))
        layers.append(nn.BatchNorm2d(filters, track_running_stats=False))
        if downsample == "max_pool":
            # Pooling and ReLU commute (both are monotone), and pooling first leaves ReLU a quarter of the work.
            layers += [nn.MaxPool2d(2), nn.ReLU()]
            height, width = height // 2, width // 2
        else:
            layers.append(nn.ReLU())
            height, width = (height + 1) // 2, (width + 1) // 2
        channels = filters
    if height < 1 or width < 1:
        raise ValueError(f"images of {input_shape} are too small for four blocks")
    layers.append(SpatialMean() if features == "mean" else nn.Flatten())
    layers.append(nn.Linear(filters if features == "mean" else filters * height * width, ways))
    return nn.Sequential(*layers)
