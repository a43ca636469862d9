"""Floor of a meta-step's time according to the device's peak rates, as in `metatui bench`."""

from __future__ import annotations

import torch

from metatui.learning.benchmark import workloads as bench
from metatui.learning.benchmark.flops import count
from metatui.learning.benchmark.timing import copy_rate, matmul_rate
from tests.benchmarks.works import Work


def floor_ms(work: Work) -> float:
    """Return the milliseconds of a meta-step on images at the device's peak rates.

    This is the time of all FLOPs at the peak rate of matrix products in float32, or of all bytes at the peak rate of
    copies, whichever is longer.
    """
    same = bench.Workload("images", work.algorithm.name, work.algorithm.inner_steps)
    shares = len(work.episodes) / same.settings("loop").algorithm.meta_batch  # all tasks have the same cost
    counts = count(same)
    seconds = max(counts.flops / matmul_rate(work.device, torch.float32), counts.bytes / copy_rate(work.device))
    return 1000 * shares * seconds
