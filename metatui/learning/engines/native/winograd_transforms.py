"""Winograd's three transforms of images, written as the paper has them.

Shapes: B images of H x W pixels with C channels, [B, H, W, C], cut into P = B ⌈H/4⌉ ⌈W/4⌉ tiles of 4x4 pixels, the
last ones filled up with zeros. With these matrices a tile Y of the output of a 3x3 convolution is

    Y = Aᵀ [(G g Gᵀ) ⊙ (Bᵀ d B)] A

for the kernel g and the 6x6 pixels d of the input around the tile, summed over channels under ⊙ (Lavin and Gray 2016,
equation 13 and section 4.3). `tiles.c` has the same transforms, and is what makes this fast.
"""

from __future__ import annotations

from collections.abc import Callable
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
"""Bᵀ."""

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
"""G."""

OUTPUT = torch.tensor(
    [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]], dtype=torch.float64
)
"""Aᵀ."""


Transform = Callable[[Tensor, Tensor], None]
"""From the first tensor into the second, each of which lies in memory as it is indexed."""


@dataclass(frozen=True)
class Transforms:
    """What is done with images before and after the products, and the derivatives of that."""

    input_tiles: Transform
    """Images [B, H, W, C] to Bᵀ d B of their tiles, [36, P, C]."""
    input_tiles_back: Transform
    """[36, P, C] to images: B v Bᵀ of each tile, added up where tiles overlap."""
    output_tiles: Transform
    """M [36, P, C] to images: Aᵀ M A of each tile."""
    output_tiles_back: Transform
    """Images to A Y Aᵀ of their tiles, [36, P, C]."""


def tiles_of(height: int, width: int) -> int:
    """Tiles of one image."""
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
    """[36, P, C] as [P, C, 6, 6]."""
    return m.permute(1, 2, 0).reshape(*m.shape[1:], 6, 6)


def _both_ways(matrix: Tensor, tiles: Tensor) -> Tensor:
    """The transform of tiles [P, C, n, n] by columns and rows, [m m, P, C]."""
    matrix = matrix.to(tiles.dtype)
    return (matrix @ tiles @ matrix.T).flatten(2).permute(2, 0, 1).contiguous()


WRITTEN_OUT = Transforms(input_tiles, input_tiles_back, output_tiles, output_tiles_back)
"""Slow, for where there is no C compiler."""

SCRATCH = 72
"""Numbers a channel that the compiled transforms put somewhere on their way."""


@cache
def transforms(dtype: torch.dtype) -> Transforms:
    """The compiled transforms for numbers of this type; those written out where there are none."""
    compiled = library(dtype)
    if compiled is None:
        return WRITTEN_OUT
    names = (field.name for field in fields(Transforms))
    return Transforms(*(partial(_call, compiled, name) for name in names))


def _call(compiled: Library, name: str, given: Tensor, result: Tensor) -> None:
    shape = (given if given.dim() == 4 else result).shape
    compiled(name, [given, result, given.new_empty(SCRATCH * shape[3])], *shape)
