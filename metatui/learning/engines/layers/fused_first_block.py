"""A convolution of few channels, batch norm, 2x2 max-pooling and ReLU in one, for passes that are differentiated once.

The first block of a network for images takes a tenth of its arithmetic and makes its largest tensors, and writing and
reading those costs more than making them: they do not fit into a CPU's caches. So they are made for a few images at a
time, and once more for the backward pass. What is kept is a quarter in size.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeGuard

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from metatui.learning.engines.layers.batch_norm import channel, rows
from metatui.learning.engines.native.build import LANES, library
from metatui.learning.engines.native.first_block import THIN, FirstBlock

aten = torch.ops.aten
WINDOW = [2, 2]

AT_ONCE = 750_000
"""Numbers in the convolution's output for the images that are computed together: some MB, with what comes of them."""

WORTH_IT = 2**21
"""Numbers in its whole output from which on this is faster than the four layers one after the other."""

FEW = 64
"""Products for one number of its output, up to which the convolution is cheap enough to be computed twice."""


class _ThinBlock(Function):
    """x [B, C, H, W], weight [D, C, 3, 3], γ ≥ 0 [D], β [D], padding and ε to [B, D, H/2, W/2]. x has no gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, gamma: Tensor, beta: Tensor, padding: Any, eps: float) -> Tensor:
        pooled, means, variances, counts = [], [], [], []
        for part in _parts(x, weight):
            y = F.conv2d(part, weight, padding=padding)
            mean, variance = aten.batch_norm_update_stats(y, None, None, 0.0)
            pooled.append(aten.max_pool2d_with_indices(y, WINDOW)[0])
            means.append(mean)
            variances.append(variance)
            counts.append(y.numel() // y.shape[1])
        mean, variance = _together(torch.stack(means), torch.stack(variances), counts)
        inv_std = torch.rsqrt(variance + eps)
        scale = gamma * inv_std
        shift = beta - scale * mean
        p = torch.cat(pooled)
        z = torch.addcmul(channel(shift), channel(scale), p).relu_()
        ctx.save_for_backward(x, weight, p, z, scale, mean, inv_std)
        ctx.padding, ctx.count = padding, sum(counts)
        return z

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> Any:
        x, weight, p, z, scale, mean, inv_std = ctx.saved_tensors
        g = aten.threshold_backward(g, z, 0)
        g_beta = rows(g).sum(0)
        g_gamma = inv_std * ((rows(g) * rows(p)).sum(0) - mean * g_beta)
        # Equation (1) of batch_norm.py, whose g is zero but where a maximum was.
        of_y = -scale * inv_std * g_gamma / ctx.count
        constant = -scale * g_beta / ctx.count - of_y * mean
        g.mul_(channel(scale))
        g_weight = torch.zeros_like(weight)
        done = 0
        for part in _parts(x, weight):
            y = F.conv2d(part, weight, padding=ctx.padding)
            _, where = aten.max_pool2d_with_indices(y, WINDOW)
            g_y = aten.max_pool2d_with_indices_backward(
                g[done : done + len(part)], y, WINDOW, WINDOW, [0, 0], [1, 1], False, where
            )
            g_y.add_(channel(constant)).addcmul_(channel(of_y), y)
            g_weight += aten.convolution_backward(
                g_y, part, weight, None, [1, 1], ctx.padding, [1, 1], False, [0, 0], 1, [False, True, False]
            )[1]
            done += len(part)
        return None, g_weight, g_gamma, g_beta, None, None


def _parts(x: Tensor, weight: Tensor) -> Iterator[Tensor]:
    """`x` in parts of so many images as are computed together."""
    yield from torch.split(x, max(1, AT_ONCE // (len(weight) * x.shape[-2] * x.shape[-1])))


def _together(means: Tensor, variances: Tensor, counts: list[int]) -> tuple[Tensor, Tensor]:
    """Mean and variance [D] over all values, from those of parts of them [parts, D] (Chan, Golub and LeVeque 1983)."""
    weights = torch.tensor(counts, dtype=means.dtype).unsqueeze(1) / sum(counts)
    mean = (weights * means).sum(0)
    return mean, (weights * (variances + (means - mean).square())).sum(0)


class ThinBlock(nn.Module):
    """What `conv`, `norm`, a 2x2 max-pooling and a ReLU compute; its parameters are theirs."""

    def __init__(self, conv: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        self.conv, self.norm = conv, norm

    def forward(self, x: Tensor) -> Tensor:
        weight, gamma, beta = self.conv.weight, self.norm.weight, self.norm.bias
        large = len(x) * len(weight) * x.shape[-2] * x.shape[-1] >= WORTH_IT
        # Only faster on a CPU. On a GPU, reading γ would also wait for the device and break a capture.
        if x.device.type != "cpu" or not large or x.requires_grad or (gamma < 0).any():
            y = F.conv2d(x, weight, padding=self.conv.padding)
            normed = F.batch_norm(y, None, None, gamma, beta, True, 0.0, self.norm.eps)
            return F.relu(F.max_pool2d(normed, 2))
        z: Tensor = _ThinBlock.apply(  # type: ignore[no-untyped-call]
            x, weight, gamma, beta, self.conv.padding, self.norm.eps
        )
        return z


class CompiledFirstBlock(ThinBlock):
    """The same by compiled code, on a CPU where there is a compiler."""

    def forward(self, x: Tensor) -> Tensor:
        if x.requires_grad or x.device.type != "cpu" or library(x.dtype) is None:
            return super().forward(x)
        z: Tensor = FirstBlock.apply(  # type: ignore[no-untyped-call]
            x, self.conv.weight, self.norm.weight, self.norm.bias, self.norm.eps
        )
        return z


def is_thin(conv: nn.Module) -> TypeGuard[nn.Conv2d]:
    """Whether a block may begin with this layer."""
    return (
        type(conv) is nn.Conv2d
        and conv.weight[0].numel() <= FEW
        and (conv.stride, conv.dilation, conv.groups, conv.padding_mode) == ((1, 1), (1, 1), 1, "zeros")
        and conv.bias is None
        and not isinstance(conv.padding, str)
    )


def suits_first_block(conv: nn.Conv2d) -> bool:
    """Whether the compiled code is for this layer."""
    filters, channels = conv.weight.shape[:2]
    return conv.padding == (1, 1) and conv.kernel_size == (3, 3) and filters % LANES == 0 and channels <= THIN
