"""A 3x3 convolution of few channels, batch norm, 2x2 max-pooling and ReLU in one, for passes differentiated once.

Batch norm of a convolution is a convolution by another kernel, and what its statistics are follows from those of the
images: with m the mean and C the covariance of the 3x3 pixels around each pixel, the output of kernel w has the mean
w·m and the variance wᵀ C w. So what the convolution makes is needed for nothing but its maxima.

Shapes: images x [B, C, H, W], kernels w [D, C, 3, 3], K = 9 C.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from metatui.learning.engines.native.build import call

THIN = 3
"""Channels of images up to which it is faster."""


class FirstBlock(Function):
    """x, w, γ [D], β [D] and ε to [B, D, H/2, W/2]. x has no gradient. To be used where there is a library."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor, gamma: Tensor, beta: Tensor, eps: float) -> Tensor:
        images = x.permute(0, 2, 3, 1).contiguous()
        mean_x, covariance = _statistics(images)
        kernels = w.permute(2, 3, 1, 0).reshape(-1, len(w)).double().contiguous()
        along = covariance @ kernels
        mean = mean_x @ kernels
        inv_std = torch.rsqrt((kernels * along).sum(0).clamp_(min=0) + eps)
        scale = gamma * inv_std
        kernel, shift = (scale * kernels).to(x.dtype), (beta - scale * mean).to(x.dtype)
        count, height, width, channels = images.shape
        z = x.new_empty(count, height // 2, width // 2, len(w))
        call("first_block", [images, kernel, shift, z, _scratch(kernel, channels)], *images.shape, len(w))
        ctx.save_for_backward(images, kernel, shift, kernels, along, mean_x, mean, inv_std, gamma)
        return z.permute(0, 3, 1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> Any:
        images, kernel, shift, kernels, along, mean_x, mean, inv_std, gamma = ctx.saved_tensors
        of_kernel, of_shift = torch.empty_like(kernel), torch.empty_like(shift)
        channels, filters = images.shape[3], len(shift)
        tensors = [images, kernel, shift, g.permute(0, 2, 3, 1).contiguous(), of_kernel, of_shift]
        call("first_block_back", [*tensors, _scratch(kernel, channels)], *images.shape, filters)
        dtype, of_kernel, of_shift = kernel.dtype, of_kernel.double(), of_shift.double()
        scale = gamma * inv_std
        of_scale = (of_kernel * kernels).sum(0) - of_shift * mean
        of_mean, of_variance = -scale * of_shift, -0.5 * of_scale * gamma * inv_std**3
        of_kernels = scale * of_kernel + torch.outer(mean_x, of_mean) + 2 * of_variance * along
        of_w = of_kernels.to(dtype).view(3, 3, channels, filters).permute(3, 2, 0, 1)
        return None, of_w, (of_scale * inv_std).to(dtype), of_shift.to(dtype), None


def _statistics(images: Tensor) -> tuple[Tensor, Tensor]:
    """Mean [K] and covariance [K, K] of the 3x3 pixels around each pixel of [B, H, W, C], in double precision."""
    count, height, width, channels = images.shape
    taps = 9 * channels + 1
    moments = torch.empty(taps, taps, dtype=torch.float64)
    scratch = torch.empty(taps * (8 * -(-width // 8) + 8 * taps), dtype=torch.float64)
    call("second_moments", [images, moments, scratch], *images.shape)
    moments /= count * height * width
    mean = moments[:-1, -1]
    upper = torch.triu(moments[:-1, :-1] - torch.outer(mean, mean))
    return mean, upper + torch.triu(upper, 1).T


def _scratch(kernel: Tensor, channels: int) -> Tensor:
    return kernel.new_empty(16 * channels + kernel.numel() + kernel.shape[1])
