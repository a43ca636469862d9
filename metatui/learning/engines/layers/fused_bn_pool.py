"""Fused batch norm, 2x2 max-pooling and ReLU, for passes that are differentiated once.

With γ ≥ 0, all three functions are monotone, so max-pooling may be computed first. Then only the statistics and one
backward pass read the images at full size, and everything else reads a quarter of the values. The result and its
gradient are unchanged.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from metatui.learning.engines.layers.batch_norm import channel, is_mapped, rows
from metatui.learning.engines.native.build import LANES, call, library

aten = torch.ops.aten
WINDOW = [2, 2]

MIN_NUMEL = 2**21
"""Fusing is faster for tensors with at least this many elements. Smaller tensors fit in the CPU's caches."""


class _PooledNorm(Function):
    """Autograd function for ReLU(max-pool(batch norm(y))), [B, C, H/2, W/2].

    The inputs are y [B, C, H, W], γ ≥ 0 [C], β [C] and ε.
    """

    @staticmethod
    def forward(ctx: Any, y: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
        mean, variance = aten.batch_norm_update_stats(y, None, None, 0.0)
        inv_std = torch.rsqrt(variance + eps)
        pooled, where = aten.max_pool2d_with_indices(y, WINDOW)
        scale = weight * inv_std
        shift = bias - scale * mean
        z = torch.addcmul(channel(shift), channel(scale), pooled).relu_()
        ctx.save_for_backward(y, pooled, where, z, scale, mean, inv_std)
        return z

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> Any:
        y, pooled, where, z, scale, mean, inv_std = ctx.saved_tensors
        n = y.numel() // y.shape[1]
        g = aten.threshold_backward(g, z, 0)
        g_bias = rows(g).sum(0)
        g_weight = inv_std * ((rows(g) * rows(pooled)).sum(0) - mean * g_bias)
        # Equation (1) of batch_norm.py, where g is zero except at the maxima.
        of_y = -scale * inv_std * g_weight / n
        constant = -scale * g_bias / n - of_y * mean
        g_y = aten.max_pool2d_with_indices_backward(
            g.mul_(channel(scale)), y, WINDOW, WINDOW, [0, 0], [1, 1], False, where
        )
        return g_y.add_(channel(constant)).addcmul_(channel(of_y), y), g_weight, g_bias, None


class NativePooledNorm(Function):
    """The same function as `_PooledNorm`, computed in C. It supports any γ.

    Only the maximum of each window is normalised and written.
    """

    @staticmethod
    def forward(ctx: Any, y: Tensor, gamma: Tensor, beta: Tensor, eps: float) -> Tensor:
        images = y.permute(0, 2, 3, 1).contiguous()
        count, height, width, channels = images.shape
        z = y.new_empty(count, height // 2, width // 2, channels)
        numbers = y.new_empty(5, channels)  # mean, inverse deviation, scale, shift, scratch
        epsilon = torch.tensor(eps, dtype=torch.float64)
        sums = torch.empty(channels, dtype=torch.float64)
        call("pooled_norm", [images, gamma.contiguous(), beta.contiguous(), epsilon, z, *numbers, sums], *images.shape)
        ctx.save_for_backward(images, numbers)
        return z.permute(0, 3, 1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> Any:
        images, numbers = ctx.saved_tensors
        channels = images.shape[3]
        gradients = [torch.empty_like(images), images.new_empty(channels), images.new_empty(channels)]
        scratch = [images.new_empty(2 * channels), torch.empty(2 * channels, dtype=torch.float64)]
        incoming = g.permute(0, 2, 3, 1).contiguous()
        call("pooled_norm_back", [images, incoming, *numbers[:4], *gradients, *scratch], *images.shape)
        return gradients[0].permute(0, 3, 1, 2), gradients[1], gradients[2], None


class PooledNorm(nn.Module):
    """A layer that replaces the batch norm `like`, a 2x2 max-pooling and a ReLU."""

    def __init__(self, like: nn.BatchNorm2d) -> None:
        super().__init__()
        self.weight, self.bias, self.eps = like.weight, like.bias, like.eps

    def forward(self, y: Tensor) -> Tensor:
        worth_it = y.device.type == "cpu" and y.numel() >= MIN_NUMEL and torch.is_grad_enabled()
        # On a GPU, reading γ would wait for the device and break a CUDA graph capture.
        if not worth_it or (self.weight < 0).any():
            normed = F.batch_norm(y, None, None, self.weight, self.bias, True, 0.0, self.eps)
            return F.relu(F.max_pool2d(normed, 2))
        z: Tensor = _PooledNorm.apply(y, self.weight, self.bias, self.eps)  # type: ignore[no-untyped-call]
        return z


class CompiledPooledNorm(PooledNorm):
    """`PooledNorm` that uses metatui's C functions on a CPU if a C compiler is available."""

    def forward(self, y: Tensor) -> Tensor:
        if y.device.type != "cpu" or is_mapped(y) or len(self.weight) % LANES or library(y.dtype) is None:
            return super().forward(y)
        z: Tensor = NativePooledNorm.apply(y, self.weight, self.bias, self.eps)  # type: ignore[no-untyped-call]
        return z
