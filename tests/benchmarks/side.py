"""The interface of a side: one library's implementation of a row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tests.benchmarks.works import Work


class Unavailable(Exception):
    """The library is unavailable; the message says how to install it."""


@dataclass
class Side:
    """Meta-steps of one library, starting from the weights of the row."""

    name: str
    step: Callable[[], object]
    """Takes one meta-step and waits until it is complete, also on a GPU."""
    theta: Callable[[], dict[str, Tensor]]
    """Returns the current meta-parameters, with the names and shapes of the row's model."""
    threads: int | None = None
    """Number of torch threads, set before each turn; None if the faster number is to be measured."""
    engine: str | None = None
    """metatui's engine that `auto` chose."""


Make = Callable[[Work], Side]
"""Creates a side. Raises Unavailable."""


def parameters_of(model: nn.Module) -> Callable[[], dict[str, Tensor]]:
    """Return `Side.theta` for a library that keeps the meta-parameters in a module."""
    return lambda: {name: p.detach() for name, p in model.named_parameters()}


def synchronize(device: torch.device) -> None:
    """Wait until a GPU has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
