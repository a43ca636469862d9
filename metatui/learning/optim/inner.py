"""Update rules of the inner loop: SGD, and Adam without momentum.

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

    def start(self) -> Update:
        """Create an update rule with no state, so that no adaptation depends on an earlier one."""
        return Adam(self.lr) if self.optimizer == "adam" else SGD(self.lr)


def inner_loop(algorithm: AlgorithmSettings, steps: int | None = None) -> InnerLoop:
    """Return the inner loop that `algorithm` describes; `steps` overrides its number of steps."""
    return InnerLoop(algorithm.inner_lr, algorithm.inner_steps if steps is None else steps, algorithm.inner_optimizer)


def sgd_step(params: Params, gradients: Params, lr: float | Tensor) -> Params:
    """Return θ - α g."""
    if isinstance(lr, Tensor):
        return {name: p - lr * gradients[name] for name, p in params.items()}
    updated = torch._foreach_sub(list(params.values()), [gradients[name] for name in params], alpha=lr)
    return dict(zip(params, updated, strict=True))


class SGD:
    """Stochastic gradient descent, θ' = θ - α g."""

    def __init__(self, lr: float | Tensor) -> None:
        self.lr = lr

    def __call__(self, params: Params, gradients: Params) -> Params:
        return sgd_step(params, gradients, self.lr)


class Adam:
    """Adam with β1 = 0, which has no momentum (Nichol, Achiam and Schulman 2018, section 6)."""

    def __init__(self, lr: float | Tensor) -> None:
        self.lr = lr
        self.steps = 0
        self.second_moment: Params = {}

    def __call__(self, params: Params, gradients: Params) -> Params:
        self.steps += 1
        correction = 1 - ADAM_BETA2**self.steps
        updated = {}
        for name, p in params.items():
            g = gradients[name]
            v = (1 - ADAM_BETA2) * g.square()
            if self.steps > 1:
                v = v + ADAM_BETA2 * self.second_moment[name]
            self.second_moment[name] = v
            updated[name] = p - self.lr * g / ((v / correction).sqrt() + ADAM_EPSILON)
        return updated


Update = SGD | Adam
