"""Sizes of the outputs of a model's layers, used to estimate memory."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn


def output_sizes(model: nn.Module, input_shape: tuple[int, ...]) -> list[tuple[nn.Module, int]]:
    """Return each layer of `model` with the number of elements of its output for one example.

    A layer is a module without submodules. The sizes are found by running a copy of the model in evaluation mode, so
    that neither the model's buffers nor the state of a random number generator changes.
    """
    sizes: list[tuple[nn.Module, int]] = []

    def record(layer: nn.Module, _: Any, output: Any) -> None:
        tensors = output if isinstance(output, (tuple, list)) else (output,)
        sizes.append((layer, sum(each.numel() for each in tensors if isinstance(each, Tensor)) // examples))

    examples = 2  # batch norm does not accept a single value
    copied = deepcopy(model).eval()
    for layer in copied.modules():
        if not list(layer.children()):
            layer.register_forward_hook(record)
    with torch.no_grad():
        copied(next(copied.parameters()).new_zeros(examples, *input_shape))
    return sizes
