"""Convolution with an explicit double backward, using torch's kernels or Winograd's algorithm.

A convolution Y(x, w) is linear in its input x and in its kernel w. Let X(g, w) and W(x, g) be the gradients of
<g, Y(x, w)> with respect to x and w, and let u and v be the incoming gradients of the double backward pass. Then the
gradients of <u, X(g, w)> + <v, W(x, g)> are

    with respect to g: Y(u, w) + Y(x, v)      to x: X(g, v)      to w: W(u, g)

torch's double backward computes W(u, g) by two convolutions with images and kernels exchanged, which takes longer than
a direct computation. It also always computes the gradient with respect to the images, which the first layer does not
need.

`GroupedConvolutions` provides the same double backward for the convolutions of many tasks under torch.vmap on CUDA.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.overrides import TorchFunctionMode

from metatui.learning.engines.layers.batch_norm import is_mapped
from metatui.learning.engines.native.winograd import (
    convolve,
    derivatives,
    second_derivatives,
    tiles_of,
    transform_kernel,
)

MIN_TILES = 40
"""Minimum number of tiles in all images together for Winograd's algorithm. With fewer, torch's kernels are faster."""

MIN_PIXELS_PER_TILE = 12
"""Minimum average number of image pixels in a tile of 4x4 for Winograd's algorithm. With fewer, torch's kernels are
faster. Tiles at the edge of an image may contain fewer than 16 image pixels, because they are padded."""

MIN_CHANNELS = 16
"""Minimum number of input and of output channels for Winograd's algorithm. With fewer, torch's kernels are faster."""


@dataclass(frozen=True)
class Geometry:
    """Stride, padding, dilation and groups of a convolution."""

    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int

    def y(self, x: Tensor, w: Tensor) -> Tensor:
        """Compute the convolution Y(x, w)."""
        return F.conv2d(x, w, None, self.stride, self.padding, self.dilation, self.groups)

    def back(self, g: Tensor, x: Tensor, w: Tensor, *, for_x: bool, for_w: bool) -> tuple[Tensor | None, Tensor | None]:
        """Compute the gradients X(g, w) if `for_x` and W(x, g) if `for_w`.

        X(g, w) depends only on the shape of x, and W(x, g) only on the shape of w. So if only X is computed, the values
        of x are not read, and if only W is computed, those of w are not read.
        """
        of_x, of_w, _ = torch.ops.aten.convolution_backward(
            g, x, w, None, self.stride, self.padding, self.dilation, False, [0, 0], self.groups, [for_x, for_w, False]
        )
        return of_x, of_w


class _Direct(Function):
    """Convolution with torch's kernels."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor, geometry: Geometry) -> Tensor:
        ctx.save_for_backward(x, w)
        ctx.geometry = geometry
        return geometry.y(x, w)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        for_x, for_w, _ = ctx.needs_input_grad
        gradients = _DirectBackward.apply(g, *ctx.saved_tensors, ctx.geometry, for_x, for_w)  # type: ignore[no-untyped-call]
        return *gradients, None


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
        (g, x, w), geometry = ctx.saved_tensors, ctx.geometry
        for_x = ctx.needs_input_grad[1] and v is not None
        parts = [geometry.y(a, b) for a, b in ((u, w), (x, v)) if a is not None and b is not None]
        of_g = parts[0].add_(parts[1]) if len(parts) == 2 else parts[0] if parts else None
        of_x = geometry.back(g, x, v, for_x=True, for_w=False)[0] if for_x else None
        of_w = None if u is None else geometry.back(g, u, w, for_x=False, for_w=True)[1]
        return of_g, of_x, of_w, None, None, None


def convolve_directly(x: Tensor, w: Tensor, geometry: Geometry) -> Tensor:
    """Convolve x with w, using torch's kernels and an explicit double backward."""
    y: Tensor = _Direct.apply(x, w, geometry)  # type: ignore[no-untyped-call]
    return y


