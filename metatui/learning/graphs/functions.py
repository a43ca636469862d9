"""A meta-step as one function of tensors, to be compiled whole: inner loops, meta-gradient and outer update.

The same mathematics as the algorithms' own files, with parameters as one vector and rates as inputs, so that turning
a knob compiles nothing. Every function moves the parameters in place, unless a loss or the gradient is not finite,
and returns the figures [3]: meta-loss, support loss before adaptation, norm of the gradient.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from metatui.learning.episodes import Episodes
from metatui.learning.flat import FlatParams
from metatui.learning.inner import Params
from metatui.learning.losses import LossFn

StackedForward = Callable[[Params, Tensor], Tensor]
Function = Callable[..., Tensor]


@dataclass(frozen=True)
class Parts:
    """What a meta-step is made of, besides its inputs."""

    flat: FlatParams
    forward: StackedForward
    """A stack of parameters and x [T, B, ...] to predictions [T, B, ...]."""
    loss: LossFn
    """Predictions and targets [T, B, ...] to one mean a task, [T]."""
    steps: int

    def adapted(self, stack: Params, x: Tensor, y: Tensor, lr: Tensor, *, constant: bool) -> tuple[Params, Tensor]:
        """θ_i' after the inner steps, and each task's support loss [T] before them.

        Args:
            constant: whether inner gradients are not differentiated through.
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

    def repeated(self, vector: Tensor, tasks: int) -> Params:
        return {name: p.expand(tasks, *p.shape) for name, p in self.flat.scattered(vector).items()}


def maml(parts: Parts, *, first_order: bool, betas: tuple[float, float], epsilon: float) -> Function:
    """MAML or FOMAML (Finn et al. 2017, Algorithm 2) with Adam as torch.optim.Adam computes it.

    The function's inputs: θ, Adam's two running means, support x and y, query x and y, and the rates [5]: inner, outer,
    the two bias corrections, and the largest norm of the gradient.
    """
    beta1, beta2 = betas

    def meta_step(
        theta: Tensor, mean: Tensor, square: Tensor, x: Tensor, y: Tensor, query_x: Tensor, query_y: Tensor,
        rates: Tensor,
    ) -> Tensor:  # fmt: skip
        inner_lr, outer_lr, correction1, correction2, clip = rates.unbind()

        def meta_loss(vector: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
            stack = parts.repeated(vector, len(x))
            stack, before = parts.adapted(stack, x, y, inner_lr, constant=first_order)
            losses = parts.loss(parts.forward(stack, query_x), query_y)
            return losses.mean(), (losses.detach(), before)

        gradient, (losses, before) = torch.func.grad(meta_loss, has_aux=True)(theta)
        norm = torch.linalg.vector_norm(gradient)
        gradient = gradient * torch.clamp(clip / norm, max=1.0)
        new_mean = torch.lerp(mean, gradient, 1 - beta1)
        new_square = square * beta2 + (1 - beta2) * gradient * gradient
        new_theta = theta - outer_lr / correction1 * new_mean / ((new_square / correction2).sqrt() + epsilon)
        fine = torch.isfinite(norm) & torch.isfinite(losses).all()
        for kept, new in ((theta, new_theta), (mean, new_mean), (square, new_square)):
            kept.copy_(torch.where(fine, new, kept))
        return torch.stack([losses.mean(), before.mean(), norm])

    return meta_step


def reptile(parts: Parts) -> Function:
    """Reptile on whole support sets (Nichol et al. 2018, Algorithm 2).

    The function's inputs: θ, support x and y, query x and y, and the rates [2]: inner and outer.
    """

    def meta_step(theta: Tensor, x: Tensor, y: Tensor, query_x: Tensor, query_y: Tensor, rates: Tensor) -> Tensor:
        inner_lr, outer_lr = rates.unbind()
        stack, before = parts.adapted(parts.repeated(theta, len(x)), x, y, inner_lr, constant=True)
        losses = parts.loss(parts.forward(stack, query_x), query_y)
        reached = torch.cat([stack[name].mean(0).reshape(-1) for name in parts.flat.shapes])
        change = reached - theta
        norm = torch.linalg.vector_norm(change)
        fine = torch.isfinite(norm) & torch.isfinite(losses).all()
        theta.copy_(torch.where(fine, theta + outer_lr * change, theta))
        return torch.stack([losses.mean(), before.mean(), norm])

    return meta_step


def tensors_of(episodes: Episodes) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The episodes as inputs of a function."""
    return episodes.support_x, episodes.support_y, episodes.query_x, episodes.query_y
