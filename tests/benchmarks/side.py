"""Interface of the implementations that the benchmarks compare. Each one uses one library."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tests.benchmarks.works import Work


class UnavailableError(Exception):
    """Raised if an implementation cannot be measured. The message gives the reason."""


@dataclass
class Side:
    """Implementation of a benchmark's meta-step by one library. It starts from the weights of `Work.model`."""

    name: str
    step: Callable[[], object]
    """Function that takes one meta-step and waits until it is complete, including on a GPU."""
    theta: Callable[[], dict[str, Tensor]]
    """Function that returns the current meta-parameters, with the same names and shapes as in `Work.model`."""
    threads: int | None = None
    """Number of torch threads, which is set before each turn. If it is None, `choose_threads` sets it to 1 or to the
    number of cores, whichever is faster."""
    engine: str | None = None
    """Engine that metatui uses. None for the other libraries."""


Make = Callable[[Work], Side]
"""Function that prepares the meta-steps of one library. It raises UnavailableError if the library cannot be used."""


def parameters_of(model: nn.Module) -> Callable[[], dict[str, Tensor]]:
    """Return a function for `Side.theta` that reads the meta-parameters from a module."""
    return lambda: {name: p.detach() for name, p in model.named_parameters()}


def synchronize(device: torch.device) -> None:
    """Wait until `device` has finished its work, if it is a GPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
