"""Winograd's convolution F(4x4, 3x3), padding 1 and stride 1, with its first and second derivatives.

Images x [B, C, H, W] are cut into P = B ⌈H/4⌉ ⌈W/4⌉ tiles of 4x4 pixels. Tiles at the lower and right edge are padded
with zeros. A tile Y of the output is

    Y = Aᵀ [(G g Gᵀ) ⊙ (Bᵀ d B)] A

for the kernel g and the 6x6 pixels d of the input around the tile, with the products ⊙ summed over channels (Lavin and
Gray 2016, equation 13 and section 4.3). For whole images, Y = O(T(x) K(w)), where T and K are linear transforms of the
images and the kernels, the product consists of 36 matrix products, and O is a linear transform back to images.
Derivatives are the same products with the transposes T*, K* and O*.

A few tiles, which fit into the CPU's cache, are computed at a time. Their transforms are recomputed wherever they are
needed, which is faster than storing them. The relative error is about 1e-14 in float64. In float32, it is about 2e-6,
compared with 4e-7 for a direct convolution. `tiles.c` has the same transforms in C.

Shapes: images x [B, C, H, W] and gradients g [B, D, H, W] in channels-last memory format, kernels w [D, C, 3, 3],
transformed kernels k [36, D, C].
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from functools import cache, partial

import torch
import torch.nn.functional as F
from torch import Tensor

from metatui.learning.engines.native.build import Library, library

INPUT = torch.tensor(
    [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ],
    dtype=torch.float64,
)
"""The matrix Bᵀ, which transforms tiles of the input."""

KERNEL = torch.tensor(
    [
        [1 / 4, 0, 0],
        [-1 / 6, -1 / 6, -1 / 6],
        [-1 / 6, 1 / 6, -1 / 6],
        [1 / 24, 1 / 12, 1 / 6],
        [1 / 24, -1 / 12, 1 / 6],
        [0, 0, 1],
    ],
    dtype=torch.float64,
)
"""The matrix G, which transforms kernels."""

OUTPUT = torch.tensor(
    [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]], dtype=torch.float64
)
"""The matrix Aᵀ, which transforms products into tiles of the output."""

KERNELS = torch.kron(KERNEL, KERNEL)
"""The matrix [36, 9] that maps the 9 elements of a kernel g to the 36 elements of G g Gᵀ."""

TILES_AT_ONCE = 128
"""Number of tiles that are transformed and multiplied together, so that they stay in the CPU's cache."""

Transform = Callable[[Tensor, Tensor], None]
"""Function that transforms the first tensor and writes the result to the second; both are contiguous."""


@dataclass(frozen=True)
class Transforms:
    """The transforms before and after the matrix products, and their transposes."""

    input_tiles: Transform
    """The transform T from images [B, H, W, C] to tiles [36, P, C]. Each tile d becomes Bᵀ d B."""
    input_tiles_back: Transform
    """The transform T* from tiles [36, P, C] to images. Each tile v becomes B v Bᵀ. Overlapping values are added."""
    output_tiles: Transform
    """The transform O from tiles [36, P, C] to images. Each tile M becomes Aᵀ M A."""
    output_tiles_back: Transform
    """The transform O* from images to tiles [36, P, C]. Each tile Y becomes A Y Aᵀ."""


