"""Max-pooling with an explicit double backward.

The backward pass is linear in the incoming gradient and depends on the images only through the positions of the maxima.
Let gx be the gradient with respect to the images x for the incoming gradient g, and let u be the incoming gradient of
the double backward pass. Then the derivative of <u, gx> with respect to g is u at the maxima, and the derivative with
respect to x is zero. torch's double backward creates the zeros for x, and returns both results in contiguous memory
format, in which a following batch norm is ten times slower than in channels-last memory format.
"""

from __future__ import annotations

from typing import Any, TypeGuard

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

aten = torch.ops.aten


class _MaxPool(Function):
    """Max-pooling of x [B, C, H, W]; `how` contains kernel size, stride, padding, dilation and ceil mode."""

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
    """Autograd function that scatters g to the positions of the maxima.

    Its backward pass gathers the values at these positions.
    """

    @staticmethod
    def forward(ctx: Any, g: Tensor, x: Tensor, where: Tensor, how: tuple[Any, ...]) -> Tensor:
        ctx.save_for_backward(where)
        return aten.max_pool2d_with_indices_backward(g, x, *how, where)  # type: ignore[no-any-return]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, u: Tensor) -> Any:
        (where,) = ctx.saved_tensors
        of_g = _pixels(u).gather(1, _pixels(where)).view(where.permute(0, 2, 3, 1).shape)
        return of_g.permute(0, 3, 1, 2), None, None, None


def _pixels(x: Tensor) -> Tensor:
    """Reshape [B, C, H, W] to [B, H·W, C]. In channels-last memory format, the result is a view."""
    return x.permute(0, 2, 3, 1).flatten(1, 2)


class MaxPool(nn.Module):
    """Max-pooling with the settings of the layer `like`. It does not return indices."""

    def __init__(self, like: nn.MaxPool2d) -> None:
        super().__init__()
        sizes = (like.kernel_size, like.stride, like.padding, like.dilation)
        self.how = (*([n, n] if isinstance(n, int) else list(n) for n in sizes), like.ceil_mode)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = _MaxPool.apply(x, self.how)  # type: ignore[no-untyped-call]
        return y


def returns_maxima_only(module: nn.Module) -> TypeGuard[nn.MaxPool2d]:
    """Return whether `MaxPool` can replace `module`."""
    return type(module) is nn.MaxPool2d and not module.return_indices
