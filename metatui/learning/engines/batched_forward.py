"""A model's forward pass for many tasks at once, each with its own weights.

Chains of linear layers and elementwise functions are written out as batched matrix products, which costs a third
of what torch.vmap costs on small networks. Any other module goes through torch.vmap over the forward pass alone:
gradients are taken outside of it, on plain tensors, because inside it the second derivative of an affine batch,
layer or instance norm is silently wrong (pytorch/functorch#534).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext

import torch
from torch import Tensor, nn
from torch.func import functional_call

from metatui.learning.engines.chain import ELEMENTWISE
from metatui.learning.engines.layers.grouped import GroupedConvolutions
from metatui.learning.optim.inner import Params

StackedForward = Callable[[Params, Tensor], Tensor]
"""A stack of parameters and x [T, B, ...] to predictions [T, B, ...]."""


def stacked_forward(model: nn.Module, *, perceptron: bool) -> StackedForward:
    """The forward pass of `model` on stacks of its parameters.

    Args:
        perceptron: whether `model` is a plain chain for which `is_perceptron` holds.
    """

    def one(params: Params, x: Tensor) -> Tensor:
        with GroupedConvolutions() if x.device.type == "cuda" else nullcontext():
            predicted: Tensor = functional_call(model, params, (x,))
        return predicted

    vectorised: StackedForward = torch.vmap(one, randomness="different")
    if not perceptron:
        return vectorised
    products = _perceptron(list(model.named_children()))
    return lambda params, x: (products if x.dim() == 3 else vectorised)(params, x)


def is_perceptron(model: nn.Module) -> bool:
    """Whether a plain chain has linear layers and elementwise functions only, none nested, all of it adapted."""
    return all(type(layer) is nn.Linear or type(layer) in ELEMENTWISE for layer in model.children()) and all(
        p.requires_grad for p in model.parameters()
    )


def fused_forward(model: nn.Module) -> StackedForward:
    """The forward pass of a perceptron for a compiler: small products as sums of products, which it fuses with what
    is around them and makes vector code of; to it, a batched matrix product is a call of a library."""
    return _perceptron(list(model.named_children()), small=SMALL)


SMALL = 64 * 64
"""Largest weight matrix, in numbers, whose product is written as a sum; measured: 40 x 40 gains a fifth, 256 x 256
loses."""


def _perceptron(layers: list[tuple[str, nn.Module]], small: int = 0) -> StackedForward:
    def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if weight[0].numel() <= small:
            product = (x.unsqueeze(2) * weight.unsqueeze(1)).sum(-1)
            return product if bias is None else product + bias.unsqueeze(1)
        if bias is None:
            return torch.bmm(x, weight.transpose(1, 2))
        return torch.baddbmm(bias.unsqueeze(1), x, weight.transpose(1, 2))

    def forward(params: Params, x: Tensor) -> Tensor:
        for name, layer in layers:
            if isinstance(layer, nn.Linear):
                x = linear(x, params[f"{name}.weight"], params.get(f"{name}.bias"))
            else:
                x = layer(x)
        return x

    return forward
