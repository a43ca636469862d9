"""Convolution with its second derivative written out, directly or by Winograd's products.

A convolution is linear in its input x and in its kernel w, and so are its derivatives: with Y(x, w) the convolution,
X(g, w) and W(x, g) what <g, Y(x, w)> has for derivatives for x and w, the derivative of <u, X(g, w)> + <v, W(x, g)> is

    for g: Y(u, w) + Y(x, v)      for x: X(g, v)      for w: W(u, g)

Torch's own makes two convolutions with images and kernels exchanged of the last one, which takes longer, and computes
what nobody asked for: the first layer's derivative for the images.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeGuard

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from metatui.learning.engines.native.winograd import convolve, derivatives, second_derivatives, transformed
from metatui.learning.engines.native.winograd_transforms import tiles_of

MANY = 40
"""Tiles of all images together from which on Winograd's products are faster."""

FULL = 12
"""Pixels of an image for each of its tiles, of 16, from which on they are: what fills the last ones up costs too."""

DEEP = 16
"""Channels of input and output from which on they are."""


@dataclass(frozen=True)
class Geometry:
    """Of a convolution done directly."""

    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int

    def y(self, x: Tensor, w: Tensor) -> Tensor:
        return F.conv2d(x, w, None, self.stride, self.padding, self.dilation, self.groups)

    def back(self, g: Tensor, x: Tensor, w: Tensor, *, for_x: bool, for_w: bool) -> tuple[Tensor | None, Tensor | None]:
        """X(g, w) and W(x, g), each where it is wanted. Of x and w, what is not used gives its shape alone."""
        found = torch.ops.aten.convolution_backward(
            g, x, w, None, self.stride, self.padding, self.dilation, False, [0, 0], self.groups, [for_x, for_w, False]
        )
        return found[0], found[1]


class _Direct(Function):
    """By torch's kernels, for any stride, padding, dilation and number of groups."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor, geometry: Geometry) -> Tensor:
        ctx.save_for_backward(x, w)
        ctx.geometry = geometry
        return geometry.y(x, w)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        for_x, for_w, _ = ctx.needs_input_grad
        found = _DirectBackward.apply(g, *ctx.saved_tensors, ctx.geometry, for_x, for_w)  # type: ignore[no-untyped-call]
        return *found, None


class _DirectBackward(Function):
    @staticmethod
    def forward(ctx: Any, g: Tensor, x: Tensor, w: Tensor, geometry: Geometry, for_x: bool, for_w: bool) -> Any:
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(g, x, w)
        ctx.geometry = geometry
        return geometry.back(g, x, w, for_x=for_x, for_w=for_w)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, u: Tensor | None, v: Tensor | None) -> Any:
        (g, x, w), do = ctx.saved_tensors, ctx.geometry
        for_x = ctx.needs_input_grad[1] and v is not None
        parts = [do.y(a, b) for a, b in ((u, w), (x, v)) if a is not None and b is not None]
        of_g = parts[0].add_(parts[1]) if len(parts) == 2 else parts[0] if parts else None
        of_x = do.back(g, x, v, for_x=True, for_w=False)[0] if for_x else None
        of_w = None if u is None else do.back(g, u, w, for_x=False, for_w=True)[1]
        return of_g, of_x, of_w, None, None, None


def convolve_directly(x: Tensor, w: Tensor, geometry: Geometry) -> Tensor:
    """Convolve x with w, by a function whose second derivative is written out."""
    y: Tensor = _Direct.apply(x, w, geometry)  # type: ignore[no-untyped-call]
    return y


class _ByProducts(Function):
    """By Winograd's."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor) -> Tensor:
        k = transformed(w)
        ctx.save_for_backward(x, w, k)
        return convolve(x, k)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        return _ByProductsBackward.apply(g, *ctx.saved_tensors, *ctx.needs_input_grad)  # type: ignore[no-untyped-call]


class _ByProductsBackward(Function):
    """w is there to be differentiated for; what is computed with is its transform k."""

    @staticmethod
    def forward(ctx: Any, g: Tensor, x: Tensor, w: Tensor, k: Tensor, for_x: bool, for_w: bool) -> Any:
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(g, x, k)
        return derivatives(g, x, k, for_x=for_x, for_w=for_w)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, u: Tensor | None, v: Tensor | None) -> Any:
        if u is None and v is None:
            return (None,) * 6
        return *second_derivatives(u, v, *ctx.saved_tensors, for_x=ctx.needs_input_grad[1]), None, None, None


class Convolution(nn.Module):
    """What `like` computes; its parameters are the same."""

    def __init__(self, like: nn.Conv2d, *, winograd: bool, twice: bool) -> None:
        """
        Args:
            winograd: whether it goes by Winograd's products where those are faster.
            twice: whether it is differentiated twice.
        """
        super().__init__()
        self.weight, self.bias = like.weight, like.bias
        assert not isinstance(like.padding, str)
        self.geometry = Geometry(like.stride, like.padding, like.dilation, like.groups)
        self.by_products = winograd and suits_winograd(like)
        self.twice = twice

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor
        if self.by_products and _worth_products(x):
            y = _ByProducts.apply(x, self.weight)  # type: ignore[no-untyped-call]
        elif not self.twice:
            y = self.geometry.y(x, self.weight)
        else:
            y = convolve_directly(x, self.weight, self.geometry)
        return y if self.bias is None else y + self.bias.view(-1, 1, 1)


def _worth_products(x: Tensor) -> bool:
    tiles = tiles_of(*x.shape[2:])
    return x.device.type == "cpu" and len(x) * tiles >= MANY and x.shape[2] * x.shape[3] >= FULL * tiles


def suits_winograd(conv: nn.Conv2d) -> bool:
    """Whether its kernel, stride and padding are those of F(4x4, 3x3), and its channels many enough."""
    shape = (conv.kernel_size, conv.stride, conv.padding, conv.dilation, conv.groups)
    return shape == ((3, 3), (1, 1), (1, 1), (1, 1), 1) and min(conv.in_channels, conv.out_channels) >= DEEP


def is_plain(module: nn.Module) -> TypeGuard[nn.Conv2d]:
    """Whether `Convolution` computes what `module` does."""
    return type(module) is nn.Conv2d and module.padding_mode == "zeros" and not isinstance(module.padding, str)


def with_products(model: nn.Module) -> nn.Module:
    """`model` itself, with the convolutions that suit Winograd's products exchanged."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            if is_plain(child) and suits_winograd(child):
                setattr(module, name, Convolution(child, winograd=True, twice=False))
    return model
