"""The batched engine, which computes all tasks together, each with its own weights.

The gradient of the *sum* of the tasks' losses with respect to a stack of weights is the stack of the tasks' gradients,
because no task depends on another's weights. So one backward pass is enough for all tasks, and each operation is
dispatched only once. For small networks, this saves most of the run time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext

import torch
from torch import Tensor, nn
from torch.func import functional_call

from metatui.learning.algorithm import Algorithm
from metatui.learning.data.episodes import Episodes
from metatui.learning.engines.base import (
    Adaptation,
    Engine,
    MetaGradient,
    SecondOrder,
    detach_params,
    expand_params,
)
from metatui.learning.engines.layers.convolution import GroupedConvolutions
from metatui.learning.engines.layers.im2col import with_unfolded_convolutions
from metatui.learning.engines.second_order import Objective, gradients_of, leaves
from metatui.learning.engines.sequential import is_chain, is_perceptron
from metatui.learning.engines.task import Forward
from metatui.learning.optim.inner import InnerLoop, Params
from metatui.learning.optim.losses import Loss

StackedForward = Callable[[Params, Tensor], Tensor]
"""Function of a stack of parameters and x [T, B, ...] that returns predictions [T, B, ...]."""

FUSED_NUMEL = 64 * 64
"""`fused_forward` replaces matrix products with sums of elementwise products for weight matrices of at most this many
elements. In measurements, the sums were a fifth faster than the products for 40 x 40 elements, and slower for
256 x 256."""


class BatchedEngine(Engine):
    """Engine that computes every operation on all tasks together."""

    name = "batched"

    def __init__(
        self, model: nn.Module, loss: Loss, second_order: SecondOrder = "auto", *, unfold: bool = False
    ) -> None:
        """Create the engine.

        Args:
            unfold: whether to compute convolutions as matrix products (im2col).
        """
        super().__init__(model, loss, second_order)
        if unfold:
            self.model = with_unfolded_convolutions(model)
        self.forward_each = stacked_forward(self.model, perceptron=self.is_perceptron)

    def meta_gradient(self, theta: Params, episodes: Episodes, inner: InnerLoop, *, first_order: bool) -> MetaGradient:
        def support(stack: Params) -> Tensor:
            return self.loss.each(self.forward_each(stack, episodes.support_x), episodes.support_y)

        def query(stack: Params) -> tuple[Tensor, Tensor]:
            predicted = self.forward_each(stack, episodes.query_x)
            return self.loss.each(predicted, episodes.query_y), predicted

        start = expand_params(theta, len(episodes))
        objective = Objective(support, support, query, stacked=True)
        return MetaGradient.of_stack(self.differentiate(objective, start, episodes, inner, first_order))

    def general_meta_gradient(self, algorithm: Algorithm, meta: Params, episodes: Episodes) -> MetaGradient:
        task = self.task(algorithm, episodes, None, "second" if algorithm.second_order else "first")
        return MetaGradient.of_stack(algorithm.meta_gradient(task, expand_params(meta, len(episodes))))

    def general_adaptation(
        self, algorithm: Algorithm, meta: Params, episodes: Episodes, steps: int, order: Tensor | None
    ) -> Iterator[Adaptation]:
        task = self.task(algorithm, episodes, None, "none", order)
        for step, params in enumerate(algorithm.adapt(task, expand_params(meta, len(episodes)), steps)):
            yield Adaptation(detach_params(params), task.loss_before_step(step))

    def general_evaluation(
        self, algorithm: Algorithm, meta: Params, episodes: Episodes, steps: int
    ) -> Iterator[tuple[Params, Tensor]]:
        task = self.task(algorithm, episodes, None, "none")
        for params in map(detach_params, algorithm.adapt(task, expand_params(meta, len(episodes)), steps)):
            with torch.no_grad():
                outputs = algorithm.predict(task, params, task.query_x)
            yield params, outputs

    def forward_of(self, part: nn.Module, *, twice: bool) -> Forward:
        forward = stacked_forward(part, perceptron=is_chain(part) and is_perceptron(part))
        names = [name for name, _ in part.named_parameters()]
        return lambda params, x: forward({name: params[name] for name in names if name in params}, x)

    def support_gradients(self, stack: Params, x: Tensor, y: Tensor) -> tuple[Params, Tensor]:
        fast = leaves(stack)
        losses = self.loss.each(self.forward_each(fast, x), y)
        return gradients_of(losses.sum(), fast), losses.detach()

    def outputs(self, stack: Params, x: Tensor) -> Tensor:
        with torch.no_grad():
            return self.forward_each(stack, x)


def stacked_forward(model: nn.Module, *, perceptron: bool) -> StackedForward:
    """Vectorise the forward pass of `model` over stacks of its parameters.

    Perceptrons are written out as batched matrix products, which take a third of the time of torch.vmap on small
    networks. For other modules, torch.vmap vectorises only the forward pass. Gradients are computed outside
    torch.vmap, on plain tensors, because inside it the second derivative of an affine batch, layer or instance norm is
    silently wrong (pytorch/functorch#534).

    Args:
        perceptron: whether `is_perceptron(model)` is True.

    Returns:
        A function of a stack of parameters and x [T, B, ...] that returns predictions [T, B, ...].
    """

    def one(params: Params, x: Tensor) -> Tensor:
        with GroupedConvolutions() if x.device.type == "cuda" else nullcontext():
            predicted: Tensor = functional_call(model, params, (x,))
        return predicted

    vectorised: StackedForward = torch.vmap(one, randomness="different")
    if not perceptron:
        return vectorised
    products = _perceptron(list(model.named_children()))
    return lambda params, x: (products if x.dim() == 3 else vectorised)(params, x)


def fused_forward(model: nn.Module) -> StackedForward:
    """Return the stacked forward pass of a perceptron, for the compiler.

    Small matrix products are written as sums of products, which the compiler vectorises and fuses with the surrounding
    operations. A batched matrix product would become a library call, which cannot be fused.
    """
    return _perceptron(list(model.named_children()), fused_numel=FUSED_NUMEL)


def _perceptron(layers: list[tuple[str, nn.Module]], fused_numel: int = 0) -> StackedForward:
    def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if weight.shape[1:].numel() <= fused_numel:
            product = (x.unsqueeze(2) * weight.unsqueeze(1)).sum(-1)
            return product if bias is None else product + bias.unsqueeze(1)
        if bias is None:
            return torch.bmm(x, weight.transpose(1, 2))
        return torch.baddbmm(bias.unsqueeze(1), x, weight.transpose(1, 2))

    def forward(params: Params, x: Tensor) -> Tensor:
        for name, layer in layers:
            if isinstance(layer, nn.Linear):
                x = linear(x, params[f"{name}.weight"], params.get(f"{name}.bias"))
            else:
                x = layer(x)
        return x

    return forward
