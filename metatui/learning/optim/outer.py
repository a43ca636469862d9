"""The outer loop's optimiser and the schedule of its learning rate."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.optim.adam import adam

from metatui.config.settings import AlgorithmSettings
from metatui.learning.optim.flat_params import FlatParams
from metatui.learning.optim.inner import Params


class Diverged(Exception):
    """A meta-step would have made the meta-parameters non-finite; they are as they were before it."""


def scheduled_lr(algorithm: AlgorithmSettings, done: int, iterations: int) -> float:
    """The outer learning rate of the meta-step after `done` of `iterations`."""
    if algorithm.outer_schedule == "constant":
        return algorithm.outer_lr
    part = min(done / iterations, 1.0)
    left = 1 - part if algorithm.outer_schedule == "linear" else (1 + math.cos(math.pi * part)) / 2
    return algorithm.outer_lr_final + (algorithm.outer_lr - algorithm.outer_lr_final) * left


def norm_of(vector: Tensor) -> Tensor:
    """The Euclidean norm of a gradient. Raises Diverged where it is not finite."""
    norm: Tensor = torch.linalg.vector_norm(vector)
    if not torch.isfinite(norm):
        raise Diverged("gradient")
    return norm


class OuterAdam:
    """Adam (Kingma and Ba 2015) on the meta-parameters, updated in place.

    `torch.optim.Adam` would import `torch._dynamo`, which takes longer than a short run trains; its functional form,
    which computes the same bits, does not.
    """

    betas = (0.9, 0.999)
    epsilon = 1e-8

    def __init__(self, flat: FlatParams) -> None:
        self.flat = flat
        self._steps = 0
        self._state = {
            # Adam reads its step count at every step: off the CPU, it would wait for the device.
            "step": torch.zeros((), dtype=torch.float32),
            "exp_avg": torch.zeros_like(flat.vector),
            "exp_avg_sq": torch.zeros_like(flat.vector),
        }

    def step(self, gradients: Params, *, lr: float, clip: float) -> Tensor:
        """Move along `gradients`, their norm limited to `clip` (0 does not limit). Returns the norm before that.

        Raises:
            Diverged: for a gradient that is not finite; nothing has moved then.
        """
        gradient = self.flat.flatten(gradients)
        norm = norm_of(gradient)
        if clip and norm > clip:
            gradient *= clip / norm
        self._state["step"].fill_(self._steps)
        self._steps += 1
        with torch.no_grad():
            adam(
                [self.flat.vector],
                [gradient],
                [self._state["exp_avg"]],
                [self._state["exp_avg_sq"]],
                [],
                [self._state["step"]],
                amsgrad=False,
                beta1=self.betas[0],
                beta2=self.betas[1],
                lr=lr,
                weight_decay=0,
                eps=self.epsilon,
                maximize=False,
            )
        return norm

    @property
    def moments(self) -> tuple[Tensor, Tensor]:
        """Running means of the gradient and of its square, [P] each: for a graph that takes the step itself."""
        return self._state["exp_avg"], self._state["exp_avg_sq"]

    def corrections(self) -> tuple[float, float]:
        """What the next step divides by to undo that the running means began at zero."""
        first, second = self.betas
        return 1 - first ** (self._steps + 1), 1 - second ** (self._steps + 1)

    def count(self, steps: int = 1) -> None:
        """A graph has taken so many steps; below zero, it has taken back as many."""
        self._steps += steps

    def tensors(self) -> Params:
        """What the optimiser remembers."""
        kept = {f"{key}/{name}": t for key in ("exp_avg", "exp_avg_sq")
                for name, t in self.flat.unflatten(self._state[key]).items()}  # fmt: skip
        return kept | {f"step/{name}": torch.tensor(float(self._steps)) for name in self.flat.shapes}

    def load(self, tensors: Params) -> None:
        """Remember what another one did, on whatever device and in whatever precision."""
        for key in ("exp_avg", "exp_avg_sq"):
            for name, t in self.flat.unflatten(self._state[key]).items():
                if f"{key}/{name}" in tensors:
                    t.copy_(tensors[f"{key}/{name}"])
        steps = [t for name, t in tensors.items() if name.startswith("step/")]
        if steps:
            self._steps = int(steps[0])
