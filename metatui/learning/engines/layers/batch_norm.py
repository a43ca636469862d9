"""Batch norm with an explicit double backward.

torch's double backward of an affine batch norm makes about forty passes over the activations and takes longer than all
convolutions of a small network together. This module computes it with three sums and two passes: in each channel, every
derivative is a linear combination of the saved tensors, with coefficients that follow from a few sums. The forward and
the first backward pass use torch's kernels.

With n values in each channel, mean μ, s = (σ² + ε)^-½, x̂ = s (x - μ) and incoming gradient g, the backward pass is

    gx = γ s (g - mean g - x̂ mean(g x̂)),   gγ = Σ g x̂,   gβ = Σ g                                                  (1)

(Ioffe and Szegedy 2015, section 3). The double backward pass has the incoming gradients u, uγ and uβ. With A = Σ u g
- n mean u mean g - n mean(u x̂) mean(g x̂) and h = (uγ - γ s mean(u x̂)) g - γ s mean(g x̂) u, the derivatives of
<u, gx> + <uγ, gγ> + <uβ, gβ> are

    for g:   γ s (u - mean u - x̂ mean(u x̂)) + uγ x̂ + uβ                                                            (2)
    for γ:   s A                                                                                                   (3)
    for x:   s (h - mean h - x̂ mean(h x̂)) - γ s² A x̂ / n                                                          (4)
"""

from __future__ import annotations

from typing import Any, TypeGuard

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable


class _Normalise(Function):
    """Autograd function for the batch norm of x [B, C, H, W], given γ [C], β [C] and ε."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
        y, mean, inv_std = torch.native_batch_norm(x, weight, bias, None, None, True, 0.0, eps)
        ctx.save_for_backward(x, weight, mean, inv_std)
        ctx.eps = eps
        return y

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        x, weight, mean, inv_std = ctx.saved_tensors
        return *_NormaliseBackward.apply(g, x, weight, mean, inv_std, ctx.eps), None  # type: ignore[no-untyped-call]


class _NormaliseBackward(Function):
    """Autograd function for the gradients of batch norm, equation (1). Its backward pass computes equations (2) to (4).

    The equations are in the docstring of this module.
    """

    @staticmethod
    def forward(
        ctx: Any, g: Tensor, x: Tensor, weight: Tensor, mean: Tensor, inv_std: Tensor, eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        gx, g_weight, g_bias = torch.ops.aten.native_batch_norm_backward(
            g, x, weight, None, None, mean, inv_std, True, eps, [True, True, True]
        )
        ctx.save_for_backward(g, x, weight, mean, inv_std, g_weight, g_bias)
        return gx, g_weight, g_bias

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, u: Tensor, u_weight: Tensor, u_bias: Tensor) -> Any:
        g, x, weight, mean, inv_std, g_weight, g_bias = ctx.saved_tensors
        n = x.numel() // x.shape[1]
        rows_u, rows_g, rows_x = rows(u), rows(g), rows(x)
        mean_u = rows_u.sum(0) / n
        mean_ux = inv_std * ((rows_u * rows_x).sum(0) / n - mean * mean_u)
        mean_g, mean_gx = g_bias / n, g_weight / n
        a = (rows_u * rows_g).sum(0) - n * (mean_u * mean_g + mean_ux * mean_gx)
        scale = weight * inv_std
        of_g = u_weight - scale * mean_ux
        mean_h = of_g * mean_g - scale * mean_gx * mean_u
        mean_hx = of_g * mean_gx - scale * mean_gx * mean_ux
        of_x = -inv_std * (mean_hx + scale * a / n) * inv_std
        for_g = _combined((scale, u), (of_g * inv_std, x), u_bias - scale * mean_u - of_g * inv_std * mean)
        for_x = _combined((-inv_std * scale * mean_gx, u), (of_x, x), -inv_std * mean_h - of_x * mean)
        for_x.addcmul_(channel(inv_std * of_g), g)
        return for_g, for_x, inv_std * a, None, None, None


def rows(x: Tensor) -> Tensor:
    """Reshape [B, C, H, W] to [B·H·W, C]. In channels-last memory format, the result is a view."""
    return x.permute(0, 2, 3, 1).reshape(-1, x.shape[1])


def channel(coefficients: Tensor) -> Tensor:
    """Reshape [C] to broadcast with [B, C, H, W]."""
    return coefficients.view(1, -1, 1, 1)


def is_mapped(x: Tensor) -> bool:
    """Return whether torch.vmap maps over x. C functions and this package's autograd functions do not support that."""
    functorch: Any = torch._C._functorch
    return bool(functorch.is_batchedtensor(x))


def _combined(first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor], constant: Tensor) -> Tensor:
    """Return a x + b y + c, where (a, x) is `first`, (b, y) is `second`, and a, b and c have one value per channel."""
    total = torch.addcmul(channel(constant), channel(first[0]), first[1])
    return total.addcmul_(channel(second[0]), second[1])


class BatchNorm(nn.Module):
    """Affine batch norm of [B, C, H, W] that always uses the statistics of the batch.

    Args:
        like: the layer to replace, whose parameters are used.
    """

    def __init__(self, like: nn.BatchNorm2d) -> None:
        super().__init__()
        self.weight, self.bias, self.eps = like.weight, like.bias, like.eps

    def forward(self, x: Tensor) -> Tensor:
        if not torch.is_grad_enabled():
            return F.batch_norm(x, None, None, self.weight, self.bias, True, 0.0, self.eps)
        y: Tensor = _Normalise.apply(x, self.weight, self.bias, self.eps)  # type: ignore[no-untyped-call]
        return y


def takes_batch_statistics(module: nn.Module) -> TypeGuard[nn.BatchNorm2d]:
    """Return whether `BatchNorm` can replace `module`."""
    return type(module) is nn.BatchNorm2d and module.weight is not None and module.running_mean is None
