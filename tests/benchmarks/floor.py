"""Minimum time of a meta-step according to the device's peak rates, computed as in `metatui bench`."""

from __future__ import annotations

import torch

from metatui.learning.benchmark import workloads as bench
from metatui.learning.benchmark.flops import count
from metatui.learning.benchmark.timing import copy_rate, matmul_rate
from tests.benchmarks.works import Work


def floor_ms(work: Work) -> float:
    """Return the minimum time of a meta-step on images, in milliseconds.

    This is the longer of two times: the time for all FLOPs at the device's peak rate of float32 matrix products, and
    the time for moving all bytes at its peak rate of copies.
    """
    same = bench.Workload("images", work.algorithm.name, work.algorithm.inner_steps)
    shares = len(work.episodes) / same.settings("loop").algorithm.meta_batch  # all tasks have the same cost
    counts = count(same)
    seconds = max(counts.flops / matmul_rate(work.device, torch.float32), counts.bytes / copy_rate(work.device))
    return 1000 * shares * seconds
