"""Batch norm, 2x2 max-pooling and ReLU in one, for passes that are differentiated once.

With γ ≥ 0 all three are monotone, so a maximum may be taken before the rest: only the statistics and one backward pass
see the images in full size, and everything else a quarter of them. The function is the same, and so is its gradient.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from metatui.learning.engines.layers.batch_norm import channel, rows, takes_batch_statistics
from metatui.learning.engines.layers.convolution import with_products
from metatui.learning.engines.layers.fused_first_block import CompiledFirstBlock, ThinBlock, is_thin, suits_first_block
from metatui.learning.engines.native import pooled_norm as native
from metatui.learning.engines.native.build import LANES, library

aten = torch.ops.aten
WINDOW = [2, 2]

WORTH_IT = 2**21
"""Numbers in y from which on this is faster than the three layers one after the other: below, y is in the caches."""


class _PooledNorm(Function):
    """y [B, C, H, W], γ ≥ 0 [C], β [C] and ε to ReLU(max-pool(batch norm(y))), [B, C, H/2, W/2]."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
        mean, variance = aten.batch_norm_update_stats(y, None, None, 0.0)
        inv_std = torch.rsqrt(variance + eps)
        pooled, where = aten.max_pool2d_with_indices(y, WINDOW)
        scale = weight * inv_std
        shift = bias - scale * mean
        z = torch.addcmul(channel(shift), channel(scale), pooled).relu_()
        ctx.save_for_backward(y, pooled, where, z, scale, mean, inv_std)
        return z

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> Any:
        y, pooled, where, z, scale, mean, inv_std = ctx.saved_tensors
        n = y.numel() // y.shape[1]
        g = aten.threshold_backward(g, z, 0)
        g_bias = rows(g).sum(0)
        g_weight = inv_std * ((rows(g) * rows(pooled)).sum(0) - mean * g_bias)
        # Equation (1) of batch_norm.py, whose g is zero but where a maximum was.
        of_y = -scale * inv_std * g_weight / n
        constant = -scale * g_bias / n - of_y * mean
        g_y = aten.max_pool2d_with_indices_backward(
            g.mul_(channel(scale)), y, WINDOW, WINDOW, [0, 0], [1, 1], False, where
        )
        return g_y.add_(channel(constant)).addcmul_(channel(of_y), y), g_weight, g_bias, None


class PooledNorm(nn.Module):
    """What `like`, a 2x2 max-pooling and a ReLU compute."""

    def __init__(self, like: nn.BatchNorm2d) -> None:
        super().__init__()
        self.weight, self.bias, self.eps = like.weight, like.bias, like.eps

    def forward(self, y: Tensor) -> Tensor:
        worth_it = y.device.type == "cpu" and y.numel() >= WORTH_IT and torch.is_grad_enabled()
        # On a GPU, reading γ would wait for the device and break a capture.
        if not worth_it or (self.weight < 0).any():
            normed = F.batch_norm(y, None, None, self.weight, self.bias, True, 0.0, self.eps)
            return F.relu(F.max_pool2d(normed, 2))
        z: Tensor = _PooledNorm.apply(y, self.weight, self.bias, self.eps)  # type: ignore[no-untyped-call]
        return z


class CompiledPooledNorm(PooledNorm):
    """The same by compiled code, on a CPU where there is a compiler."""

    def forward(self, y: Tensor) -> Tensor:
        if y.device.type != "cpu" or len(self.weight) % LANES or library(y.dtype) is None:
            return super().forward(y)
        z: Tensor = native.PooledNorm.apply(y, self.weight, self.bias, self.eps)  # type: ignore[no-untyped-call]
        return z


def fuse_pooling(model: nn.Module, *, native_code: bool = False) -> nn.Module:
    """`model` itself, changed so that it computes the same, differentiable once, with chains of these layers as one.

    Args:
        native_code: whether compiled code of our own is used where it is faster, on a CPU.
    """
    for chain in [module for module in model.modules() if type(module) is nn.Sequential]:
        names = [name for name, _ in chain.named_children()]
        for at in range(len(names) - 2):
            norm, *others = (chain.get_submodule(name) for name in names[at : at + 3])
            if not (takes_batch_statistics(norm) and sorted(map(_kind, others)) == ["pool", "relu"]):
                continue
            assert isinstance(norm, nn.BatchNorm2d)
            before = chain.get_submodule(names[at - 1]) if at else norm
            if is_thin(before):
                assert isinstance(before, nn.Conv2d)
                block = CompiledFirstBlock if native_code and suits_first_block(before) else ThinBlock
                setattr(chain, names[at - 1], block(before, norm))
            for name in names[at : at + 3]:
                setattr(chain, name, nn.Identity())
            if not is_thin(before):
                setattr(chain, names[at], (CompiledPooledNorm if native_code else PooledNorm)(norm))
    return with_products(model) if native_code else model


def _kind(module: nn.Module) -> str:
    if type(module) is nn.ReLU:
        return "relu"
    if type(module) is not nn.MaxPool2d:
        return ""
    halves = module.kernel_size in (2, (2, 2)) and module.stride in (2, (2, 2))
    plain = module.padding in (0, (0, 0)) and module.dilation in (1, (1, 1))
    return "pool" if halves and plain and not module.ceil_mode and not module.return_indices else ""
