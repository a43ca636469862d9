"""Replacement of the layers of plain chains (see `is_chain`) with faster equivalents."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from metatui.learning.engines.layers.batch_norm import BatchNorm, is_mapped, takes_batch_statistics
from metatui.learning.engines.layers.convolution import Convolution, is_plain, suits_winograd
from metatui.learning.engines.layers.fused_bn_pool import CompiledPooledNorm, PooledNorm
from metatui.learning.engines.layers.fused_first_block import CompiledFirstBlock, ThinBlock, is_thin, suits_first_block
from metatui.learning.engines.layers.group_norm import GroupNorm
from metatui.learning.engines.layers.pooling import MaxPool, returns_maxima_only


def write_out_second_derivatives(model: nn.Module, *, winograd: bool) -> nn.Module:
    """Replace layers of `model` in place with layers that have an explicit and faster double backward.

    Args:
        winograd: whether convolutions use Winograd's algorithm where it is faster.
    """
    for module in list(model.modules()):
        for name, child in module.named_children():
            if takes_batch_statistics(child):
                setattr(module, name, BatchNorm(child))
            elif returns_maxima_only(child):
                setattr(module, name, MaxPool(child))
            elif is_plain(child):
                setattr(module, name, Convolution(child, winograd=winograd, twice=True))
            elif type(child) is nn.GroupNorm:
                setattr(module, name, GroupNorm(child))
    return model


def fuse_pooling(model: nn.Module, *, native_code: bool = False) -> nn.Module:
    """Replace layers of `model` in place with faster layers, for passes that are differentiated once.

    A batch norm, a 2x2 max-pooling and a ReLU that follow each other become one layer, together with the convolution
    before them if `is_thin` holds for it.

    Args:
        native_code: whether to use metatui's own C functions on a CPU, where they are faster.
    """
    for chain in [module for module in model.modules() if type(module) is nn.Sequential]:
        names = [name for name, _ in chain.named_children()]
        for at in range(len(names) - 2):
            norm, *others = (chain.get_submodule(name) for name in names[at : at + 3])
            if not takes_batch_statistics(norm) or not _are_pool_and_relu(*others):
                continue
            for name in names[at : at + 3]:
                setattr(chain, name, nn.Identity())
            before = chain.get_submodule(names[at - 1]) if at else norm
            if is_thin(before):
                block = CompiledFirstBlock if native_code and suits_first_block(before) else ThinBlock
                setattr(chain, names[at - 1], block(before, norm))
            else:
                setattr(chain, names[at], (CompiledPooledNorm if native_code else PooledNorm)(norm))
    for module in list(model.modules()):
        for name, child in module.named_children():
            if type(child) is nn.GroupNorm:
                setattr(module, name, GroupNorm(child))
            elif native_code and is_plain(child) and suits_winograd(child):
                setattr(module, name, Convolution(child, winograd=True, twice=False))
    return model


def _are_pool_and_relu(a: nn.Module, b: nn.Module) -> bool:
    """Return whether the layers are a ReLU and a 2x2 max-pooling with stride 2 and no padding, in either order."""
    pool, relu = (b, a) if type(a) is nn.ReLU else (a, b)
    return (
        type(relu) is nn.ReLU
        and returns_maxima_only(pool)
        and pool.kernel_size in (2, (2, 2))
        and pool.stride in (2, (2, 2))
        and pool.padding in (0, (0, 0))
        and pool.dilation in (1, (1, 1))
        and not pool.ceil_mode
    )


def channels_last(x: Tensor) -> Tensor:
    """Convert a 4-d tensor on the CPU to channels-last memory format, which makes layers faster on a CPU.

    With one channel, both formats store the same bytes, but torch selects kernels by the strides, and its kernels for
    contiguous strides are slow: max-pooling takes forty times as long.

    Args:
        x: images or weights [B, C, H, W]. Any other tensor is returned unchanged.
    """
    if x.dim() != 4 or x.device.type != "cpu":
        return x
    if x.shape[1] > 1:  # torch.vmap does not support memory formats
        return x if is_mapped(x) else x.contiguous(memory_format=torch.channels_last)
    height, width = x.shape[2:]
    return x.contiguous().as_strided(x.shape, (height * width, 1, width, 1))
