"""Three ways to the gradient of the query loss after adaptation. All are exact for what they compute.

They serve one task, whose losses are scalars, and a stack of tasks, whose losses are [T]: tasks do not touch each
other, so the gradient of the sum of their losses with respect to the stack is the stack of their gradients.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor
from torch.autograd import grad

from metatui.learning.optim.inner import InnerLoop, Params, sgd_step


@dataclass(frozen=True)
class Objective:
    """What adaptation descends on, and what it is judged by."""

    support: Callable[[Params], Tensor]
    """Parameters to support loss: a scalar or [T]."""
    support_once: Callable[[Params], Tensor]
    """The same, but it may be differentiable only once."""
    query: Callable[[Params], tuple[Tensor, Tensor]]
    """Parameters to query loss, a scalar or [T], and predictions; differentiable once."""


@dataclass(frozen=True)
class GradientResult:
    """A gradient with respect to where adaptation started from, in its shape, and what was seen on the way."""

    loss: Tensor
    gradients: Params
    outputs: Tensor
    support_loss: Tensor


def first_order(task: Objective, start: Params, inner: InnerLoop) -> GradientResult:
    """Inner gradients count as constants (Finn et al. 2017, section 5.2): the query gradient at what was reached."""
    fast, update, losses = start, inner.start(), []
    for _ in range(inner.steps):
        fast = leaves(fast)
        loss = task.support_once(fast)
        losses.append(loss.detach())
        fast = update(fast, gradients_of(loss.sum(), fast))
    return _judged(task, leaves(fast), losses[0])


def unrolled(task: Objective, start: Params, inner: InnerLoop) -> GradientResult:
    """Through the graph of all inner steps, which is kept whole (Finn et al. 2017, equation 1)."""
    fast = start = leaves(start)
    update, losses = inner.start(), []
    for _ in range(inner.steps):
        loss = task.support(fast)
        losses.append(loss.detach())
        fast = update(fast, gradients_of(loss.sum(), fast, create_graph=True))
    return _judged(task, fast, losses[0], start)


def recomputed(task: Objective, start: Params, inner: InnerLoop) -> GradientResult:
    """The query gradient pulled back through one inner step of gradient descent after the other.

    θ_k+1 = θ_k - α ∇L(θ_k) has the Jacobian I - α H_k, which is symmetric: v ← v - α H_k v, from the last step to the
    first, with the Hessian-vector product taken at the kept θ_k. Only one step's graph is there at a time, so memory
    for activations does not grow with the number of steps; each step's gradient is computed twice.
    """
    fast, update, losses, trajectory = start, inner.start(), [], []
    for _ in range(inner.steps):
        fast = leaves(fast)
        trajectory.append(fast)
        loss = task.support_once(fast)
        losses.append(loss.detach())
        fast = update(fast, gradients_of(loss.sum(), fast))
    found = _judged(task, leaves(fast), losses[0])
    v = found.gradients
    for theta in reversed(trajectory):
        v = sgd_step(v, _hessian_vector_product(task, theta, v), inner.lr)
    return GradientResult(found.loss, v, found.outputs, found.support_loss)


def _hessian_vector_product(task: Objective, theta: Params, v: Params) -> Params:
    gradients = gradients_of(task.support(theta).sum(), theta, create_graph=True)
    curved = {name: g for name, g in gradients.items() if g.requires_grad}
    found = grad(
        list(curved.values()), list(theta.values()), [v[name] for name in curved], materialize_grads=True
    )  # fmt: skip
    return dict(zip(theta, found, strict=True))


def _judged(task: Objective, fast: Params, support_loss: Tensor, start: Params | None = None) -> GradientResult:
    loss, outputs = task.query(fast)
    gradients = gradients_of(loss.sum(), fast if start is None else start)
    return GradientResult(loss.detach(), gradients, outputs.detach(), support_loss)


def leaves(params: Params) -> Params:
    """The same values as the start of a graph."""
    return {name: p.detach().requires_grad_() for name, p in params.items()}


def gradients_of(loss: Tensor, params: Params, *, create_graph: bool = False) -> Params:
    """The gradient of a scalar `loss` with respect to each of `params`; zeros for one that it does not depend on."""
    found = grad(loss, list(params.values()), create_graph=create_graph, materialize_grads=True)
    return dict(zip(params, found, strict=True))
