"""Convolutions as matrix products of unfolded images.

With weights of their own for each task, a convolution over many tasks is a grouped one, for which some GPUs have slow
kernels, the more so for its derivatives (pytorch/functorch#365). Unfolded, it is a batched matrix product, and so are
its derivatives of any order, at the price of nine times the memory for a 3x3 kernel's input.
"""

from __future__ import annotations

from copy import deepcopy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metatui.learning.engines.chain import is_unchanged


class UnfoldedConv2d(nn.Module):
    """What `like` computes; its parameters have the same names."""

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
    """Gather the pixels that each output pixel of a convolution sees: [..., C, H, W] to [..., C·K, pixels].

    Equal to F.unfold, which launches a kernel for every image on CUDA, as does its derivative. This takes K slices of
    all images.
    """
    padded = F.pad(x, (padding[1], padding[1], padding[0], padding[0]))
    reach = [dilation[axis] * (kernel_size[axis] - 1) for axis in (0, 1)]
    rows, columns = (padded.shape[axis - 2] - reach[axis] for axis in (0, 1))
    seen = [
        padded[..., down : down + rows : stride[0], across : across + columns : stride[1]]
        for down in range(0, reach[0] + 1, dilation[0])
        for across in range(0, reach[1] + 1, dilation[1])
    ]
    return torch.stack(seen, dim=-3).flatten(-4, -3).flatten(-2)


def with_unfolded_convolutions(model: nn.Module) -> nn.Module:
    """A copy of `model` that computes the same, with convolutions as matrix products where they can be."""
    copy = deepcopy(model)
    for module in list(copy.modules()):
        for name, child in module.named_children():
            if type(child) is not nn.Conv2d or child.groups > 1 or isinstance(child.padding, str):
                continue
            if child.padding_mode == "zeros" and is_unchanged(child):
                setattr(module, name, UnfoldedConv2d(child))
    return copy
