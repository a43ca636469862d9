"""Group norm that avoids a crash in torch.

On the CPU, the backward pass of torch's group norm of channels-last images writes the gradient for the images even if
this gradient was not requested, and the process crashes (torch 2.11 to 2.13). This happens, for example, if only the
parameters of norm layers are adapted. This module therefore always requests all three gradients.

Let `mean` be the mean over a group of channels of one image, μ and σ² the mean and the variance of x in this group, and
x̂ = s (x - μ) with s = (σ² + ε)^-½. The gradients for an incoming gradient g are

    gx = s (γ g - mean(γ g) - x̂ mean(γ g x̂)),   gγ = Σ g x̂,   gβ = Σ g

(Wu and He 2018). Gradients that will be differentiated are computed by these equations, with μ and s as functions of x.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function


class _Normalise(Function):
    """Autograd function for the group norm of x [B, C, H, W], given γ [C], β [C], the number of groups and ε."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, groups: int, eps: float) -> Tensor:
        sizes = x.shape[0], x.shape[1], x[0, 0].numel(), groups
        y, mean, inv_std = torch.native_group_norm(x, weight, bias, *sizes, eps)
        ctx.save_for_backward(x, weight, mean, inv_std)
        ctx.sizes, ctx.eps = sizes, eps
        return y

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        x, weight, mean, inv_std = ctx.saved_tensors
        if torch.is_grad_enabled():
            return *_gradients(g, x, weight, ctx.sizes[-1], ctx.eps), None, None
        if g.stride() != x.stride():  # the kernel assumes one memory format
            g = torch.empty_like(x).copy_(g)
        gradients = torch.ops.aten.native_group_norm_backward(
            g, x, mean, inv_std, weight, *ctx.sizes, [True, True, True]
        )
        return *gradients, None, None


def _gradients(g: Tensor, x: Tensor, weight: Tensor, groups: int, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """Compute the gradients with respect to x, γ and β, using operations that autograd can differentiate."""

    def grouped(t: Tensor) -> Tensor:
        return torch.unflatten(t, 1, (groups, -1))

    def mean(t: Tensor) -> Tensor:
        return t.mean((2, 3, 4), keepdim=True)

    centred = grouped(x) - mean(grouped(x))
    inv_std = (mean(centred.square()) + eps).rsqrt()
    normalised = centred * inv_std
    scaled = grouped(g * weight.view(1, -1, 1, 1))
    of_x = inv_std * (scaled - mean(scaled) - normalised * mean(scaled * normalised))
    return of_x.flatten(1, 2), (g * normalised.flatten(1, 2)).sum((0, 2, 3)), g.sum((0, 2, 3))


class GroupNorm(nn.Module):
    """Affine group norm of [B, C, H, W].

    Args:
        like: the layer to replace, whose parameters are used.
    """

    def __init__(self, like: nn.GroupNorm) -> None:
        super().__init__()
        self.weight, self.bias, self.eps, self.groups = like.weight, like.bias, like.eps, like.num_groups

    def forward(self, x: Tensor) -> Tensor:
        # Without gradients, the pass may be inside torch.vmap, which does not accept `_Normalise`.
        if not torch.is_grad_enabled() or x.dim() != 4 or x.device.type != "cpu" or self.weight is None:
            return nn.functional.group_norm(x, self.groups, self.weight, self.bias, self.eps)
        # The kernels read the values in the order of memory, so the tensor must have no gaps.
        x = x.contiguous(memory_format=torch.channels_last)
        y: Tensor = _Normalise.apply(x, self.weight, self.bias, self.groups, self.eps)  # type: ignore[no-untyped-call]
        return y
