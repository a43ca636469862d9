"""Convolutions as matrix products of unfolded images (im2col).

If each task has its own weights, a convolution over many tasks is a grouped convolution, for which some GPUs have slow
kernels, especially for its derivatives (pytorch/functorch#365). On unfolded images, the convolution is a batched matrix
product, and so are its derivatives of any order. For a 3x3 kernel, the unfolded images need nine times the memory.
"""

from __future__ import annotations

from copy import deepcopy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metatui.learning.engines.sequential import is_unchanged


class UnfoldedConv2d(nn.Module):
    """A layer that replaces the convolution `like`, with parameters of the same names."""

    def __init__(self, like: nn.Conv2d) -> None:
        super().__init__()
        assert not isinstance(like.padding, str)
        self.weight, self.bias = like.weight, like.bias
        self.kernel_size, self.padding = like.kernel_size, like.padding
        self.stride, self.dilation = like.stride, like.dilation

    def forward(self, x: Tensor) -> Tensor:
        unfold = F.unfold if x.device.type == "cpu" else columns_by_slices
        columns = unfold(x, self.kernel_size, self.dilation, self.padding, self.stride)
        y = torch.matmul(self.weight.flatten(1), columns)
        if self.bias is not None:
            y = y + self.bias.unsqueeze(-1)
        reach = self.dilation[0] * (self.kernel_size[0] - 1)
        rows = (x.shape[-2] + 2 * self.padding[0] - reach - 1) // self.stride[0] + 1
        return torch.unflatten(y, -1, (rows, -1))


Pair = tuple[int, ...]
"""Height and width."""


def columns_by_slices(x: Tensor, kernel_size: Pair, dilation: Pair, padding: Pair, stride: Pair) -> Tensor:
    """Unfold images [..., C, H, W] to [..., C·K, pixels], as F.unfold does.

    On CUDA, F.unfold and its derivative launch a CUDA kernel for every image. This function takes only one slice of all
    images for each of the K pixels of the convolution kernel.
    """
    padded = F.pad(x, (padding[1], padding[1], padding[0], padding[0]))
    reach = [dilation[axis] * (kernel_size[axis] - 1) for axis in (0, 1)]
    rows, columns = (padded.shape[axis - 2] - reach[axis] for axis in (0, 1))
    slices = [
        padded[..., down : down + rows : stride[0], across : across + columns : stride[1]]
        for down in range(0, reach[0] + 1, dilation[0])
        for across in range(0, reach[1] + 1, dilation[1])
    ]
    return torch.stack(slices, dim=-3).flatten(-4, -3).flatten(-2)


def with_unfolded_convolutions(model: nn.Module) -> nn.Module:
    """Copy `model`, and replace the convolutions of the copy with `UnfoldedConv2d` where possible."""
    copy = deepcopy(model)
    for module in list(copy.modules()):
        for name, child in module.named_children():
            if type(child) is not nn.Conv2d or child.groups > 1 or isinstance(child.padding, str):
                continue
            if child.padding_mode == "zeros" and is_unchanged(child):
                setattr(module, name, UnfoldedConv2d(child))
    return copy