class _Winograd(Function):
    """Convolution with Winograd's algorithm; k is the transformed kernel."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor) -> Tensor:
        k = transform_kernel(w)
        ctx.save_for_backward(x, w, k)
        return convolve(x, k)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        return _WinogradBackward.apply(g, *ctx.saved_tensors, *ctx.needs_input_grad)  # type: ignore[no-untyped-call]


class _WinogradBackward(Function):
    """Derivatives of `_Winograd`. The value of `w` is not used; `w` is an input so that it receives a gradient."""

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
    """A convolution that replaces the layer `like` and uses its parameters.

    Args:
        winograd: whether to use Winograd's algorithm where it is faster.
        twice: whether the layer is differentiated twice.
    """

    def __init__(self, like: nn.Conv2d, *, winograd: bool, twice: bool) -> None:
        super().__init__()
        self.weight, self.bias = like.weight, like.bias
        assert not isinstance(like.padding, str)
        self.geometry = Geometry(like.stride, like.padding, like.dilation, like.groups)
        self.by_winograd = winograd and suits_winograd(like)
        self.twice = twice

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor
        if self.by_winograd and _is_large(x) and not is_mapped(x):
            y = _Winograd.apply(x, self.weight)  # type: ignore[no-untyped-call]
        elif not self.twice:
            y = self.geometry.y(x, self.weight)
        else:
            y = convolve_directly(x, self.weight, self.geometry)
        return y if self.bias is None else y + self.bias.view(-1, 1, 1)


def _is_large(x: Tensor) -> bool:
    tiles, pixels = tiles_of(*x.shape[2:]), x.shape[2] * x.shape[3]
    return x.device.type == "cpu" and len(x) * tiles >= MIN_TILES and pixels >= MIN_PIXELS_PER_TILE * tiles


def suits_winograd(conv: nn.Conv2d) -> bool:
    """Return whether Winograd's F(4x4, 3x3) can compute the convolution and has enough channels to be faster."""
    shape = (conv.kernel_size, conv.stride, conv.padding, conv.dilation, conv.groups)
    return shape == ((3, 3), (1, 1), (1, 1), (1, 1), 1) and min(conv.in_channels, conv.out_channels) >= MIN_CHANNELS


def is_plain(module: nn.Module) -> TypeGuard[nn.Conv2d]:
    """Return whether `Convolution` can replace `module`."""
    return type(module) is nn.Conv2d and module.padding_mode == "zeros" and not isinstance(module.padding, str)


class _EachTask(Function):
    """One task's convolution of x [B, C, H, W] with w [D, C / groups, ...], for use under torch.vmap only.

    torch.vmap turns the convolutions of all tasks into one grouped convolution. For one term of the double backward of
    that convolution, torch runs a separate convolution for each group, hundreds in a meta-step. Here, that term is also
    a single convolution.
    """

    @staticmethod
    def forward(x: Tensor, w: Tensor, geometry: Geometry) -> Tensor:
        return geometry.y(x, w)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Tensor) -> None:
        pass  # autograd differentiates the operations in `vmap`

    @staticmethod
    def vmap(info: Any, in_dims: Any, x: Tensor, w: Tensor, geometry: Geometry) -> tuple[Tensor, int]:
        tasks = info.batch_size
        x = x.unsqueeze(1).expand(-1, tasks, -1, -1, -1) if in_dims[0] is None else x.movedim(in_dims[0], 1)
        w = w.expand(tasks, *w.shape) if in_dims[1] is None else w.movedim(in_dims[1], 0)
        grouped = Geometry(geometry.stride, geometry.padding, geometry.dilation, tasks * geometry.groups)
        y = convolve_directly(x.flatten(1, 2), w.flatten(0, 1), grouped)
        return torch.unflatten(y, 1, (tasks, -1)), 1


def _pair(value: int | Sequence[int]) -> tuple[int, ...]:
    return (value, value) if isinstance(value, int) else tuple(value)


def _convolve(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
    groups: int = 1,
) -> Tensor:  # fmt: skip
    """Compute the same as torch.conv2d, but use `_EachTask` if torch.vmap maps over tasks."""
    functorch: Any = torch._C._functorch
    batched = functorch.maybe_current_level() == 1 and (is_mapped(x) or is_mapped(weight))
    if not batched or isinstance(padding, str) or x.dim() != 4:
        return torch.conv2d(x, weight, bias, stride, padding, dilation, groups)
    geometry = Geometry(_pair(stride), _pair(padding), _pair(dilation), groups)
    y: Tensor = _EachTask.apply(x, weight, geometry)  # type: ignore[no-untyped-call]
    return y if bias is None else y + bias.view(-1, 1, 1)


class GroupedConvolutions(TorchFunctionMode):
    """A context manager that gives convolutions an explicit double backward when torch.vmap maps them over tasks."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return (_convolve if func is torch.conv2d else func)(*args, **(kwargs or {}))
