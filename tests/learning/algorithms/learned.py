"""Settings of small experiments, and functions shared by the tests of iMAML, MAML++ and Meta-SGD."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from metatui.config.declarations import Scalar
from metatui.config.fields import change
from metatui.config.settings import Settings
from metatui.learning.optim.inner import Params

SMALL: dict[str, Scalar] = {
    "algorithm.meta_batch": 2, "algorithm.inner_lr": 0.05, "compute.precision": "float64", "compute.engine": "loop",
    "compute.threads": 1,
}  # fmt: skip
SINUSOID = change(Settings(), {**SMALL, "task.shots": 5, "task.queries": 6, "model.hidden": (6, 6)})
GLYPHS = change(
    Settings(),
    {**SMALL, "task.source": "glyphs", "task.ways": 3, "task.shots": 2, "task.queries": 2, "model.filters": 2},
)


def changed(settings: Settings, **changes: Scalar) -> Settings:
    """Return `settings` with changes given as keywords such as `algorithm__inner_lr`."""
    return change(settings, {name.replace("__", ".", 1): value for name, value in changes.items()})


def noisy(meta: Params) -> Params:
    """Add noise to meta-parameters, because equal learning rates or scales of 1 could hide a wrong derivative."""
    generator = torch.Generator().manual_seed(0)
    noise = {name: torch.randn(p.shape, generator=generator, dtype=p.dtype) for name, p in meta.items()}
    return {name: p.detach() * (1 + 0.2 * noise[name]) + 0.02 * noise[name] for name, p in meta.items()}


def difference_quotient(loss: Callable[[Params], Tensor], meta: Params, gradients: Params) -> float:
    """Return the central difference of `loss` along `gradients`, divided by the squared norm of `gradients`.

    If the gradients are correct, the result is 1 except for rounding errors.
    """
    squared = sum(float(g.square().sum()) for g in gradients.values())
    size = 1e-7 / math.sqrt(squared)
    up, down = (
        loss({name: p.detach() + sign * size * gradients[name] for name, p in meta.items()}) for sign in (1, -1)
    )
    return float(up - down) / (2 * size * squared)
