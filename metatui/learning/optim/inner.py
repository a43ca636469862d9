"""Update rules of the inner loop: SGD, with or without momentum, and Adam without momentum.

The rules are elementwise pure functions of tensors. They work for the parameters of one task and for stacks of
the parameters of several tasks, and are differentiable.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from metatui.config.settings import AlgorithmSettings

Params = dict[str, Tensor]
"""Tensors, keyed by parameter name. They belong to one task, or are stacks with a leading task axis [T, ...]."""

ADAM_BETA2 = 0.999
ADAM_EPSILON = 1e-8


@dataclass(frozen=True)
class InnerLoop:
    """Settings of the inner loop."""

    lr: float | Tensor
    """Inner learning rate: a number, or a scalar tensor that a CUDA graph reads at every replay."""
    steps: int
    optimizer: Literal["sgd", "momentum", "adam"] = "sgd"
    momentum: float = 0.9
    """Factor by which the optimiser `momentum` scales its running sum of gradients before each addition."""
    weight_decay: float = 0.0
    """Weight decay: this multiple of the parameters is added to their gradient after clipping."""
    clip: float = 0.0
    """Maximum norm of the gradient of a task's loss; 0 disables clipping."""

    @property
    def is_sgd(self) -> bool:
        """Whether each step is θ - α ∇L and nothing else."""
        return self.optimizer == "sgd" and not self.weight_decay and not self.clip

    def start(self, *, stacked: bool = False, constant: bool = False) -> Update:
        """Create an update rule with fresh state, so that no adaptation depends on an earlier one.

        Args:
            stacked: whether parameters have a leading task axis.
            constant: whether inner steps are treated as constants in derivatives. If so, the gradients that the caller
                passes must be constants, and weight decay is treated as a constant as well.
        """
        return Update(self, stacked=stacked, constant=constant)


def inner_loop(algorithm: AlgorithmSettings) -> InnerLoop:
    """Return the inner loop that `algorithm` describes."""
    return InnerLoop(
        algorithm.inner_lr,
        algorithm.inner_steps,
        algorithm.inner_optimizer,
        algorithm.inner_momentum,
        algorithm.inner_weight_decay,
        algorithm.inner_clip,
    )


def sgd_step(params: Params, gradients: Params, lr: float | Tensor | Params) -> Params:
    """Return θ - α g, where α is `lr`: one number, or a different one for each parameter or element."""
    if isinstance(lr, dict):
        return {name: p - lr[name] * gradients[name] for name, p in params.items()}
    if isinstance(lr, Tensor):
        return {name: p - lr * gradients[name] for name, p in params.items()}
    updated = torch._foreach_sub(list(params.values()), [gradients[name] for name in params], alpha=lr)
    return dict(zip(params, updated, strict=True))


class Update:
    """The update rule of one adaptation, with the state of its optimiser."""

    def __init__(self, inner: InnerLoop, *, stacked: bool, constant: bool) -> None:
        self._inner = inner
        self._stacked = stacked
        self._constant = constant
        self._steps = 0
        self._moment: Params = {}

    def __call__(self, params: Params, gradients: Params, rates: Params | None = None) -> Params:
        """Return the parameters after one step.

        Args:
            rates: a learning rate for each parameter, which replaces `InnerLoop.lr`. Its shape must be broadcastable to
                that of the parameter.
        """
        inner = self._inner
        lr = inner.lr if rates is None else rates
        self._steps += 1
        # Clipping comes first, as with clip_grad_norm_ before a step of a torch optimiser.
        if inner.clip:
            gradients = clip_gradients(gradients, inner.clip, stacked=self._stacked)
        if inner.weight_decay:
            decay = {name: p.detach() if self._constant else p for name, p in params.items()}
            gradients = {name: gradients[name] + inner.weight_decay * p for name, p in decay.items()}
        match inner.optimizer:
            case "sgd":
                return sgd_step(params, gradients, lr)
            case "momentum":
                return sgd_step(params, self._running_sum(gradients), lr)
            case "adam":
                return self._adam(params, gradients, lr)

    def _running_sum(self, gradients: Params) -> Params:
        """Update the velocity v ← μ v + g, as torch.optim.SGD does."""
        if self._steps == 1:
            self._moment = gradients
        else:
            self._moment = {name: self._inner.momentum * v + gradients[name] for name, v in self._moment.items()}
        return self._moment

    def _adam(self, params: Params, gradients: Params, lr: float | Tensor | Params) -> Params:
        """Take a step of Adam with β1 = 0, that is, without momentum (Nichol, Achiam and Schulman 2018, section 6)."""
        correction = 1 - ADAM_BETA2**self._steps
        updated = {}
        for name, p in params.items():
            g = gradients[name]
            v = (1 - ADAM_BETA2) * g.square()
            if self._steps > 1:
                v = v + ADAM_BETA2 * self._moment[name]
            self._moment[name] = v
            rate = lr[name] if isinstance(lr, dict) else lr
            updated[name] = p - rate * g / (root(v / correction) + ADAM_EPSILON)
        return updated


def clip_gradients(gradients: Params, limit: float, *, stacked: bool) -> Params:
    """Scale down the gradients of each task whose gradient norm exceeds `limit`, so that the norm equals `limit`."""
    squares = [g.square().reshape(len(g) if stacked else 1, -1).sum(1) for g in gradients.values()]
    factor = limit / root(torch.stack(squares).sum(0)).clamp(min=limit)
    return {
        name: g * factor.view(-1, *[1] * (g.dim() - 1)) if stacked else g * factor[0] for name, g in gradients.items()
    }


def root(x: Tensor) -> Tensor:
    """Return the square root of x >= 0. Its derivative at 0 is defined as 0 instead of infinity."""
    if not x.requires_grad:
        return x.sqrt()
    is_zero = x == 0
    return x.masked_fill(is_zero, 1).sqrt().masked_fill(is_zero, 0)
