"""Max-pooling with its second derivative written out.

Its backward pass is linear in what comes in and does not depend on the images but for where the maxima are: the
derivative of <u, gx> is u at the maxima, and nothing for x. Torch makes zeros for x, and both results with the channels
first, so that everything after them works on images that lie in memory in two ways: batch norm takes ten times longer.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

aten = torch.ops.aten


class _MaxPool(Function):
    """x [B, C, H, W] to its maxima [B, C, H', W']; `how` is kernel, stride, padding, dilation and ceiling."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, how: tuple[Any, ...]) -> Tensor:
        y, where = aten.max_pool2d_with_indices(x, *how)
        ctx.save_for_backward(x, where)
        ctx.how = how
        return y  # type: ignore[no-any-return]

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        x, where = ctx.saved_tensors
        return _MaxPoolBackward.apply(g, x, where, ctx.how), None  # type: ignore[no-untyped-call]


class _MaxPoolBackward(Function):
    """g to where the maxima are, and zeros elsewhere."""

    @staticmethod
    def forward(ctx: Any, g: Tensor, x: Tensor, where: Tensor, how: tuple[Any, ...]) -> Tensor:
        ctx.save_for_backward(where)
        return aten.max_pool2d_with_indices_backward(g, x, *how, where)  # type: ignore[no-any-return]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, u: Tensor) -> Any:
        (where,) = ctx.saved_tensors
        found = _pixels(u).gather(1, _pixels(where)).view(where.permute(0, 2, 3, 1).shape)
        return found.permute(0, 3, 1, 2), None, None, None


def _pixels(x: Tensor) -> Tensor:
    """[B, C, H, W] as [B, H·W, C], a view where the channels are the last in memory."""
    return x.permute(0, 2, 3, 1).flatten(1, 2)


class MaxPool(nn.Module):
    """What `like` computes, which gives no indices out."""

    def __init__(self, like: nn.MaxPool2d) -> None:
        super().__init__()
        sizes = (like.kernel_size, like.stride, like.padding, like.dilation)
        self.how = (*([n, n] if isinstance(n, int) else list(n) for n in sizes), like.ceil_mode)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = _MaxPool.apply(x, self.how)  # type: ignore[no-untyped-call]
        return y


def takes_maxima_only(module: nn.Module) -> bool:
    """Whether `MaxPool` computes what `module` does."""
    return type(module) is nn.MaxPool2d and not module.return_indices
