"""Timing of calls on any device, and measurement of the device's peak rates of matrix products and copies."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch

from metatui.learning.hardware.devices import synchronize

SAMPLES = 50
"""Intended number of clock readings in a measurement. Each reading covers as many calls as fit in the available
time divided by this number."""

MIN_READINGS = 3
"""Minimum number of clock readings in a measurement."""

WARM_UP = 0.3
"""Maximum duration in seconds of the warm-up before the first reading. The warm-up also takes no longer than all
readings together, but contains at least one call."""

SECONDS_PER_SIZE = 0.2
"""Seconds spent on each matrix size or copy size when a peak rate is measured."""

MATRICES = tuple(2**n for n in range(8, 15))
"""Numbers of rows and columns of the matrices, 256 to 16,384. Sizes that would take too long are skipped."""

COPIES = tuple(2**n for n in range(20, 30, 2))
"""Numbers of bytes that are copied, 1 MiB to 256 MiB. The smaller copies fit in caches."""


def seconds_of(call: Callable[[], object], device: torch.device, *, spend: float) -> list[float]:
    """Measure how many seconds `call` takes.

    After a warm-up, the calls are timed for about `spend` seconds. Returns at least `MIN_READINGS` readings.
    """
    began, last = time.perf_counter(), _reading(call, device, 1)
    while time.perf_counter() - began < min(WARM_UP, spend):
        last = _reading(call, device, 1)
    times = max(1, int(spend / SAMPLES / last))
    readings: list[float] = []
    began = time.perf_counter()
    while len(readings) < MIN_READINGS or time.perf_counter() - began < spend:
        readings.append(_reading(call, device, times))
    return readings


def median_seconds(call: Callable[[], object], device: torch.device, *, spend: float) -> float:
    """Return the median of the times that `seconds_of` measures."""
    return statistics.median(seconds_of(call, device, spend=spend))


def _reading(call: Callable[[], object], device: torch.device, times: int) -> float:
    began = time.perf_counter()
    for _ in range(times):
        call()
    synchronize(device)
    return (time.perf_counter() - began) / times


def matmul_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Measure the best rate of square matrix products over several sizes, in FLOP/s."""
    best = 0.0
    for rows in MATRICES:
        flops = 2 * rows**3
        if best and flops / best > SECONDS_PER_SIZE:
            break
        a, b = (torch.randn(rows, rows, device=device, dtype=dtype) for _ in range(2))
        out = torch.empty_like(a)
        took = min(seconds_of(lambda a=a, b=b, out=out: torch.mm(a, b, out=out), device, spend=SECONDS_PER_SIZE))  # type: ignore[misc]
        best = max(best, flops / took)
    return best


def copy_rate(device: torch.device) -> float:
    """Measure the highest bandwidth of copies within the device's memory, in bytes read and written per second."""
    best = 0.0
    for size in COPIES:
        source, target = (torch.zeros(size, dtype=torch.uint8, device=device) for _ in range(2))
        took = min(seconds_of(lambda s=source, t=target: t.copy_(s), device, spend=SECONDS_PER_SIZE))  # type: ignore[misc]
        best = max(best, 2 * size / took)
    return best
