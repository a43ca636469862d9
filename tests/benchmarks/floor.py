"""How near metatui comes to what the device's arithmetic and memory would allow, as `metatui bench` reckons it."""

from __future__ import annotations

import torch

from metatui.learning.benchmark import workloads as bench
from metatui.learning.benchmark.flops import count
from metatui.learning.benchmark.timing import copy_rate, matmul_rate
from tests.benchmarks.works import Work


def floor_ms(work: Work) -> float:
    """Milliseconds of a meta-step of `work`, on images, if all its FLOPs went at the rate of the device's best matrix
    product in float32, or all its bytes at that of its best copy, whichever takes longer."""
    same = bench.Workload("images", work.algorithm.name, work.algorithm.inner_steps)
    shares = len(work.episodes) / same.settings("loop").algorithm.meta_batch  # tasks cost the same
    counts = count(same)
    seconds = max(counts.flops / matmul_rate(work.device, torch.float32), counts.bytes / copy_rate(work.device))
    return 1000 * shares * seconds
