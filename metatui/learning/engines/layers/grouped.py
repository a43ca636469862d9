"""Convolutions of many tasks at once on CUDA, each with its own kernels, differentiated twice.

torch.vmap turns them into one grouped convolution. For one term of its second derivative, torch runs a separate
convolution for each group: hundreds in a meta-step. Written out as in convolution.py, that term is a single grouped
convolution too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.overrides import TorchFunctionMode

from metatui.learning.engines.layers.convolution import Geometry, convolve_directly


class _EachTask(Function):
    """The convolution of x [B, C, H, W] with w [D, C / groups, ...] for one task. Only for use under torch.vmap."""

    @staticmethod
    def forward(x: Tensor, w: Tensor, geometry: Geometry) -> Tensor:
        return geometry.y(x, w)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Tensor) -> None:
        pass  # autograd differentiates the operations in `vmap`

    @staticmethod
    def vmap(info: Any, in_dims: Any, x: Tensor, w: Tensor, geometry: Geometry) -> tuple[Tensor, int]:
        tasks = info.batch_size
        x = x.unsqueeze(1).expand(-1, tasks, -1, -1, -1) if in_dims[0] is None else x.movedim(in_dims[0], 1)
        w = w.expand(tasks, *w.shape) if in_dims[1] is None else w.movedim(in_dims[1], 0)
        grouped = Geometry(geometry.stride, geometry.padding, geometry.dilation, tasks * geometry.groups)
        y = convolve_directly(x.flatten(1, 2), w.flatten(0, 1), grouped)
        return torch.unflatten(y, 1, (tasks, -1)), 1


def _pair(value: int | Sequence[int]) -> tuple[int, ...]:
    return (value, value) if isinstance(value, int) else tuple(value)


def _convolve(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
    groups: int = 1,
) -> Tensor:  # fmt: skip
    """A replacement for torch.conv2d."""
    functorch: Any = torch._C._functorch
    batched = functorch.maybe_current_level() == 1 and any(map(functorch.is_batchedtensor, (x, weight)))
    if not batched or isinstance(padding, str) or x.dim() != 4:
        return torch.conv2d(x, weight, bias, stride, padding, dilation, groups)
    geometry = Geometry(_pair(stride), _pair(padding), _pair(dilation), groups)
    y: Tensor = _EachTask.apply(x, weight, geometry)  # type: ignore[no-untyped-call]
    return y if bias is None else y + bias.view(-1, 1, 1)


class GroupedConvolutions(TorchFunctionMode):
    """A context in which convolutions under torch.vmap over tasks have a second derivative that is written out."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return (_convolve if func is torch.conv2d else func)(*args, **(kwargs or {}))
