"""Results of checks, and the errors that checks measure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from metatui.learning.data.random import keys, normal
from metatui.learning.optim.inner import Params

AGREEMENT = 1e-8
"""Largest allowed relative difference between the results of two engines, or of an engine and the library `higher`."""

DIFFERENCES = 1e-6
"""Largest allowed relative error compared with central finite differences. The differences themselves have an error
of about 1e-8."""

STEP = 1e-6
DIRECTIONS = 5
"""Number of random directions in which derivatives are compared."""


@dataclass(frozen=True)
class Check:
    """The result of one comparison.

    `ok` is true if `relative_error` is at most `tolerance` or, in a check that gradients differ, above `tolerance`.
    """

    name: str
    algorithm: str
    engine: str
    reference: str
    relative_error: float
    tolerance: float
    ok: bool
    reason: str = ""
    """The error that prevented the comparison; empty if there was none."""


def directional_error(loss: Callable[[Params], Tensor], theta: Params, gradients: Params) -> float:
    """Compute the largest relative error of `gradients` in random directions, compared with finite differences."""
    errors = []
    total = sum(p.numel() for p in theta.values())
    scale = _norm(gradients) / total**0.5
    for d in range(DIRECTIONS):
        raw = normal(keys(d, "check/direction", torch.zeros(1, dtype=torch.int64)), total)[0]
        unit = (raw / raw.norm()).to(next(iter(theta.values())))
        parts = torch.split(unit, [p.numel() for p in theta.values()])
        direction = {n: part.view_as(p) for (n, p), part in zip(theta.items(), parts, strict=True)}
        up, down = (loss({n: (p + sign * STEP * direction[n]).detach() for n, p in theta.items()}) for sign in (1, -1))
        slope = (up - down) / (2 * STEP)
        expected = sum((gradients[n] * direction[n]).sum() for n in theta)
        errors.append((slope - expected).abs() / scale)
    return float(torch.stack(errors).max())  # unlike Python's max, NaN if an error is NaN


def relative_error(actual: Params, expected: Params) -> float:
    return float(_norm({name: actual[name] - expected[name] for name in expected}) / _norm(expected))


def _norm(tensors: Params) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(torch.cat([t.detach().flatten() for t in tensors.values()]))
    return norm


def comparison(name: str, algorithm: str, engine: str, reference: str, error: float, tolerance: float) -> Check:
    return Check(name, algorithm, engine, reference, error, tolerance, error <= tolerance)
