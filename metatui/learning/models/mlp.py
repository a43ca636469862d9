"""The multilayer perceptron for sinusoid regression (Finn et al. 2017, section 5.1: 1-40-40-1 with ReLU)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from metatui.config.settings import Settings
from metatui.learning.model import Model

if TYPE_CHECKING:
    from torch import nn


class Mlp(Model):
    """Multilayer perceptron."""

    name = "mlp"
    title = "Multilayer perceptron"
    compiles = True
    batch_norm = False
    default_for = frozenset({"regression"})
    uses = frozenset({"model.hidden"})

    @classmethod
    def build(cls, settings: Settings, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
        from torch import nn

        network = mlp(settings.model.hidden, inputs=math.prod(input_shape), outputs=outputs)
        return network if len(input_shape) == 1 else nn.Sequential(nn.Flatten(), *network)


def mlp(hidden: Sequence[int], *, inputs: int = 1, outputs: int = 1) -> nn.Sequential:
    """Create a network that maps [..., inputs] to [..., outputs], with ReLU between its linear layers."""
    from torch import nn

    widths = (inputs, *hidden, outputs)
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers[:-1])
