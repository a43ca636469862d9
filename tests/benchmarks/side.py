"""What a side is: one library's way to do the work of a row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tests.benchmarks.works import Work


class Unavailable(Exception):
    """This library cannot take part here; the sentence says what would let it."""


@dataclass
class Side:
    """Meta-steps of one library, from the weights that the row gives it."""

    name: str
    step: Callable[[], object]
    """One meta-step, which is over when this returns, on a GPU too."""
    theta: Callable[[], dict[str, Tensor]]
    """The meta-parameters as they are now, by the names and in the shapes of the row's model."""
    threads: int | None = None
    """Of torch, set before each of its turns; None where the library leaves them open."""
    engine: str | None = None
    """Of metatui: what `auto` stood for."""


Make = Callable[[Work], Side]
"""Raises Unavailable."""


def parameters_of(model: nn.Module) -> Callable[[], dict[str, Tensor]]:
    """`Side.theta` of a library that keeps the meta-parameters in a module."""
    return lambda: {name: p.detach() for name, p in model.named_parameters()}


def synchronize(device: torch.device) -> None:
    """Wait until a GPU has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
