"""Layers whose derivative of the derivative torch takes slowly, exchanged for such as have it written out."""

from __future__ import annotations

from torch import nn

from metatui.learning.engines.batch_norm import BatchNorm, takes_batch_statistics
from metatui.learning.engines.pooling import MaxPool, takes_maxima_only


def write_out_second_derivatives(model: nn.Module) -> nn.Module:
    """`model` itself, changed so that it computes the same with our batch norm and max-pooling in place of torch's."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            if takes_batch_statistics(child):
                assert isinstance(child, nn.BatchNorm2d)
                setattr(module, name, BatchNorm(child))
            elif takes_maxima_only(child):
                assert isinstance(child, nn.MaxPool2d)
                setattr(module, name, MaxPool(child))
    return model
