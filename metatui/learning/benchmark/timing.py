"""Seconds that something takes, on devices that compute while Python goes on."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch

from metatui.learning.hardware.devices import synchronize

SAMPLES = 50
"""Readings of the clock aimed at; each is of as many calls as fit its share of the time."""

FEWEST = 3

WARM_UP = 0.3
"""Seconds of calls before the first reading, or as many as are read if those are fewer; at least one call."""


def seconds_of(call: Callable[[], object], device: torch.device, *, spend: float) -> list[float]:
    """Seconds that `call` takes, read over about `spend` seconds after a warm-up; at least three readings."""
    began, last = time.perf_counter(), _reading(call, device, 1)
    while time.perf_counter() - began < min(WARM_UP, spend):
        last = _reading(call, device, 1)
    times = max(1, int(spend / SAMPLES / last))
    found: list[float] = []
    began = time.perf_counter()
    while len(found) < FEWEST or time.perf_counter() - began < spend:
        found.append(_reading(call, device, times))
    return found


def median_seconds(call: Callable[[], object], device: torch.device, *, spend: float) -> float:
    """The median of `seconds_of`."""
    return statistics.median(seconds_of(call, device, spend=spend))


def _reading(call: Callable[[], object], device: torch.device, times: int) -> float:
    began = time.perf_counter()
    for _ in range(times):
        call()
    synchronize(device)
    return (time.perf_counter() - began) / times
