"""A task as an algorithm sees it: the task's data, losses on these data, and derivatives of the losses."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from metatui.learning.data.episodes import Episodes
from metatui.learning.engines.second_order import GradientResult, gradients_of, hessian_vector_product, leaves
from metatui.learning.optim.inner import Params
from metatui.learning.optim.losses import LossFn
from metatui.utils.errors import BadInput

if TYPE_CHECKING:
    from metatui.learning.algorithm import Algorithm

Order = Literal["none", "first", "second"]
"""Order of derivatives with respect to the meta-parameters: none, first order with inner gradients as constants, or
second order through the inner gradients."""

Forward = Callable[[Params, Tensor], Tensor]
"""Function that maps parameters, some of which may be unused, and x [..., B, ...] to outputs."""


@dataclass(frozen=True)
class Network:
    """The model, divided into a head and a body. The parameters of the body stay the same during adaptation."""

    body: Forward | None
    """Function of the layers before the head; None if the head is the whole model."""
    head: Forward
    """Function of the layers after the body. Its result can be differentiated twice."""
    head_once: Forward
    """The same function as `head`, but its result may be differentiable only once."""


class Task:
    """One task, or a stack of tasks. The tensors of a stack have a leading task axis."""

    def __init__(
        self,
        network: Callable[[], Network],
        embedding: Callable[[], Network],
        loss: LossFn,
        episodes: Episodes,
        *,
        order: Order,
        stacked: bool,
        mini_batches: Tensor | None = None,
    ) -> None:
        """Create the task.

        Args:
            network: function that returns the model of the current thread, split before the first layer that changes
                during adaptation. Inner steps of a task may run in different threads.
            embedding: function that returns the same model, split before its last layer. It returns the same object as
                `network` if the model is split at the same layer.
            loss: function that maps predictions and targets to a scalar, or to [T] for a stack.
            episodes: a stack of tasks, or a single task without the task axis.
            mini_batches: int64 [..., steps, b], the support examples that each inner step uses; None if every step
                uses all examples.
        """
        self.is_stack = stacked
        self.support_x, self.support_y, self.query_x, self.query_y = episodes.tensors()
        self._get_network = network
        self._embedding = embedding
        self._loss = loss
        self._order = order
        self._mini_batches = mini_batches
        self._features: dict[str, Tensor] = {}
        """Outputs of the body for `support_x` and `query_x`."""
        self.support_losses: list[Tensor] = []
        """Support losses before each of the inner steps taken so far, detached from the graph."""

    # The model and its losses

    @property
    def _network(self) -> Network:
        return self._get_network()

    def outputs(self, params: Params, x: Tensor) -> Tensor:
        """Return the predictions of the model with `params` for x [..., B, ...]."""
        return self._forward(params, x, self._network.head_once)

    def features(self, params: Params, x: Tensor) -> Tensor:
        """Return the input of the model's last layer, [..., B, D]."""
        network = self._embedding()
        if network is self._network:
            return self._body(params, x, differentiable=True)
        if network.body is None:
            raise BadInput(
                "the algorithm needs the features before the model's last layer, but the model is not an nn.Sequential "
                "that ends with a linear layer: use another model or algorithm"
            )
        return network.body(params, x)

    def loss(self, params: Params) -> Tensor:
        """Return the support loss: a scalar, or [T] for a stack."""
        x, y = self._step_batch()
        head = self._network.head if self._order == "second" else self._network.head_once
        return self._loss(self._forward(params, x, head), y)

    def gradient(self, params: Params, names: Iterable[str]) -> Params:
        """Return the gradient of the support loss with respect to the parameters `names`.

        If the engine computes a second-order meta-gradient, the result can be differentiated. Otherwise, the result is
        a constant.
        """
        second = self._order == "second"
        wrt = {name: params[name] for name in names}
        if second:
            # Parameters that start at constants are not part of a graph yet.
            wrt = {name: p if p.requires_grad else p.detach().requires_grad_() for name, p in wrt.items()}
            params = params | wrt
        else:
            wrt = leaves(wrt)
            params = {name: p.detach() for name, p in params.items()} | wrt
        loss = self.loss(params)
        self.support_losses.append(loss.detach())
        return gradients_of(loss.sum(), wrt, create_graph=second)

    def hessian_vector_product(self, params: Params, v: Params) -> Params:
        """Multiply `v` by the Hessian of the support loss with respect to those parameters that are in `v`."""
        constant = {name: p.detach() for name, p in params.items()}

        def support_loss(moved: Params) -> Tensor:
            return self._loss(self._forward(constant | moved, self.support_x, self._network.head), self.support_y)

        return hessian_vector_product(support_loss, leaves({name: params[name] for name in v}), v)

    def dot(self, a: Params, b: Params) -> Tensor:
        """Return the inner product of two sets of parameters: a scalar, or [T] for a stack."""
        leading = a[next(iter(a))].shape[: int(self.is_stack)]
        return torch.stack([(a[name] * b[name]).reshape(*leading, -1).sum(-1) for name in a]).sum(0)

    def scaled(self, factor: Tensor, params: Params) -> Params:
        """Multiply the parameters of each task by the task's factor; `factor` has the shape that `dot` returns."""
        if not self.is_stack:
            return {name: factor * p for name, p in params.items()}
        return {name: factor.view(-1, *[1] * (p.dim() - 1)) * p for name, p in params.items()}

    # Training

    def differentiate(self, algorithm: Algorithm, meta: Params) -> GradientResult:
        """Compute the gradient of the query loss after adaptation with respect to `meta`, through all inner steps.

        If the algorithm has `query_weights`, the weighted sum of the query losses at all steps is differentiated. The
        returned loss is always the query loss after the last inner step.
        """
        steps, weights = algorithm.inner_steps, algorithm.query_weights
        start = leaves(meta)
        total: Tensor | None = None
        for step, params in enumerate(algorithm.adapt(self, start, steps)):
            if step == 0:
                first = params
            weight = 1.0 if weights is None and step == steps else 0.0 if weights is None else weights[step]
            if not weight and step < steps:
                continue
            loss, outputs = self.query(algorithm, params)
            if weight:
                part = loss if weight == 1 else weight * loss
                total = part if total is None else total + part
        assert total is not None
        gradients = gradients_of(total.sum(), start)
        return GradientResult(loss.detach(), gradients, outputs.detach(), self.support_loss_before(first))

    def query_gradient(self, algorithm: Algorithm, params: Params) -> GradientResult:
        """Compute the gradient of the query loss at `params` with respect to the learned parameters of the model.

        The gradient does not pass through the inner steps.
        """
        wrt = leaves({name: params[name] for name in algorithm.parameters})
        loss, outputs = self.query(algorithm, params | wrt)
        return GradientResult(
            loss.detach(), gradients_of(loss.sum(), wrt), outputs.detach(), self.support_loss_before(params)
        )

    def query(self, algorithm: Algorithm, params: Params) -> tuple[Tensor, Tensor]:
        """Return the query loss at `params` (a scalar or [T]) and the predictions."""
        outputs = algorithm.predict(self, params, self.query_x)
        return self._loss(outputs, self.query_y), outputs

    def loss_before_step(self, step: int) -> Tensor | None:
        """Return the support loss before inner step `step` (from 1), or None if that step computed no gradient."""
        return self.support_losses[step - 1] if 0 < step <= len(self.support_losses) else None

    def support_loss_before(self, params: Params) -> Tensor:
        """Return the support loss of `params` before the first inner step, detached from the graph."""
        if not self.support_losses:
            with torch.no_grad():
                self.support_losses.append(self.loss(params))
        return self.support_losses[0]

    def _forward(self, params: Params, x: Tensor, head: Forward) -> Tensor:
        return head(params, self._body(params, x))

    def _body(self, params: Params, x: Tensor, *, differentiable: bool = False) -> Tensor:
        """Return the input of the head: the output of the body for x, or x itself if there is no body.

        Args:
            differentiable: whether a first-order meta-gradient also passes through the features of the support set. It
                always passes through the features of the query set.
        """
        if self._network.body is None:
            return x
        if x is not self.support_x and x is not self.query_x:
            return self._network.body(params, x)
        kind = "query" if x is self.query_x else "support"
        # For first-order meta-gradients, inner gradients are constants: they are not differentiated through the body.
        differentiable = self._order == "second" or (self._order == "first" and (differentiable or kind == "query"))
        if kind not in self._features or (differentiable and not self._features[kind].requires_grad):
            with torch.set_grad_enabled(differentiable):
                self._features[kind] = self._network.body(params, x)
        return self._features[kind]

    def _step_batch(self) -> tuple[Tensor, Tensor]:
        """Return the support examples of the current inner step."""
        if self._mini_batches is None:
            return self.support_x, self.support_y
        rows = self._mini_batches.select(-2, len(self.support_losses))
        if not self.is_stack:
            return self.support_x[rows], self.support_y[rows]
        tasks = torch.arange(len(rows), device=rows.device).unsqueeze(1)
        return self.support_x[tasks, rows], self.support_y[tasks, rows]
