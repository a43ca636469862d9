"""The multilayer perceptron of sinusoid regression (Finn et al. 2017, section 5.1: 1-40-40-1 with ReLU)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import nn


def mlp(hidden: Sequence[int], *, inputs: int = 1, outputs: int = 1) -> nn.Sequential:
    """Create a network that maps [..., inputs] to [..., outputs], with ReLU between its linear layers."""
    widths = (inputs, *hidden, outputs)
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers[:-1])
