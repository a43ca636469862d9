"""Means over tasks with their confidence intervals."""

from __future__ import annotations

import torch
from torch import Tensor


def mean_ci95(values: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Means and half-widths of 95 % intervals over the leading axis, by Student's t.

    Args:
        values: [T, S], one row a task, at least two rows.

    Returns:
        S means and S half-widths.
    """
    from scipy.stats import t

    tasks = len(values)
    values = values.to(device="cpu", dtype=torch.float64)
    half = float(t.ppf(0.975, tasks - 1)) * values.std(dim=0, correction=1) / tasks**0.5
    return tuple(values.mean(dim=0).tolist()), tuple(half.tolist())
