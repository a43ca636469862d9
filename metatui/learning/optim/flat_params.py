"""All parameters in one vector, so that an outer update takes only a few operations for any number of layers."""

from __future__ import annotations

import torch
from torch import Tensor

from metatui.learning.optim.inner import Params


class FlatParams:
    """A copy of some parameters, concatenated into one vector."""

    def __init__(self, params: Params) -> None:
        self.shapes = {name: p.shape for name, p in params.items()}
        self.vector = self.flatten(params)
        """All parameters as one vector [P]."""
        self.views = self.unflatten(self.vector)
        """The parameters, keyed by name, as views of the vector."""

    def flatten(self, params: Params) -> Tensor:
        """Concatenate tensors with the names and shapes of the parameters into a new vector [P]."""
        return torch.cat([params[name].detach().reshape(-1) for name in self.shapes])

    def unflatten(self, vector: Tensor) -> Params:
        """Split a vector [P], or a stack of vectors [T, P], into parameters, keyed by name, as views if possible."""
        parts = torch.split(vector, [shape.numel() for shape in self.shapes.values()], dim=-1)
        leading = vector.shape[:-1]
        return {
            name: part.reshape((*leading, *shape))
            for part, (name, shape) in zip(parts, self.shapes.items(), strict=True)
        }
