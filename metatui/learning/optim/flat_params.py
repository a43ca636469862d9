"""Parameters as one vector: an outer update is a handful of operations then, however many layers there are."""

from __future__ import annotations

import torch
from torch import Tensor

from metatui.learning.optim.inner import Params


class FlatParams:
    """Copies of some parameters, one after the other in one vector."""

    def __init__(self, params: Params) -> None:
        self.shapes = {name: p.shape for name, p in params.items()}
        self.vector = self.flatten(params)
        """[P]."""
        self.views = self.unflatten(self.vector)
        """The parameters by name: views into the vector."""

    def flatten(self, params: Params) -> Tensor:
        """Tensors of the parameters' names and shapes, as a vector of its own."""
        return torch.cat([params[name].detach().reshape(-1) for name in self.shapes])

    def unflatten(self, vector: Tensor) -> Params:
        """A vector [P] or a stack of them [T, P], by the parameters' names and in their shapes: views where it can."""
        parts = torch.split(vector, [shape.numel() for shape in self.shapes.values()], dim=-1)
        before = vector.shape[:-1]
        return {
            name: part.reshape(*before, *shape) for part, (name, shape) in zip(parts, self.shapes.items(), strict=True)
        }
