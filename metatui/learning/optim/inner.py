"""Update rules of the inner loop: SGD, with or without momentum, and Adam without momentum.

The rules are elementwise pure functions of tensors. They work for the parameters of one task and for stacks of
them, and are differentiable.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from metatui.config.settings import AlgorithmSettings

Params = dict[str, Tensor]
"""Tensors by parameter name: those of one task, or a stack with a leading task axis [T, ...]."""

ADAM_BETA2 = 0.999
ADAM_EPSILON = 1e-8


@dataclass(frozen=True)
class InnerLoop:
    """Settings of the inner loop."""

    lr: float | Tensor
    """A number, or a scalar tensor that a captured graph reads at every replay."""
    steps: int
    optimizer: Literal["sgd", "momentum", "adam"] = "sgd"
    momentum: float = 0.9
    """Decay of the running sum of gradients, for `momentum`."""
    weight_decay: float = 0.0
    """Factor of the parameters that is added to their gradient."""
    clip: float = 0.0
    """Largest norm of a task's gradient; 0 disables clipping."""

    @property
    def is_sgd(self) -> bool:
        """Whether each step is θ - α ∇L and nothing else."""
        return self.optimizer == "sgd" and not self.weight_decay and not self.clip

    def start(self, *, stacked: bool = False) -> Update:
        """Create an update rule with no state, so that no adaptation depends on an earlier one.

        Args:
            stacked: whether parameters have a leading task axis.
        """
        return Update(self, stacked=stacked)


def inner_loop(algorithm: AlgorithmSettings, steps: int | None = None) -> InnerLoop:
    """Return the inner loop that `algorithm` describes; `steps` overrides its number of steps."""
    return InnerLoop(
        algorithm.inner_lr,
        algorithm.inner_steps if steps is None else steps,
        algorithm.inner_optimizer,
        algorithm.inner_momentum,
        algorithm.inner_weight_decay,
        algorithm.inner_clip,
    )


def sgd_step(params: Params, gradients: Params, lr: float | Tensor) -> Params:
    """Return θ - α g."""
    if isinstance(lr, Tensor):
        return {name: p - lr * gradients[name] for name, p in params.items()}
    updated = torch._foreach_sub(list(params.values()), [gradients[name] for name in params], alpha=lr)
    return dict(zip(params, updated, strict=True))


class Update:
    """The update rule of one adaptation, with the state of its optimiser."""

    def __init__(self, inner: InnerLoop, *, stacked: bool) -> None:
        self._inner = inner
        self._stacked = stacked
        self._steps = 0
        self._moment: Params = {}

    def __call__(self, params: Params, gradients: Params) -> Params:
        """Return the parameters after one step."""
        inner = self._inner
        self._steps += 1
        if inner.weight_decay:
            gradients = {name: gradients[name] + inner.weight_decay * p for name, p in params.items()}
        if inner.clip:
            gradients = clipped(gradients, inner.clip, stacked=self._stacked)
        match inner.optimizer:
            case "sgd":
                return sgd_step(params, gradients, inner.lr)
            case "momentum":
                return sgd_step(params, self._running_sum(gradients), inner.lr)
            case "adam":
                return self._adam(params, gradients)

    def _running_sum(self, gradients: Params) -> Params:
        """Update the velocity v ← μ v + g, as torch.optim.SGD does."""
        if self._steps == 1:
            self._moment = gradients
        else:
            self._moment = {name: self._inner.momentum * v + gradients[name] for name, v in self._moment.items()}
        return self._moment

    def _adam(self, params: Params, gradients: Params) -> Params:
        """Make a step of Adam with β1 = 0, which has no momentum (Nichol, Achiam and Schulman 2018, section 6)."""
        correction = 1 - ADAM_BETA2**self._steps
        updated = {}
        for name, p in params.items():
            g = gradients[name]
            v = (1 - ADAM_BETA2) * g.square()
            if self._steps > 1:
                v = v + ADAM_BETA2 * self._moment[name]
            self._moment[name] = v
            updated[name] = p - self._inner.lr * g / (root(v / correction) + ADAM_EPSILON)
        return updated


def clipped(gradients: Params, limit: float, *, stacked: bool) -> Params:
    """Scale the gradients down to a norm of `limit`, for each task separately, where they are longer."""
    squares = [g.square().flatten(1 if stacked else 0).sum(-1) for g in gradients.values()]
    factor = limit / root(torch.stack(squares).sum(0)).clamp(min=limit)
    return {name: g * (factor.view(-1, *[1] * (g.dim() - 1)) if stacked else factor) for name, g in gradients.items()}


def root(x: Tensor) -> Tensor:
    """Return the square root of x >= 0, with the derivative 0 instead of infinity at 0."""
    if not x.requires_grad:
        return x.sqrt()
    is_zero = x == 0
    return torch.where(is_zero, 0, torch.where(is_zero, 1, x).sqrt())
