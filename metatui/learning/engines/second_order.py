"""Three ways to differentiate the query loss after adaptation: first order, unrolled and recomputed.

All three work for one task, with scalar losses, and for a stack of tasks, with losses [T]. Tasks are independent, so
the gradient of the sum of the tasks' losses with respect to the stack is the stack of the tasks' gradients.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor
from torch.autograd import grad

from metatui.learning.optim.inner import InnerLoop, Params, sgd_step


@dataclass(frozen=True)
class Objective:
    """The support and query losses of a task or a stack of tasks, as functions of parameters."""

    support: Callable[[Params], Tensor]
    """Function from parameters to the support loss (a scalar or [T]), which can be differentiated twice."""
    support_once: Callable[[Params], Tensor]
    """The same function as `support`, but its result may be differentiable only once."""
    query: Callable[[Params], tuple[Tensor, Tensor]]
    """Function from parameters to the query loss (a scalar or [T]) and the predictions, differentiable once."""
    stacked: bool = False
    """Whether parameters have a leading task axis."""


@dataclass(frozen=True)
class GradientResult:
    """The gradient of the query loss with respect to the initial parameters, with losses and predictions."""

    loss: Tensor
    gradients: Params
    outputs: Tensor
    support_loss: Tensor


def first_order(task: Objective, start: Params, inner: InnerLoop) -> GradientResult:
    """Compute the query gradient at the adapted parameters (FOMAML, Finn et al. 2017, section 5.2)."""
    fast, update, losses = start, inner.start(stacked=task.stacked, constant=True), []
    for _ in range(inner.steps):
        fast = leaves(fast)
        loss = task.support_once(fast)
        losses.append(loss.detach())
        fast = update(fast, gradients_of(loss.sum(), fast))
    return _query_gradient(task, leaves(fast), losses[0])


def unrolled(task: Objective, start: Params, inner: InnerLoop) -> GradientResult:
    """Differentiate through the graph of all inner steps (Finn et al. 2017, equation 1)."""
    fast = start = leaves(start)
    update, losses = inner.start(stacked=task.stacked), []
    for _ in range(inner.steps):
        loss = task.support(fast)
        losses.append(loss.detach())
        fast = update(fast, gradients_of(loss.sum(), fast, create_graph=True))
    return _query_gradient(task, fast, losses[0], start)


def recomputed(task: Objective, start: Params, inner: InnerLoop) -> GradientResult:
    """Pull the query gradient back through the inner steps with Hessian-vector products, last step first.

    The step θ_k+1 = θ_k - α ∇L(θ_k) has the symmetric Jacobian I - α H_k, where H_k is the Hessian at the stored θ_k.
    So the gradient v is pulled back through the step by v ← v - α H_k v. Only one step's graph exists at a time: memory
    for activations does not grow with the number of steps, but each step's gradient is computed twice.
    """
    fast, update, losses, trajectory = start, inner.start(stacked=task.stacked), [], []
    for _ in range(inner.steps):
        fast = leaves(fast)
        trajectory.append(fast)
        loss = task.support_once(fast)
        losses.append(loss.detach())
        fast = update(fast, gradients_of(loss.sum(), fast))
    result = _query_gradient(task, leaves(fast), losses[0])
    v = result.gradients
    for theta in reversed(trajectory):
        v = sgd_step(v, hessian_vector_product(task.support, theta, v), inner.lr)
    return GradientResult(result.loss, v, result.outputs, result.support_loss)


def hessian_vector_product(loss: Callable[[Params], Tensor], theta: Params, v: Params) -> Params:
    """Multiply `v` by the Hessian of a loss (a scalar or [T]) at the leaves `theta`."""
    gradients = gradients_of(loss(theta).sum(), theta, create_graph=True)
    curved = {name: g for name, g in gradients.items() if g.requires_grad}
    products = grad(list(curved.values()), list(theta.values()), [v[name] for name in curved], materialize_grads=True)
    return dict(zip(theta, products, strict=True))


def _query_gradient(task: Objective, fast: Params, support_loss: Tensor, start: Params | None = None) -> GradientResult:
    loss, outputs = task.query(fast)
    gradients = gradients_of(loss.sum(), fast if start is None else start)
    return GradientResult(loss.detach(), gradients, outputs.detach(), support_loss)


def leaves(params: Params) -> Params:
    """Return the same tensors as leaves of a new graph."""
    return {name: p.detach().requires_grad_() for name, p in params.items()}


def gradients_of(loss: Tensor, params: Params, *, create_graph: bool = False) -> Params:
    """Compute the gradient of a scalar `loss` with respect to each of `params`. It is 0 for unused parameters."""
    gradients = grad(loss, list(params.values()), create_graph=create_graph, materialize_grads=True)
    return dict(zip(params, gradients, strict=True))
