"""A whole meta-step as one function of tensors, for the compiler: inner loops, meta-gradient and outer update.

The mathematics is the same as in the algorithms' own files, but the parameters are one vector. The rates are inputs, so
that they can change during training without recompilation. Every function updates the parameters in place, unless a
loss or the gradient is not finite, and returns metrics [2T + 1]: each task's query loss, each task's support loss
before adaptation, and the norm of the gradient.

No single sum runs over all tasks or all parameters, because several threads would share the work of such a sum, and its
last bits would depend on the number of threads. Each task's gradient is a row of a matrix [T, P] whose columns are
summed separately.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from metatui.learning.optim.flat_params import FlatParams
from metatui.learning.optim.inner import Params
from metatui.learning.optim.losses import LossFn

StackedForward = Callable[[Params, Tensor], Tensor]
Function = Callable[..., Tensor]

NORM_PARTS = 32
"""Number of parts into which a vector is divided to compute its norm. The sums of squares of the parts are
added in a fixed order."""


@dataclass(frozen=True)
class StepSpec:
    """The model, the loss and the number of inner steps of a meta-step."""

    flat: FlatParams
    forward: StackedForward
    """Function that maps a stack of parameters and x [T, B, ...] to predictions [T, B, ...]."""
    loss: LossFn
    """Function that maps predictions and targets [T, B, ...] to the mean loss of each task, [T]."""
    steps: int

    def adapted(self, stack: Params, x: Tensor, y: Tensor, lr: Tensor, *, constant: bool) -> tuple[Params, Tensor]:
        """Perform the inner steps. Returns the adapted stack, and the support losses [T] before the first step.

        Args:
            constant: whether inner gradients are treated as constants.
        """

        def support_loss(fast: Params) -> tuple[Tensor, Tensor]:
            losses = self.loss(self.forward(fast, x), y)
            return losses.sum(), losses

        before = x
        for step in range(self.steps):
            gradients, losses = torch.func.grad(support_loss, has_aux=True)(stack)
            if step == 0:
                before = losses.detach()
            if constant:
                gradients = {name: g.detach() for name, g in gradients.items()}
            stack = {name: p - lr * gradients[name] for name, p in stack.items()}
        return stack, before


def length(vector: Tensor) -> Tensor:
    """Compute the Euclidean norm of a vector, adding the sums of squares of its parts in a fixed order."""
    columns = -(-len(vector) // NORM_PARTS)
    padded = F.pad(vector, (0, NORM_PARTS * columns - len(vector)))
    total, *others = padded.view(NORM_PARTS, columns).square().sum(1).unbind()
    for square in others:
        total = total + square
    return total.sqrt()


def adam_update(
    theta: Tensor, mean: Tensor, square: Tensor, gradient: Tensor, norm: Tensor, rates: Tensor, *,
    betas: tuple[float, float], epsilon: float,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Take a step of Adam (Kingma and Ba 2015). All vectors are [P]; `norm` is the norm of `gradient`.

    Args:
        rates: [5], the inner learning rate (unused), the outer learning rate, the two bias corrections, and the norm
            that the gradient is clipped to.

    Returns:
        The new θ, the new first moment and the new second moment.
    """
    beta1, beta2 = betas
    _, outer_lr, correction1, correction2, largest = rates.unbind()
    gradient = gradient * torch.clamp(largest / norm, max=1.0)
    mean = torch.lerp(mean, gradient, 1 - beta1)
    square = square * beta2 + (1 - beta2) * gradient * gradient
    theta = theta - outer_lr / correction1 * mean / ((square / correction2).sqrt() + epsilon)
    return theta, mean, square


def copy_if_finite(state: tuple[Tensor, ...], new: tuple[Tensor, ...], finite: Tensor) -> None:
    """Write `new` into `state` if the scalar tensor `finite`, which says whether the step is finite, is true."""
    for kept, value in zip(state, new, strict=True):
        kept.copy_(torch.where(finite, value, kept))


def maml(parts: StepSpec, *, first_order: bool, betas: tuple[float, float], epsilon: float) -> Function:
    """Return a function that performs a meta-step of MAML or FOMAML with Adam (Finn et al. 2017, Algorithm 2).

    The update is the same as that of torch.optim.Adam. The inputs of the function are θ, Adam's two moments, support x
    and y, query x and y, and rates [5], see `adam_update`.
    """

    def meta_step(
        theta: Tensor, mean: Tensor, square: Tensor, x: Tensor, y: Tensor, query_x: Tensor, query_y: Tensor,
        rates: Tensor,
    ) -> Tensor:  # fmt: skip
        inner_lr = rates[0]

        def query_loss(rows: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
            stack, before = parts.adapted(parts.flat.unflatten(rows), x, y, inner_lr, constant=first_order)
            losses = parts.loss(parts.forward(stack, query_x), query_y)
            return losses.sum(), (losses.detach(), before)

        gradients, (losses, before) = torch.func.grad(query_loss, has_aux=True)(theta.expand(len(x), -1))
        gradient = gradients.mean(0)
        norm = length(gradient)
        state = (theta, mean, square)
        new = adam_update(*state, gradient, norm, rates, betas=betas, epsilon=epsilon)
        copy_if_finite(state, new, torch.isfinite(norm) & torch.isfinite(losses).all())
        return torch.cat([losses, before, norm.unsqueeze(0)])

    return meta_step


def reptile(parts: StepSpec) -> Function:
    """Return a function that performs a meta-step of Reptile on whole support sets (Nichol et al. 2018, Algorithm 2).

    The inputs of the function are θ, support x and y, query x and y, and rates [2]: the inner and the outer learning
    rate.
    """

    def meta_step(theta: Tensor, x: Tensor, y: Tensor, query_x: Tensor, query_y: Tensor, rates: Tensor) -> Tensor:
        inner_lr, outer_lr = rates.unbind()
        start = parts.flat.unflatten(theta.expand(len(x), -1))
        stack, before = parts.adapted(start, x, y, inner_lr, constant=True)
        losses = parts.loss(parts.forward(stack, query_x), query_y)
        reached = torch.cat([stack[name].flatten(1) for name in parts.flat.shapes], dim=1)
        change = reached.mean(0) - theta
        norm = length(change)
        copy_if_finite((theta,), (theta + outer_lr * change,), torch.isfinite(norm) & torch.isfinite(losses).all())
        return torch.cat([losses, before, norm.unsqueeze(0)])

    return meta_step
