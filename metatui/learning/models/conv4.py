"""The four-block convolutional network of few-shot classification (Vinyals et al. 2016; Finn et al. 2017, 5.2)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from metatui.config.settings import Settings
from metatui.learning.model import Model, group_violations, image_shape, image_size_violations
from metatui.utils.errors import Problem, SettingsError

if TYPE_CHECKING:
    from torch import nn

    from metatui.learning.nn.layers import Head, Norm

BLOCKS = 4


class Conv4(Model):
    """Four convolution blocks and a head."""

    name = "conv4"
    title = "Conv-4"
    kinds = frozenset({"classification"})
    default_for = frozenset({"classification"})
    uses = frozenset(
        {
            "model.filters", "model.kernel", "model.norm", "model.groups", "model.downsample", "model.features",
            "model.head",
        }
    )  # fmt: skip

    @classmethod
    def violations(cls, settings: Settings) -> Iterator[tuple[str, str]]:
        yield from super().violations(settings)
        if settings.model.kernel % 2 == 0:
            yield "model.kernel", "an odd number"
        yield from group_violations(settings, [settings.model.filters])
        if settings.model.downsample == "max_pool":
            reason = "if model.downsample = 'max_pool', because the model halves the image size four times"
            yield from image_size_violations(settings, 2**BLOCKS, reason)

    @classmethod
    def build(cls, settings: Settings, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
        model = settings.model
        return conv4(
            outputs,
            input_shape=image_shape(settings, input_shape),
            filters=model.filters,
            kernel=model.kernel,
            norm=model.norm,
            groups=model.groups,
            downsample=model.downsample,
            features=model.features,
            head=model.head,
        )


def conv4(
    ways: int,
    *,
    input_shape: tuple[int, int, int] = (1, 28, 28),
    filters: int = 64,
    kernel: int = 3,
    norm: Norm = "batch",
    groups: int = 8,
    downsample: Literal["max_pool", "stride"] = "max_pool",
    features: Literal["flatten", "mean"] = "flatten",
    head: Head = "linear",
) -> nn.Sequential:
    """Create a network that maps images [B, C, H, W] to logits [B, ways].

    Each block is a convolution, a norm, ReLU and 2x2 max-pooling. Without max-pooling, the convolution has stride 2.
    Batch norm always uses the statistics of its batch. It does not keep running averages, which would mix the
    statistics of different tasks.

    Args:
        kernel: height and width of the kernels, an odd number.
        groups: number of groups of the group norm, a divisor of `filters`.

    Raises:
        SettingsError: if the images are too small.
    """
    from torch import nn

    from metatui.learning.nn.layers import SpatialMean, head_layer, norm_layer

    channels, height, width = input_shape
    stride = 2 if downsample == "stride" else 1
    layers: list[nn.Module] = []
    for _ in range(BLOCKS):
        # A norm has its own bias, so the convolution before it needs none.
        layers.append(nn.Conv2d(channels, filters, kernel, stride=stride, padding=kernel // 2, bias=norm == "none"))
        layers.append(norm_layer(norm, filters, groups))
        if downsample == "max_pool":
            # Pooling and ReLU commute (both are monotone), and pooling first leaves ReLU a quarter of the work.
            layers += [nn.MaxPool2d(2), nn.ReLU()]
            height, width = height // 2, width // 2
        else:
            layers.append(nn.ReLU())
            height, width = (height + 1) // 2, (width + 1) // 2
        channels = filters
    if height < 1 or width < 1:
        sentence = (
            f"model.downsample is 'max_pool', but must be 'stride' for images of {input_shape[1]}x{input_shape[2]} "
            "pixels, because max-pooling halves the image size four times"
        )
        raise SettingsError([Problem("model.downsample", sentence)])
    layers.append(SpatialMean() if features == "mean" else nn.Flatten())
    layers.append(head_layer(head, filters if features == "mean" else filters * height * width, ways))
    return nn.Sequential(*layers)
