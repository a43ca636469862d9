"""The optimiser of the outer loop and its learning-rate schedule."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.optim.adam import adam

from metatui.config.settings import AlgorithmSettings
from metatui.learning.optim.flat_params import FlatParams
from metatui.learning.optim.inner import Params


class DivergedError(Exception):
    """Error for a meta-step whose loss or gradient is not finite. The meta-parameters are unchanged."""


def scheduled_lr(algorithm: AlgorithmSettings, done: int, iterations: int) -> float:
    """Return the outer learning rate of the next meta-step, after `done` of `iterations` meta-steps."""
    if algorithm.outer_schedule == "constant":
        return algorithm.outer_lr
    progress = min(done / iterations, 1.0)
    factor = 1 - progress if algorithm.outer_schedule == "linear" else (1 + math.cos(math.pi * progress)) / 2
    return algorithm.outer_lr_final + (algorithm.outer_lr - algorithm.outer_lr_final) * factor


def norm_of(vector: Tensor) -> Tensor:
    """Return the Euclidean norm of a gradient.

    Raises:
        DivergedError: if the norm is not finite.
    """
    norm: Tensor = torch.linalg.vector_norm(vector)
    if not torch.isfinite(norm):
        raise DivergedError("gradient")
    return norm


class OuterAdam:
    """Adam (Kingma and Ba 2015) on the meta-parameters, updated in place.

    This uses the functional form of Adam. `torch.optim.Adam` computes the same numbers, but imports `torch._dynamo`.
    This import takes longer than a short training run.
    """

    betas = (0.9, 0.999)
    epsilon = 1e-8

    def __init__(self, flat: FlatParams) -> None:
        self.flat = flat
        self._steps = 0
        self._state = {
            # On the CPU, because Adam reads it at every step and would otherwise wait for the device.
            "step": torch.zeros((), dtype=torch.float32),
            "exp_avg": torch.zeros_like(flat.vector),
            "exp_avg_sq": torch.zeros_like(flat.vector),
        }

    def step(self, gradients: Params, *, lr: float, clip: float) -> Tensor:
        """Update the meta-parameters with `gradients`. Meta-parameters without a gradient do not change.

        Args:
            clip: maximum norm of the gradient. A longer gradient is scaled down to this norm; 0 disables clipping.

        Returns:
            The norm of the gradient before clipping.

        Raises:
            DivergedError: if the gradient is not finite. In that case, nothing is updated.
        """
        missing = self.flat.shapes.keys() - gradients.keys()
        zeros = {name: torch.zeros_like(self.flat.views[name]) for name in missing}
        gradient = self.flat.flatten(gradients | zeros)
        norm = norm_of(gradient if not missing else self._concatenated(gradients))
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

    def _concatenated(self, gradients: Params) -> Tensor:
        """Concatenate `gradients`.

        Missing gradients are skipped. Zeros in their place would change how the sum of squares is rounded.
        """
        return torch.cat([gradients[name].reshape(-1) for name in self.flat.shapes if name in gradients])

    @property
    def moments(self) -> tuple[Tensor, Tensor]:
        """Running means [P] of the gradient and of its square. Compiled functions and CUDA graphs write to them."""
        return self._state["exp_avg"], self._state["exp_avg_sq"]

    def corrections(self) -> tuple[float, float]:
        """Return the bias corrections of the two running means for the next step."""
        first, second = self.betas
        return 1 - first ** (self._steps + 1), 1 - second ** (self._steps + 1)

    def count(self, steps: int = 1) -> None:
        """Add `steps`, which may be negative, to the number of updates.

        This is needed for updates by compiled functions and CUDA graphs, which do not count them.
        """
        self._steps += steps

    def tensors(self) -> Params:
        """Return the state for a checkpoint, with keys such as `exp_avg/NAME` for the parameter NAME."""
        moments = {
            f"{key}/{name}": t
            for key in ("exp_avg", "exp_avg_sq")
            for name, t in self.flat.unflatten(self._state[key]).items()
        }
        return moments | {f"step/{name}": torch.tensor(float(self._steps)) for name in self.flat.shapes}

    def load(self, tensors: Params) -> None:
        """Restore the state that the method `tensors` returned, converted to the device and dtype of this optimiser."""
        for key in ("exp_avg", "exp_avg_sq"):
            for name, t in self.flat.unflatten(self._state[key]).items():
                if f"{key}/{name}" in tensors:
                    t.copy_(tensors[f"{key}/{name}"])
        steps = [t for name, t in tensors.items() if name.startswith("step/")]
        if steps:
            self._steps = int(steps[0])
