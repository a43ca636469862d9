"""ResNet-12, a residual network that is widely used in few-shot classification.

Oreshkin et al. 2018 (TADAM) introduced it with 64-128-256-512 channels; Lee et al. 2019 (MetaOptNet) use
64-160-320-640. Layers are named as in MetaOptNet's code, because most published weights use these names.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from metatui.config.declarations import Group, setting
from metatui.config.settings import Settings
from metatui.learning.model import Model, group_violations, image_shape, image_size_violations
from metatui.utils.errors import Problem, SettingsError

if TYPE_CHECKING:
    from torch import nn

    from metatui.learning.nn.layers import Head, Norm

MIN_IMAGE_SIZE = 16
"""Smallest height and width that can be halved four times."""


# fmt: off
class ResNet12Options(Group):
    """Settings of ResNet-12."""

    widths: Annotated[tuple[Annotated[int, Field(ge=1, le=4096)], ...], Field(strict=False)] = setting(
        (64, 128, 256, 512), "Widths",
        "Number of channels of each of the four residual blocks, such as 64, 128, 256, 512 (TADAM) or 64, 160, 320, "
        "640 (MetaOptNet).",
        unit="channels", allowed="four whole numbers from 1 to 4,096, comma-separated", min_length=4, max_length=4)
    drop_block: float = setting(
        0.0, "DropBlock", "Fraction of units dropped in training, in 5x5 squares after each of the last two residual "
        "blocks; 0 disables DropBlock.", ge=0, le=0.5)
# fmt: on


class ResNet12(Model):
    """Four residual blocks of three convolutions each, a spatial mean and a head."""

    name = "resnet12"
    title = "ResNet-12"
    Options = ResNet12Options
    kinds = frozenset({"classification"})
    uses = frozenset({"model.norm", "model.groups", "model.head"})

    @classmethod
    def violations(cls, settings: Settings) -> Iterator[tuple[str, str]]:
        yield from super().violations(settings)
        yield from group_violations(settings, settings.options_of(cls.name, ResNet12Options).widths)
        reason = "if model.name = 'resnet12', because the model halves the image size four times"
        yield from image_size_violations(settings, MIN_IMAGE_SIZE, reason)

    @classmethod
    def build(cls, settings: Settings, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
        model, options = settings.model, settings.options_of(cls.name, ResNet12Options)
        return resnet12(
            outputs,
            input_shape=image_shape(settings, input_shape),
            widths=options.widths,
            drop_block=options.drop_block,
            norm=model.norm,
            groups=model.groups,
            head=model.head,
        )


def resnet12(
    ways: int,
    *,
    input_shape: tuple[int, int, int] = (3, 84, 84),
    widths: Sequence[int] = (64, 128, 256, 512),
    drop_block: float = 0.0,
    norm: Norm = "batch",
    groups: int = 8,
    head: Head = "linear",
) -> nn.Sequential:
    """Create a network that maps images [B, C, H, W] to logits [B, ways].

    Convolutions are initialised as in MetaOptNet (normal initialisation of He et al. 2015, in the mode `fan_out`).

    Raises:
        SettingsError: if the images are too small.
    """
    from torch import nn

    from metatui.learning.nn.layers import DropBlock, ResidualBlock, SpatialMean, head_layer

    channels, height, width = input_shape
    if min(height, width) < MIN_IMAGE_SIZE:
        sentence = (
            f"model.name is 'resnet12', but must be another model for images of {height}x{width} pixels, because "
            "resnet12 halves the image size four times"
        )
        raise SettingsError([Problem("model.name", sentence)])
    network = nn.Sequential()
    for i, (before, after) in enumerate(pairwise((channels, *widths)), 1):
        stage = [ResidualBlock(before, after, norm, groups), nn.MaxPool2d(2)]
        if drop_block and i > len(widths) - 2:  # as in MetaOptNet
            stage.append(DropBlock(drop_block, i))
        network.add_module(f"layer{i}", nn.Sequential(*stage))
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="leaky_relu")
    network.add_module("mean", SpatialMean())
    network.add_module("head", head_layer(head, widths[-1], ways))
    return network
