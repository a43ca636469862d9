"""The networks that are adapted."""

from __future__ import annotations

from torch import nn

from metatui.config.settings import Settings
from metatui.learning.data import random
from metatui.learning.models.conv4 import conv4
from metatui.learning.models.mlp import mlp

__all__ = ["conv4", "make_model", "mlp"]


def make_model(settings: Settings, input_shape: tuple[int, ...]) -> nn.Sequential:
    """Create the model that `settings` describe, float32 on the CPU, initialised from the seed alone."""
    with random.seeded(settings.training.seed):
        if not settings.is_classification:
            return mlp(settings.model.hidden)
        channels, height, width = input_shape
        return conv4(
            settings.task.ways,
            input_shape=(channels, height, width),
            filters=settings.model.filters,
            downsample=settings.model.downsample,
            features=settings.model.features,
        )
