"""Example of a model plugin."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from metatui.config.declarations import Group, setting
from metatui.config.settings import Settings
from metatui.learning.model import Model


class Waves(nn.Module):
    """Layer that computes sines and cosines of the inputs at integer frequencies."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.frequencies: Tensor
        self.register_buffer("frequencies", torch.arange(1.0, count + 1))

    def forward(self, x: Tensor) -> Tensor:
        angles = (x.unsqueeze(-1) * self.frequencies).flatten(-2)
        return torch.cat([angles.sin(), angles.cos()], -1)


class Fourier(Model):
    """Multilayer perceptron that receives Fourier features of the inputs."""

    name = "fourier"
    title = "Fourier features"
    kinds = frozenset({"regression"})

    class Options(Group):
        frequencies: int = setting(4, "Frequencies", "Number of frequencies for each input.", ge=1, le=64)
        width: int = setting(16, "Width", "Number of hidden units.", ge=1, le=1024)

    @classmethod
    def build(cls, settings: Settings, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
        options = settings.options_of(cls.name, cls.Options)
        (inputs,) = input_shape
        return nn.Sequential(
            Waves(options.frequencies),
            nn.Linear(2 * inputs * options.frequencies, options.width),
            nn.Tanh(),
            nn.Linear(options.width, outputs),
        )
