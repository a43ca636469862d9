"""What the device can do at its best: the rate of matrix products, and that of copying memory."""

from __future__ import annotations

import torch

from metatui.learning.benchmark.timing import seconds_of

SPEND = 0.2
"""Seconds on each size."""

MATRICES = tuple(2**n for n in range(8, 15))
"""Rows of the square matrices, 256 to 16,384, as far as they do not take too long."""

COPIES = tuple(2**n for n in range(20, 30, 2))
"""Bytes copied, 1 MiB to 256 MiB: the smaller ones show what caches are worth."""


def matmul_rate(device: torch.device, dtype: torch.dtype) -> float:
    """The best rate of a square matrix product over several sizes, in FLOP/s."""
    best = 0.0
    for rows in MATRICES:
        flops = 2 * rows**3
        if best and flops / best > SPEND:
            break
        a, b = (torch.randn(rows, rows, device=device, dtype=dtype) for _ in range(2))
        out = torch.empty_like(a)
        took = min(seconds_of(lambda a=a, b=b, out=out: torch.mm(a, b, out=out), device, spend=SPEND))  # type: ignore[misc]
        best = max(best, flops / took)
    return best


def copy_rate(device: torch.device) -> float:
    """The best rate of a copy within the device's memory over several sizes, in bytes read and written a second."""
    best = 0.0
    for size in COPIES:
        source, target = (torch.zeros(size, dtype=torch.uint8, device=device) for _ in range(2))
        took = min(seconds_of(lambda s=source, t=target: t.copy_(s), device, spend=SPEND))  # type: ignore[misc]
        best = max(best, 2 * size / took)
    return best
