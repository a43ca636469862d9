"""Layers that torch does not have, and the layers of a model that form its head."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

NORM_FLOOR = 1e-12
"""Added to squared norms, because the square root has no derivative at 0."""


class SpatialMean(nn.Module):
    """The mean over height and width: [..., C, H, W] to [..., C] (Finn et al. 2017, code for Omniglot)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(dim=(-2, -1))


class CosineLinear(nn.Module):
    """Cosine similarities between features and one weight vector per class, times a learned scale.

    Maps [..., inputs] to [..., outputs] (Gidaris and Komodakis 2018, section 3.2, equation 6).
    """

    def __init__(self, inputs: int, outputs: int, scale: float = 10.0) -> None:
        """Create the layer. Parameters are `weight` [outputs, inputs] and `scale` [1]."""
        super().__init__()
        self.weight = nn.Parameter(nn.Linear(inputs, outputs, bias=False).weight.detach())
        self.scale = nn.Parameter(torch.full((1,), scale))

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * F.linear(_normalised(x), _normalised(self.weight))

    def extra_repr(self) -> str:
        outputs, inputs = self.weight.shape
        return f"inputs={inputs}, outputs={outputs}"


def _normalised(x: Tensor) -> Tensor:
    return x * (x.square().sum(-1, keepdim=True) + NORM_FLOOR).rsqrt()


HEADS = (nn.Linear, CosineLinear)
"""Layers that can be the head of a model."""


def head_names(model: nn.Module) -> list[str]:
    """Return the names of the parameters of the last linear layer of `model`; empty if it has none.

    The order is that in which the modules were assigned.
    """
    layers = [name for name, module in model.named_modules() if isinstance(module, HEADS)]
    if not layers:
        return []
    prefix = f"{layers[-1]}." if layers[-1] else ""
    return [prefix + name for name, _ in model.get_submodule(layers[-1]).named_parameters()]
