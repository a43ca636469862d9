"""Plain chains of known layers. Layers are rewritten only in models of this kind.

Rewritten layers give the same results as torch's layers, but they do not call hooks or keep state, and other code can
no longer read the layers that they replace. In a plain chain, none of this makes a difference.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import pairwise

import torch
from torch import nn
from torch.nn.modules.module import _has_any_global_hook

from metatui.learning.nn.layers import CosineLinear, DropBlock, FiLM, ResidualBlock, SpatialMean

ELEMENTWISE = (nn.ReLU, nn.Tanh, nn.Sigmoid, nn.GELU, nn.SiLU, nn.ELU, nn.LeakyReLU, nn.Softplus, nn.Identity)
WEIGHTED = (nn.Linear, nn.Conv2d, nn.BatchNorm2d, nn.GroupNorm, CosineLinear, FiLM)
CONTAINERS = (nn.Sequential, ResidualBlock)
"""Modules that contain layers as children, and whose forward pass only combines the outputs of these layers."""
LAYERS = (*WEIGHTED, nn.MaxPool2d, nn.Flatten, SpatialMean, DropBlock, *ELEMENTWISE)

HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")


def is_chain(model: nn.Module) -> bool:
    """Return whether `model` is an unmodified `nn.Sequential` of known layers and residual blocks, nested or not.

    Each layer occurs once, its type is in `LAYERS` (subclasses do not count), and it has only the parameters of that
    type. All parameters have the same dtype. There are no hooks, no overridden methods, no shared parameters, no
    running averages being updated, and no in-place operation on a tensor that may be used elsewhere.
    """
    if type(model) is not nn.Sequential:
        return False
    modules = list(_flattened(model))
    layers = [module for module in modules if type(module) not in CONTAINERS]
    parameters = [p for module in modules for p in module._parameters.values() if p is not None]
    return (
        not _has_any_global_hook()  # type: ignore[no-untyped-call]
        and len({id(module) for module in modules}) == len(modules)
        and len({id(p) for p in parameters}) == len(parameters)
        and all(type(p) is nn.Parameter for p in parameters)
        and {p.dtype for p in parameters} in ({torch.float32}, {torch.float64})
        and all(is_unchanged(module) for module in modules)
        and all(_is_known(layer) for layer in layers)
        and not any(_is_in_place(layer) and not _makes_output(before) for before, layer in pairwise([None, *layers]))
    )


def is_unchanged(module: nn.Module) -> bool:
    """Return whether `module` has no hooks and no method overridden on the instance."""
    return (
        not any(getattr(module, hooks) for hooks in HOOKS)
        and not any(callable(getattr(type(module), name, None)) for name in vars(module))
        and module._compiled_call_impl is None
    )


def is_perceptron(model: nn.Module) -> bool:
    """Return whether a plain chain consists only of linear layers and elementwise functions, without nesting.

    All parameters must require gradients.

    Args:
        model: a module for which `is_chain` holds.
    """
    return all(type(layer) is nn.Linear or type(layer) in ELEMENTWISE for layer in model.children()) and all(
        p.requires_grad for p in model.parameters()
    )


def split_model(model: nn.Module, names: Collection[str]) -> tuple[nn.Module | None, nn.Module]:
    """Divide `model` in two, before the first layer that has one of the parameters `names`.

    Returns:
        The layers before that layer, and the remaining layers. The first item is None if that layer is the first one,
        or if `model` cannot be divided because it has hooks or is not an `nn.Sequential`.
    """
    if type(model) is nn.Sequential and not has_hooks(model):
        for at, (layer, _) in enumerate(model.named_children()):
            if at and any(name.startswith(f"{layer}.") for name in names):
                return model[:at], model[at:]
            if any(name.startswith(f"{layer}.") for name in names):
                break
    return None, model


def has_hooks(model: nn.Module) -> bool:
    """Return whether hooks are registered for the model, or globally for all modules."""
    everywhere: bool = _has_any_global_hook()  # type: ignore[no-untyped-call]
    return everywhere or any(getattr(m, hooks) for m in model.modules() for hooks in HOOKS)


def _flattened(module: nn.Module) -> Iterator[nn.Module]:
    """Yield `module` and, if it is a container, everything inside it. A module that occurs twice is yielded twice."""
    yield module
    if type(module) in CONTAINERS:
        for child in module._modules.values():
            if child is not None:
                yield from _flattened(child)


def _is_known(layer: nn.Module) -> bool:
    expected = {"weight", "bias"} if type(layer) in WEIGHTED else set()
    if type(layer) is CosineLinear:
        expected = {"weight", "scale"}
    if type(layer) is FiLM:
        expected = {"context", "weight", "bias"}
    if type(layer) not in LAYERS or set(layer._parameters) != expected:
        return False
    if isinstance(layer, nn.BatchNorm2d):
        # Either statistics of the batch or constants: no averages that the forward pass updates.
        return layer.running_mean is None or not layer.training
    return not layer._buffers and not (isinstance(layer, nn.MaxPool2d) and layer.return_indices)


def _is_in_place(layer: nn.Module | None) -> bool:
    return bool(getattr(layer, "inplace", False))


def _makes_output(layer: nn.Module | None) -> bool:
    """Return whether the output of `layer` may be changed in place.

    This is the case if the output does not share memory with the input and is not needed for the derivative.
    """
    return type(layer) in (*WEIGHTED, nn.MaxPool2d)
