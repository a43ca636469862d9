"""The base class of models, and the model that the settings select.

This module imports no torch, because forms and `--help` read the declarations of models.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar

from metatui.config.registry import MODELS, Component, Kind

if TYPE_CHECKING:
    from torch import nn

    from metatui.config.settings import Settings


class Model(Component):
    """Declaration of a model: its settings, and how it is built."""

    registry = MODELS
    kinds: ClassVar[frozenset[Kind]] = frozenset({"regression", "classification"})
    """Kinds of tasks that the model fits."""

    @classmethod
    @abstractmethod
    def build(cls, settings: Settings, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
        """Create the network, float32 on the default device, initialised from torch's global generator.

        The network must be a function of its parameters and its input. Batch norm keeps no running statistics, which
        would mix those of different tasks. The last linear layer is the head; everything before it is the body.

        Args:
            input_shape: shape of one example: (C, H, W) for an image, (features,) for a row of numbers.
            outputs: width of the output: number of classes, or of target values.

        Raises:
            BadInput: if the model cannot be built for this shape.
        """


def make_model(settings: Settings, input_shape: tuple[int, ...], targets: int = 1) -> nn.Module:
    """Create the model that `settings` select, float32 on the default device, initialised from the seed alone.

    Args:
        input_shape: shape of one example.
        targets: number of target values of a regression task; not used in classification.

    Raises:
        BadInput: if the model does not fit the tasks.
    """
    from metatui.learning.data.random import seeded

    model = MODELS[settings.model_name]
    assert issubclass(model, Model)
    with seeded(settings.training.seed):
        ways = max(settings.task.ways, settings.ways_in_training[1])
        return model.build(settings, input_shape, ways if settings.is_classification else targets)
