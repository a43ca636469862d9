"""Cubic Bézier curves in the plane, many at a time.

Sums of products are written out, because matrix products and reductions may round differently in a batch of
another size, and what is drawn must not depend on what is drawn beside it.
"""

from __future__ import annotations

import torch
from torch import Tensor

SEGMENTS = 12
"""Straight pieces that stand for a curve where its length or extent is measured."""


def weights(t: Tensor) -> Tensor:
    """Weights of the four control points at `t` from 0 to 1: [...] to [..., 4]."""
    r = 1 - t
    return torch.stack([r * r * r, 3 * r * r * t, 3 * r * t * t, t * t * t], -1)


def point(control: Tensor, t: Tensor) -> Tensor:
    """The point at `t` [...] of each curve [..., 4, 2]: [..., 2]."""
    a, b, c, d = (control * weights(t).unsqueeze(-1)).unbind(-2)
    return a + b + c + d


def along(control: Tensor) -> Tensor:
    """Points at SEGMENTS + 1 even steps of t along each curve: [..., 4, 2] to [..., SEGMENTS + 1, 2]."""
    return point(control.unsqueeze(-3), torch.linspace(0, 1, SEGMENTS + 1))


def length(v: Tensor) -> Tensor:
    """Lengths of vectors: [..., 2] to [...]."""
    return torch.sqrt(v[..., 0] * v[..., 0] + v[..., 1] * v[..., 1])