def tiles_of(height: int, width: int) -> int:
    """Return the number of 4x4 tiles that cover an image of this height and width."""
    return -(-height // 4) * -(-width // 4)


def input_tiles(images: Tensor, v: Tensor) -> None:
    _, height, width, channels = images.shape
    around = F.pad(images, (0, 0, 1, 1 + -width % 4, 1, 1 + -height % 4))
    tiles = around.unfold(1, 6, 4).unfold(2, 6, 4).reshape(-1, channels, 6, 6)
    v.copy_(_both_ways(INPUT, tiles))


def input_tiles_back(v: Tensor, images: Tensor) -> None:
    count, height, width, channels = images.shape
    down, across = -(-height // 4), -(-width // 4)
    tiles = _both_ways(INPUT.T, _tiles(v)).view(36, count, down * across, channels)
    around = F.fold(
        tiles.permute(1, 3, 0, 2).flatten(1, 2), (4 * down + 2, 4 * across + 2), kernel_size=6, stride=4
    ).permute(0, 2, 3, 1)  # fmt: skip
    images.copy_(around[:, 1 : height + 1, 1 : width + 1])


def output_tiles(m: Tensor, images: Tensor) -> None:
    count, height, width, channels = images.shape
    cut = _both_ways(OUTPUT, _tiles(m)).view(4, 4, count, -(-height // 4), -(-width // 4), channels)
    whole = cut.permute(2, 3, 0, 4, 1, 5).flatten(3, 4).flatten(1, 2)
    images.copy_(whole[:, :height, :width])


def output_tiles_back(images: Tensor, m: Tensor) -> None:
    _, height, width, channels = images.shape
    whole = F.pad(images, (0, 0, 0, -width % 4, 0, -height % 4))
    tiles = whole.unfold(1, 4, 4).unfold(2, 4, 4).reshape(-1, channels, 4, 4)
    m.copy_(_both_ways(OUTPUT.T, tiles))


def _tiles(m: Tensor) -> Tensor:
    """Reshape [36, P, C] to [P, C, 6, 6]."""
    return m.permute(1, 2, 0).reshape(*m.shape[1:], 6, 6)


def _both_ways(matrix: Tensor, tiles: Tensor) -> Tensor:
    """Compute `matrix @ tile @ matrix.T` for a matrix [m, n] and tiles [P, C, n, n]. Returns [m·m, P, C]."""
    matrix = matrix.to(tiles.dtype)
    return (matrix @ tiles @ matrix.T).flatten(2).permute(2, 0, 1).contiguous()


TORCH_TRANSFORMS = Transforms(input_tiles, input_tiles_back, output_tiles, output_tiles_back)
"""The transforms computed by torch, for machines without a C compiler. They are slower than the C functions."""

SCRATCH = 72
"""Number of elements of scratch memory that the C functions need for each channel."""


@cache
def transforms(dtype: torch.dtype) -> Transforms:
    """Return the C transforms for a dtype, or `TORCH_TRANSFORMS` if there is no C compiler."""
    native = library(dtype)
    if native is None:
        return TORCH_TRANSFORMS
    names = (field.name for field in fields(Transforms))
    return Transforms(*(partial(_call, native, name) for name in names))


def _call(native: Library, name: str, source: Tensor, target: Tensor) -> None:
    shape = (source if source.dim() == 4 else target).shape
    native(name, [source, target, source.new_empty(SCRATCH * shape[3])], *shape)


def transform_kernel(w: Tensor) -> Tensor:
    """Compute the transformed kernels K(w), [36, D, C], of kernels w [D, C, 3, 3]."""
    return (KERNELS.to(w.dtype) @ w.permute(2, 3, 0, 1).reshape(9, -1)).view(36, *w.shape[:2])


def convolve(x: Tensor, k: Tensor) -> Tensor:
    """Convolve x [B, C, H, W] with a transformed kernel k. Returns [B, D, H, W]."""
    images, t = _images(x), transforms(x.dtype)
    y = x.new_empty(*images.shape[:3], k.shape[1])
    for some in _parts(images):
        tiles = _tiled(t.input_tiles, images[some])
        t.output_tiles(torch.bmm(tiles, k.transpose(1, 2)), y[some])
    return y.permute(0, 3, 1, 2)


def derivatives(g: Tensor, x: Tensor, k: Tensor, *, for_x: bool, for_w: bool) -> tuple[Tensor | None, Tensor | None]:
    """Compute the derivatives of <g, Y> with respect to x (if `for_x`) and w (if `for_w`).

    Y is the convolution of x with w, and k is the transformed kernel K(w).
    """
    images, gradients, t = _images(x), _images(g), transforms(g.dtype)
    of_x = torch.empty_like(images) if for_x else None
    of_k = torch.zeros_like(k) if for_w else None
    for some in _parts(images):
        o = _tiled(t.output_tiles_back, gradients[some])
        if of_x is not None:
            t.input_tiles_back(torch.bmm(o, k), of_x[some])
        if of_k is not None:
            of_k.baddbmm_(o.transpose(1, 2), _tiled(t.input_tiles, images[some]))
    return None if of_x is None else of_x.permute(0, 3, 1, 2), None if of_k is None else _kernel(of_k)


def second_derivatives(
    u: Tensor | None, v: Tensor | None, g: Tensor, x: Tensor, k: Tensor, *, for_x: bool
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Compute the derivatives of <u, X> + <v, W> with respect to g, x (if `for_x`) and w.

    X and W are the gradients of <g, Y(x, w)> with respect to x and w, where Y is the convolution.

    Args:
        u: incoming gradient for X; None if it is zero.
        v: incoming gradient for W; None if it is zero. At most one of `u` and `v` is None.
    """
    images, gradients, t = _images(x), _images(g), transforms(g.dtype)
    of_g = torch.empty_like(gradients)
    of_x = torch.empty_like(images) if for_x and v is not None else None
    of_k = torch.zeros_like(k) if u is not None else None
    along = None if u is None else _images(u)
    kv = None if v is None else transform_kernel(v)
    for some in _parts(images):
        m, o = None, _tiled(t.output_tiles_back, gradients[some])
        if kv is not None:
            m = torch.bmm(_tiled(t.input_tiles, images[some]), kv.transpose(1, 2))
            if of_x is not None:
                t.input_tiles_back(torch.bmm(o, kv), of_x[some])
        if along is not None and of_k is not None:
            tiles = _tiled(t.input_tiles, along[some])
            m = torch.bmm(tiles, k.transpose(1, 2)) if m is None else m.baddbmm_(tiles, k.transpose(1, 2))
            of_k.baddbmm_(o.transpose(1, 2), tiles)
        if m is not None:
            t.output_tiles(m, of_g[some])
    return (
        of_g.permute(0, 3, 1, 2),
        None if of_x is None else of_x.permute(0, 3, 1, 2),
        None if of_k is None else _kernel(of_k),
    )


def _kernel(of_k: Tensor) -> Tensor:
    """Apply the transposed kernel transform K* to [36, D, C]. Returns [D, C, 3, 3] in channels-last memory format."""
    of_w = (KERNELS.to(of_k.dtype).T @ of_k.view(36, -1)).view(3, 3, *of_k.shape[1:])
    return of_w.permute(2, 3, 0, 1).contiguous(memory_format=torch.channels_last)


def _images(x: Tensor) -> Tensor:
    return x.permute(0, 2, 3, 1).contiguous()


def _tiled(transform: Transform, images: Tensor) -> Tensor:
    """Apply a transform from images to tiles. Returns [36, P, C]."""
    tiles = images.new_empty(36, len(images) * tiles_of(*images.shape[1:3]), images.shape[3])
    transform(images, tiles)
    return tiles


def _parts(images: Tensor) -> Iterator[slice]:
    """Divide images into groups that are processed together. Yields the slice of each group."""
    step = max(1, TILES_AT_ONCE // tiles_of(*images.shape[1:3]))
    return (slice(start, start + step) for start in range(0, len(images), step))
