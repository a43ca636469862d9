"""MAML with plain autograd and without an engine: the reference that every engine is compared with."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.autograd import grad

from metatui.learning.data.episodes import Episodes
from metatui.learning.optim.inner import Params
from metatui.learning.optim.losses import LossFn


def plain_meta_gradient(
    model: nn.Module, loss_fn: LossFn, episodes: Episodes, lr: float, steps: int, *, first_order: bool
) -> tuple[Tensor, Params]:
    """Compute the MAML meta-gradient of any module, task by task (Finn et al. 2017, Algorithm 1).

    Each task uses a deep copy of `model`, so that buffers and Python state do not carry over from task to task. It also
    uses a copy of the task's data, because a layer may change the data in place.

    Args:
        model: the parameters that require gradients are adapted. The model itself stays unchanged.
        loss_fn: function that maps predictions and targets of one task to a scalar.
        lr: step size of the inner loop.
        steps: number of inner steps.
        first_order: whether to treat the inner gradients as constants (Finn et al. 2017, section 5.2).

    Returns:
        The mean query loss and its gradients, keyed by parameter name.
    """
    losses, gradients = [], {n: torch.zeros_like(p) for n, p in model.named_parameters() if p.requires_grad}
    with torch.inference_mode(False), torch.enable_grad():
        for t in range(len(episodes)):
            module = deepcopy(model)
            own: Params = {name: p for name, p in module.named_parameters() if name in gradients}
            start = {name: p.detach().clone().requires_grad_() for name, p in own.items()}
            module, fast = _with_parameters(module, own, start), start
            x, y = episodes.support_x[t].clone(), episodes.support_y[t].clone()
            for _ in range(steps):
                inner = grad(
                    loss_fn(module(x), y), list(fast.values()), create_graph=not first_order, materialize_grads=True
                )
                adapted = {name: p - lr * g for (name, p), g in zip(fast.items(), inner, strict=True)}
                module, fast = _with_parameters(module, fast, adapted), adapted
            loss = loss_fn(module(episodes.query_x[t].clone()), episodes.query_y[t].clone())
            losses.append(loss.detach())
            outer = grad(loss, list(start.values()), materialize_grads=True)
            for name, g in zip(start, outer, strict=True):
                gradients[name] += g / len(episodes)
    return torch.stack(losses).mean(), gradients


def _with_parameters(module: nn.Module, old: Params, new: Params) -> nn.Module:
    """Copy the structure of `module`, with the parameters `new` instead of `old`. All other tensors are shared.

    Like torch.func.functional_call, this replaces parameters only where modules have registered them, not in lists or
    other attributes. But functional_call removes the new parameters after the call, whereas the copy keeps them. They
    are needed later, because torch.utils.checkpoint runs parts of the forward pass again during the backward pass.
    """
    memo: dict[int, object] = {id(tensor): tensor for tensor in _tensors(module)}
    copy = deepcopy(module, memo)
    names = {id(p): name for name, p in old.items()}
    for part in copy.modules():
        for key, p in part._parameters.items():
            if id(p) in names:
                part._parameters[key] = new[names[id(p)]]  # type: ignore[assignment]
    return copy


def _tensors(module: nn.Module) -> Iterator[Tensor]:
    """Iterate over the parameters, buffers and tensor attributes of `module`."""
    for part in module.modules():
        for value in (*part._parameters.values(), *part._buffers.values(), *vars(part).values()):
            yield from (v for v in (value if isinstance(value, list | tuple) else [value]) if isinstance(v, Tensor))
