"""Layers whose derivative of the derivative torch takes slowly, exchanged for such as have it written out."""

from __future__ import annotations

from torch import nn

from metatui.learning.engines.layers.batch_norm import BatchNorm, takes_batch_statistics
from metatui.learning.engines.layers.convolution import Convolution, is_plain
from metatui.learning.engines.layers.pooling import MaxPool, takes_maxima_only


def write_out_second_derivatives(model: nn.Module, *, winograd: bool) -> nn.Module:
    """`model` itself, changed so that it computes the same with layers of ours in place of torch's.

    Args:
        winograd: whether convolutions go by Winograd's products where those are faster.
    """
    for module in list(model.modules()):
        for name, child in module.named_children():
            if takes_batch_statistics(child):
                assert isinstance(child, nn.BatchNorm2d)
                setattr(module, name, BatchNorm(child))
            elif takes_maxima_only(child):
                assert isinstance(child, nn.MaxPool2d)
                setattr(module, name, MaxPool(child))
            elif is_plain(child):
                setattr(module, name, Convolution(child, winograd=winograd, twice=True))
    return model
