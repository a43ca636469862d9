"""A model plugin for metatui.

To train it: metatui --plugin my_model.py run quick --set model.name=my_model
To load it in Python: metatui.load_plugin("my_model.py")
"""

from __future__ import annotations

import math

from torch import Tensor, nn

from metatui.config.declarations import Group, setting
from metatui.config.settings import Settings
from metatui.learning.model import Model


class Network(nn.Module):
    """Replace this with your own module. Its output must depend only on its parameters and its input."""

    def __init__(self, inputs: int, width: int, outputs: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(inputs, width), nn.Tanh())
        self.head = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.head(self.body(x))  # [examples, outputs]
        return output


class MyModel(Model):
    """Network with one hidden layer."""

    name = "my_model"  # the value of model.name
    title = "My model"  # the name in the app
    kinds = frozenset({"regression", "classification"})  # the kinds of tasks that it can learn

    class Options(Group):
        width: int = setting(40, "Width", "Number of hidden units.", ge=1, le=4096)  # --set my_model.width=80

    @classmethod
    def build(cls, settings: Settings, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
        # input_shape is (inputs,) for regression and (channels, height, width) for images.
        # outputs is the number of target values or of classes.
        options = settings.options_of(cls.name, cls.Options)
        return Network(math.prod(input_shape), options.width, outputs)
