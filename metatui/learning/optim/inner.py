"""The inner loop's update rule: how fast weights move along the gradient of the support loss.

Pure functions of tensors, elementwise: the same code serves one task's parameters and stacks of them, and can be
differentiated through.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from metatui.config.settings import AlgorithmSettings

Params = dict[str, Tensor]
"""Tensors by parameter name: one task's, or with a leading task axis [T, ...]."""

ADAM_BETA2 = 0.999
ADAM_EPSILON = 1e-8


@dataclass(frozen=True)
class InnerLoop:
    """How a task is adapted to."""

    lr: float | Tensor
    """A number; a scalar tensor where a recorded graph is to read it anew at every replay."""
    steps: int
    optimizer: Literal["sgd", "adam"] = "sgd"

    def start(self) -> Update:
        """A fresh update rule. No task sees what another left behind, so each adaptation starts from its own."""
        return Adam(self.lr) if self.optimizer == "adam" else SGD(self.lr)


def inner_loop(algorithm: AlgorithmSettings) -> InnerLoop:
    """The inner loop of training."""
    return InnerLoop(algorithm.inner_lr, algorithm.inner_steps, algorithm.inner_optimizer)


def sgd_step(params: Params, gradients: Params, lr: float | Tensor) -> Params:
    """θ - α g."""
    if isinstance(lr, Tensor):
        return {name: p - lr * gradients[name] for name, p in params.items()}
    moved = torch._foreach_sub(list(params.values()), [gradients[name] for name in params], alpha=lr)
    return dict(zip(params, moved, strict=True))


class SGD:
    """θ' = θ - α g."""

    def __init__(self, lr: float | Tensor) -> None:
        self.lr = lr

    def __call__(self, params: Params, gradients: Params) -> Params:
        return sgd_step(params, gradients, self.lr)


class Adam:
    """Adam with β1 = 0, which keeps no momentum (Nichol, Achiam and Schulman 2018, section 6)."""

    def __init__(self, lr: float | Tensor) -> None:
        self.lr = lr
        self.steps = 0
        self.second_moment: Params = {}

    def __call__(self, params: Params, gradients: Params) -> Params:
        self.steps += 1
        correction = 1 - ADAM_BETA2**self.steps
        moved = {}
        for name, p in params.items():
            g = gradients[name]
            v = (1 - ADAM_BETA2) * g.square()
            if self.steps > 1:
                v = v + ADAM_BETA2 * self.second_moment[name]
            self.second_moment[name] = v
            moved[name] = p - self.lr * g / ((v / correction).sqrt() + ADAM_EPSILON)
        return moved


Update = SGD | Adam
