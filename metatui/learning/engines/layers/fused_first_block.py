"""Fused first block of an image network, for passes that are differentiated once.

The block consists of a convolution (with few input channels), a batch norm, a 2x2 max-pooling and a ReLU. It accounts
for a tenth of the network's arithmetic but has the largest tensors, which do not fit in a CPU's caches: memory traffic
takes longer than the arithmetic. So the convolution is computed for a few images at a time, and is computed again in
the backward pass. The tensors that are stored for the backward pass are a quarter of the size of the convolution's
output.

The native version, written in C, avoids storing the convolution's output altogether. Batch norm of a convolution is a
convolution with another kernel, and its statistics follow from those of the images: with the mean m and the covariance
Σ of the 3x3 pixels around each pixel, the output of kernel w has mean w·m and variance wᵀ Σ w. So each value can be
normalised as soon as it is computed, and only the maxima are stored.

Shapes: images x [B, C, H, W], kernels w [D, C, 3, 3], K = 9 C values per kernel.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeGuard

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from metatui.learning.engines.layers.batch_norm import channel, is_mapped, rows
from metatui.learning.engines.native.build import LANES, call, library

aten = torch.ops.aten
WINDOW = [2, 2]

AT_ONCE = 750_000
"""Number of elements of the convolution's output that are computed together. Together with the values derived from
them, these elements need a few MB."""

MIN_NUMEL = 2**21
"""Fusing is faster if the convolution's output has at least this many elements."""

MAX_PRODUCTS = 64
"""The layers are fused if each element of the convolution's output is a sum of at most this many products. With more
products, computing the convolution twice would take too long."""

MAX_IN_CHANNELS = 3
"""The fused block is faster in C than in torch if the convolution has at most this many input channels."""


class _ThinBlock(Function):
    """Autograd function for a convolution, batch norm, 2x2 max-pooling and ReLU.

    The output is [B, D, H/2, W/2]. The inputs are x, w, γ ≥ 0 [D], β [D], padding and ε. The gradient with respect to x
    is not computed.
    """

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
        mean, variance = _combine_moments(torch.stack(means), torch.stack(variances), counts)
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
        # Equation (1) of batch_norm.py, where g is zero except at the maxima.
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
    """Split x into groups of images that are processed together."""
    yield from torch.split(x, max(1, AT_ONCE // (len(weight) * x.shape[-2] * x.shape[-1])))


def _combine_moments(means: Tensor, variances: Tensor, counts: list[int]) -> tuple[Tensor, Tensor]:
    """Combine means and variances of parts [parts, D] into those of all values [D] (Chan, Golub and LeVeque 1983)."""
    weights = torch.tensor(counts, dtype=means.dtype).unsqueeze(1) / sum(counts)
    mean = (weights * means).sum(0)
    return mean, (weights * (variances + (means - mean).square())).sum(0)


class NativeFirstBlock(Function):
    """Autograd function for a convolution, batch norm, 2x2 max-pooling and ReLU, computed in C.

    The output is [B, D, H/2, W/2]. The inputs are x, w, γ [D], β [D] and ε. The gradient with respect to x is not
    computed.
    """

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
    """Compute mean [K] and covariance [K, K] of the 3x3 pixels around each pixel of images [B, H, W, C], in float64."""
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


class ThinBlock(nn.Module):
    """A layer that replaces the convolution `conv`, the batch norm `norm`, a 2x2 max-pooling and a ReLU."""

    def __init__(self, conv: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        self.conv, self.norm = conv, norm

    def forward(self, x: Tensor) -> Tensor:
        weight, gamma, beta = self.conv.weight, self.norm.weight, self.norm.bias
        large = len(x) * len(weight) * x.shape[-2] * x.shape[-1] >= MIN_NUMEL
        # Faster only on a CPU. On a GPU, reading γ would also wait for the device and break a CUDA graph capture.
        if x.device.type != "cpu" or not large or x.requires_grad or is_mapped(x) or (gamma < 0).any():
            y = F.conv2d(x, weight, padding=self.conv.padding)
            normed = F.batch_norm(y, None, None, gamma, beta, True, 0.0, self.norm.eps)
            return F.relu(F.max_pool2d(normed, 2))
        z: Tensor = _ThinBlock.apply(  # type: ignore[no-untyped-call]
            x, weight, gamma, beta, self.conv.padding, self.norm.eps
        )
        return z


class CompiledFirstBlock(ThinBlock):
    """`ThinBlock` that uses metatui's C functions on a CPU if a C compiler is available."""

    def forward(self, x: Tensor) -> Tensor:
        if x.requires_grad or x.device.type != "cpu" or is_mapped(x) or library(x.dtype) is None:
            return super().forward(x)
        z: Tensor = NativeFirstBlock.apply(  # type: ignore[no-untyped-call]
            x, self.conv.weight, self.norm.weight, self.norm.bias, self.norm.eps
        )
        return z


def is_thin(conv: nn.Module) -> TypeGuard[nn.Conv2d]:
    """Return whether the layer can be the convolution of a `ThinBlock`."""
    return (
        type(conv) is nn.Conv2d
        and conv.weight[0].numel() <= MAX_PRODUCTS
        and (conv.stride, conv.dilation, conv.groups, conv.padding_mode) == ((1, 1), (1, 1), 1, "zeros")
        and conv.bias is None
        and not isinstance(conv.padding, str)
    )


def suits_first_block(conv: nn.Conv2d) -> bool:
    """Return whether `NativeFirstBlock` supports this convolution and is faster for it."""
    filters, channels = conv.weight.shape[:2]
    return (
        conv.padding == (1, 1) and conv.kernel_size == (3, 3) and filters % LANES == 0 and channels <= MAX_IN_CHANNELS
    )
