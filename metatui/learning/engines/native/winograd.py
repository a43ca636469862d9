"""A 3x3 convolution with padding 1 and stride 1, and its derivatives, as 36 matrix products each.

With T the transform of images to tiles and K that of the kernel, both linear, the output is O(T(x) K(w)), so
derivatives are the same products with the transposes T*, K* and O*. The tiles of some images are in the processor's
cache at a time, and are made anew wherever they are needed, which takes less time than to keep them. For float32 the
error is about 2e-6 of the result, where a convolution done directly has 4e-7; for float64, 1e-14.

Shapes: images x [B, C, H, W] and gradients g [B, D, H, W] with their channels last in memory, kernels w [D, C, 3, 3],
transformed kernels k [36, D, C].
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from metatui.learning.engines.native.winograd_transforms import KERNEL, Transform, tiles_of, transforms

AT_ONCE = 128
"""Tiles that are in the cache together."""

KERNELS = torch.kron(KERNEL, KERNEL)
"""G g Gᵀ as a matrix product, [36, 9]."""


def transformed(w: Tensor) -> Tensor:
    """K(w)."""
    return (KERNELS.to(w.dtype) @ w.permute(2, 3, 0, 1).reshape(9, -1)).view(36, *w.shape[:2])


def convolve(x: Tensor, k: Tensor) -> Tensor:
    """The output for a transformed kernel, [B, D, H, W]."""
    images, do = _images(x), transforms(x.dtype)
    y = x.new_empty(*images.shape[:3], k.shape[1])
    for some in _parts(images):
        t = _tiled(do.input_tiles, images[some])
        do.output_tiles(torch.bmm(t, k.transpose(1, 2)), y[some])
    return y.permute(0, 3, 1, 2)


def derivatives(
    g: Tensor, x: Tensor, k: Tensor, *, for_x: bool, for_w: bool
) -> tuple[Tensor | None, Tensor | None]:  # fmt: skip
    """What <g, O(T(x) k)> has for derivatives for x and for w, where they are wanted."""
    images, gradients, do = _images(x), _images(g), transforms(g.dtype)
    of_x = torch.empty_like(images) if for_x else None
    of_k = torch.zeros_like(k) if for_w else None
    for some in _parts(images):
        o = _tiled(do.output_tiles_back, gradients[some])
        if of_x is not None:
            do.input_tiles_back(torch.bmm(o, k), of_x[some])
        if of_k is not None:
            of_k.baddbmm_(o.transpose(1, 2), _tiled(do.input_tiles, images[some]))
    return None if of_x is None else of_x.permute(0, 3, 1, 2), None if of_k is None else _kernel(of_k)


def second_derivatives(
    u: Tensor | None, v: Tensor | None, g: Tensor, x: Tensor, k: Tensor, *, for_x: bool
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """What <u, X> + <v, W> has for derivatives for g, for x where that is wanted, and for w.

    Args:
        u, v: gradients for X and W, what `derivatives` found for x and w. One of them may be None, which is zero.
    """
    images, gradients, do = _images(x), _images(g), transforms(g.dtype)
    of_g = torch.empty_like(gradients)
    of_x = torch.empty_like(images) if for_x and v is not None else None
    of_k = torch.zeros_like(k) if u is not None else None
    along = None if u is None else _images(u)
    kv = None if v is None else transformed(v)
    for some in _parts(images):
        m, o = None, _tiled(do.output_tiles_back, gradients[some])
        if kv is not None:
            m = torch.bmm(_tiled(do.input_tiles, images[some]), kv.transpose(1, 2))
            if of_x is not None:
                do.input_tiles_back(torch.bmm(o, kv), of_x[some])
        if along is not None and of_k is not None:
            t = _tiled(do.input_tiles, along[some])
            m = torch.bmm(t, k.transpose(1, 2)) if m is None else m.baddbmm_(t, k.transpose(1, 2))
            of_k.baddbmm_(o.transpose(1, 2), t)
        if m is not None:
            do.output_tiles(m, of_g[some])
    return (
        of_g.permute(0, 3, 1, 2),
        None if of_x is None else of_x.permute(0, 3, 1, 2),
        None if of_k is None else _kernel(of_k),
    )


def _kernel(of_k: Tensor) -> Tensor:
    """K*, with its channels last in memory."""
    found = (KERNELS.to(of_k.dtype).T @ of_k.view(36, -1)).view(3, 3, *of_k.shape[1:])
    return found.permute(2, 3, 0, 1).contiguous(memory_format=torch.channels_last)


def _images(x: Tensor) -> Tensor:
    return x.permute(0, 2, 3, 1).contiguous()


def _tiled(transform: Transform, images: Tensor) -> Tensor:
    """By a transform that makes tiles of images, [36, P, C]."""
    tiles = images.new_empty(36, len(images) * tiles_of(*images.shape[1:3]), images.shape[3])
    transform(images, tiles)
    return tiles


def _parts(images: Tensor) -> Iterator[slice]:
    """Which images are computed together."""
    step = max(1, AT_ONCE // tiles_of(*images.shape[1:3]))
    return (slice(start, start + step) for start in range(0, len(images), step))
