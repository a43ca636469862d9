"""The outer loop's optimiser and the schedule of its learning rate."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from metatui.learning.inner import Params
from metatui.settings import AlgorithmSettings


class Diverged(Exception):
    """A meta-step would have made the meta-parameters non-finite; they are as they were before it."""


def scheduled_lr(algorithm: AlgorithmSettings, done: int, iterations: int) -> float:
    """The outer learning rate of the meta-step after `done` of `iterations`."""
    if algorithm.outer_schedule == "constant":
        return algorithm.outer_lr
    part = min(done / iterations, 1.0)
    left = 1 - part if algorithm.outer_schedule == "linear" else (1 + math.cos(math.pi * part)) / 2
    return algorithm.outer_lr_final + (algorithm.outer_lr - algorithm.outer_lr_final) * left


def norm_of(gradients: Params) -> Tensor:
    """The Euclidean norm over all of `gradients`. Raises Diverged where it is not finite."""
    norm: Tensor = torch.nn.utils.get_total_norm(gradients.values())
    if not torch.isfinite(norm):
        raise Diverged("gradient")
    return norm


class OuterAdam:
    """Adam (Kingma and Ba 2015) on the meta-parameters, which it moves in place."""

    def __init__(self, theta: Params) -> None:
        self.theta = theta
        self._adam = torch.optim.Adam(theta.values())

    def step(self, gradients: Params, *, lr: float, clip: float) -> Tensor:
        """Move along `gradients`, their norm limited to `clip` (0 does not limit). Returns the norm before that.

        Raises:
            Diverged: for a gradient that is not finite; nothing has moved then.
        """
        norm = norm_of(gradients)
        scale = clip / norm if clip and norm > clip else None
        for name, p in self.theta.items():
            p.grad = gradients[name] if scale is None else gradients[name] * scale
        self._adam.param_groups[0]["lr"] = lr
        self._adam.step()
        return norm

    def tensors(self) -> Params:
        """What the optimiser remembers."""
        return {
            f"{key}/{name}": value
            for name, p in self.theta.items()
            for key, value in self._adam.state.get(p, {}).items()
        }

    def load(self, tensors: Params) -> None:
        """Remember what another one did, on whatever device and in whatever precision."""
        for name, p in self.theta.items():
            kept = {key: tensors[f"{key}/{name}"].to(p, copy=True) for key in ("exp_avg", "exp_avg_sq")
                    if f"{key}/{name}" in tensors}  # fmt: skip
            if kept:
                # Adam reads the step of every parameter at every step: off the CPU, each would wait for the device.
                self._adam.state[p] = {"step": tensors[f"step/{name}"].to("cpu", copy=True), **kept}
