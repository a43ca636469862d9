"""Interface of a side: the implementation of a benchmark row by one library."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tests.benchmarks.works import Work


class Unavailable(Exception):
    """Raised if a library is unavailable; the message explains how to install it."""


@dataclass
class Side:
    """Meta-steps of one library, starting from the weights of the row."""

    name: str
    step: Callable[[], object]
    """Function that takes one meta-step and waits until it is complete, including on a GPU."""
    theta: Callable[[], dict[str, Tensor]]
    """Function that returns the current meta-parameters, with the names and shapes of the row's model."""
    threads: int | None = None
    """Number of torch threads, set before each turn; None to use the faster of one thread and all cores."""
    engine: str | None = None
    """Engine of metatui chosen by `auto`."""


Make = Callable[[Work], Side]
"""Function that creates a side. Raises Unavailable."""


def parameters_of(model: nn.Module) -> Callable[[], dict[str, Tensor]]:
    """Return a `Side.theta` for a library that keeps the meta-parameters in a module."""
    return lambda: {name: p.detach() for name, p in model.named_parameters()}


def synchronize(device: torch.device) -> None:
    """Wait until a GPU has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
