"""Batch norm, 2x2 max-pooling and ReLU in one, for passes differentiated once: what of an image is not the maximum of
its window is neither normalised nor written."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from metatui.learning.engines.native.build import call


class PooledNorm(Function):
    """y [B, C, H, W], γ [C], β [C] and ε to ReLU(max-pool(batch norm(y))), [B, C, H/2, W/2]."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, gamma: Tensor, beta: Tensor, eps: float) -> Tensor:
        images = y.permute(0, 2, 3, 1).contiguous()
        count, height, width, channels = images.shape
        z = y.new_empty(count, height // 2, width // 2, channels)
        numbers = y.new_empty(5, channels)  # mean, inverse deviation, scale, shift, and room for sums
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
        found = [torch.empty_like(images), images.new_empty(channels), images.new_empty(channels)]
        room = [images.new_empty(2 * channels), torch.empty(2 * channels, dtype=torch.float64)]
        gradients = g.permute(0, 2, 3, 1).contiguous()
        call("pooled_norm_back", [images, gradients, *numbers[:4], *found, *room], *images.shape)
        return found[0].permute(0, 3, 1, 2), found[1], found[2], None
