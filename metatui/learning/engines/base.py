"""The base class of engines, which compute inner loops and meta-gradients.

Engines differ only in speed and memory; all compute the same numbers. In shapes, T is the number of tasks and B the
number of examples of one task. A *stack* is a dict of parameters with a leading task axis.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, TypeVar

import torch
from torch import Tensor, nn
from torch.func import functional_call

from metatui.learning.algorithm import Algorithm
from metatui.learning.data.episodes import Episodes
from metatui.learning.engines.second_order import GradientResult, Objective, first_order, recomputed, unrolled
from metatui.learning.engines.sequential import is_chain, is_perceptron, split_model
from metatui.learning.engines.task import Forward, Network, Order, Task
from metatui.learning.optim.inner import InnerLoop, Params
from metatui.learning.optim.losses import Loss

R = TypeVar("R")

SecondOrder = Literal["auto", "unrolled", "recomputed"]

GRAPH_OF_GRADIENT = 3
"""Memory of the graph of a gradient, as a multiple of the memory of the graph of a prediction. The graph of a gradient
holds the tensors of the forward pass, of the backward pass, and of the backward pass through both."""


@dataclass(frozen=True)
class MetaGradient:
    """The gradient of the meta-loss, with losses and predictions. All tensors are detached."""

    loss: Tensor
    """[T], query loss of each task after adaptation. The mean over the tasks is the meta-loss."""
    gradients: Params
    """Gradients of the meta-loss with respect to the meta-parameters, keyed by name."""
    outputs: Tensor
    """[T, B, ...], predictions for the query set after adaptation."""
    support_loss: Tensor
    """[T], support loss before adaptation."""

    @classmethod
    def of_tasks(cls, tasks: list[GradientResult], gradients: Params) -> MetaGradient:
        """Combine the results of single tasks; `gradients` is the mean of their gradients."""
        return cls(
            loss=torch.stack([task.loss for task in tasks]),
            gradients=gradients,
            outputs=torch.stack([task.outputs.detach() for task in tasks]),
            support_loss=torch.stack([task.support_loss for task in tasks]),
        )

    @classmethod
    def of_stack(cls, stack: GradientResult) -> MetaGradient:
        """Return the results of a stack of tasks, with the gradients averaged over their leading task axis."""
        gradients = {name: g.mean(0) for name, g in stack.gradients.items()}
        return cls(stack.loss, gradients, stack.outputs, stack.support_loss)


@dataclass(frozen=True)
class Adaptation:
    """The state of the inner loop after one step."""

    params: Params
    """Each task's parameters after this inner step, with a leading task axis."""
    support_loss: Tensor | None
    """[T], loss on the examples of this step before the step is taken. None at step 0 and for steps that compute no
    gradient."""


class Engine(ABC):
    """An implementation of inner loops and meta-gradients for one model and one loss.

    Parameters that do not require gradients are not adapted. A subclass must override `meta_gradient`, and either
    `support_gradients` or, if its inner loop differs from the default, `adapt`.
    """

    name: ClassVar[str]
    capturable: ClassVar[bool] = True
    """Whether `meta_gradient` can be captured as a CUDA graph. For this, it must never wait for the device, and must
    accept a learning rate that is a tensor on the device."""

    def __init__(self, model: nn.Module, loss: Loss, second_order: SecondOrder = "auto") -> None:
        self.model = model
        self.loss = loss
        self.second_order = second_order
        self._networks: dict[frozenset[str], Network] = {}
        self.is_chain = is_chain(model)
        self.is_perceptron = self.is_chain and is_perceptron(model)

    @abstractmethod
    def meta_gradient(self, theta: Params, episodes: Episodes, inner: InnerLoop, *, first_order: bool) -> MetaGradient:
        """Compute the gradient of the mean query loss after `inner.steps` steps of adaptation from `theta`.

        With `first_order`, inner gradients are treated as constants (Finn et al. 2017, section 5.2). The result is then
        the mean over tasks of the query gradient at the adapted parameters.
        """

    def differentiate(
        self, task: Objective, start: Params, episodes: Episodes, inner: InnerLoop, first: bool
    ) -> GradientResult:
        """Compute the meta-gradient of one task or of a stack of tasks.

        Args:
            first: whether to use the first-order approximation instead of the configured second-order method.
        """
        if first:
            return first_order(task, start, inner)
        return recomputed(task, start, inner) if self.recomputes(episodes, inner) else unrolled(task, start, inner)

    def recomputes(self, episodes: Episodes, inner: InnerLoop) -> bool:
        """Return whether second-order gradients are computed with Hessian-vector products instead of a stored graph.

        Hessian-vector products evaluate each inner step twice. The results are correct only for steps of plain SGD, and
        only for plain chains (see `is_chain`), whose forward pass has neither state nor randomness. With the method
        `auto`, the graph of the inner steps is stored if it needs no more memory than the graph of the query set, which
        is always stored.
        """
        if not self.is_chain or not inner.is_sgd:
            return False
        if self.second_order != "auto":
            return self.second_order == "recomputed"
        graph = GRAPH_OF_GRADIENT * inner.steps * episodes.support_x.shape[1]
        return inner.steps > 1 and graph > episodes.query_x.shape[1] and not self.is_perceptron

    # Any algorithm

    def unsupported(self, algorithm: Algorithm) -> str | None:
        """Return the reason why this engine cannot compute `algorithm`, or None if it can."""
        return None

    def meta_gradient_of(
        self, algorithm: Algorithm, meta: Params, episodes: Episodes, *, at_once: int = 0
    ) -> MetaGradient:
        """Compute the meta-gradient of `algorithm` at `meta`, with at most `at_once` tasks in memory (0: no limit)."""

        def compute(part: Episodes) -> MetaGradient:
            if (inner := algorithm.plain) is None:
                return self.general_meta_gradient(algorithm, meta, part)
            theta = {name: meta[name] for name in algorithm.parameters}
            return self.meta_gradient(theta, part, inner, first_order=not algorithm.second_order)

        return _in_parts(compute, episodes, at_once)

    def general_meta_gradient(self, algorithm: Algorithm, meta: Params, episodes: Episodes) -> MetaGradient:
        """Compute the meta-gradient task by task, using the `meta_gradient` method of `algorithm`."""
        order: Order = "second" if algorithm.second_order else "first"

        def one(t: int) -> GradientResult:
            return algorithm.meta_gradient(self.task(algorithm, episodes, t, order), self.to_memory_format(meta))

        tasks = self.map_tasks(one, len(episodes))
        return MetaGradient.of_tasks(tasks, {name: mean([task.gradients[name] for task in tasks]) for name in meta})

    def adaptation(self, algorithm: Algorithm, meta: Params, episodes: Episodes, steps: int) -> Iterator[Adaptation]:
        """Adapt to the support sets with `algorithm`, and yield the states after 0 to `steps` inner steps.

        No autograd graph is kept.
        """
        if (inner := algorithm.plain) is not None:
            theta = {name: meta[name] for name in algorithm.parameters}
            return self.adapt(theta, episodes.support_x, episodes.support_y, replace(inner, steps=steps))
        return self.general_adaptation(algorithm, meta, episodes, steps, None)

    def general_adaptation(
        self, algorithm: Algorithm, meta: Params, episodes: Episodes, steps: int, order: Tensor | None
    ) -> Iterator[Adaptation]:
        """Adapt to one task after another, using the `adapt` method of `algorithm`. Yields the same as `adaptation`."""
        tasks = [self.task(algorithm, episodes, t, "none", order) for t in range(len(episodes))]
        paths = [algorithm.adapt(task, self.to_memory_format(meta), steps) for task in tasks]
        for step in range(steps + 1):
            stack = stack_params(self.map_tasks(lambda t: detach_params(next(paths[t])), len(tasks)))
            losses = [loss for task in tasks if (loss := task.loss_before_step(step)) is not None]
            yield Adaptation(stack, torch.stack(losses) if losses else None)

    def evaluation(
        self, algorithm: Algorithm, meta: Params, episodes: Episodes, steps: int
    ) -> Iterator[tuple[Params, Tensor]]:
        """Adapt to the support sets and predict the query sets, without an autograd graph.

        Layers before the first adapted layer are evaluated only once, not at every inner step.

        Yields:
            The stack of parameters and the predictions [T, B, ...] at inner steps 0 to `steps`.
        """
        if algorithm.plain is None:
            yield from self.general_evaluation(algorithm, meta, episodes, steps)
        else:
            for step in self.adaptation(algorithm, meta, episodes, steps):
                yield step.params, self.predictions(algorithm, step.params, episodes, episodes.query_x)

    def general_evaluation(
        self, algorithm: Algorithm, meta: Params, episodes: Episodes, steps: int
    ) -> Iterator[tuple[Params, Tensor]]:
        """Evaluate `algorithm` task by task, using its `adapt` method. Yields the same as `evaluation`."""
        tasks = [self.task(algorithm, episodes, t, "none") for t in range(len(episodes))]
        paths = [algorithm.adapt(task, self.to_memory_format(meta), steps) for task in tasks]

        def one(t: int) -> tuple[Params, Tensor]:
            params = detach_params(next(paths[t]))
            with torch.no_grad():
                return params, algorithm.predict(tasks[t], params, tasks[t].query_x)

        for _ in range(steps + 1):
            params, outputs = zip(*self.map_tasks(one, len(tasks)), strict=True)
            yield stack_params(list(params)), torch.stack(outputs)

    def adapted(
        self, algorithm: Algorithm, meta: Params, episodes: Episodes, order: Tensor | None = None
    ) -> tuple[Params, Tensor]:
        """Adapt as in training. Return the final stack of parameters and the support losses [T] before adaptation."""
        steps = algorithm.inner_steps
        if (inner := algorithm.plain) is not None:
            theta = {name: meta[name] for name in algorithm.parameters}
            return self.adapt_final(theta, episodes.support_x, episodes.support_y, inner, order)
        path = self.general_adaptation(algorithm, meta, episodes, steps, order)
        start = next(path).params
        before: Tensor | None = None
        for step in path:
            before = step.support_loss if before is None else before
        if before is None:  # no step computes a gradient
            before = self.loss.each(self.outputs(start, episodes.support_x), episodes.support_y)
        return step.params, before

    def predictions(self, algorithm: Algorithm, stack: Params, episodes: Episodes, x: Tensor) -> Tensor:
        """Return the predictions [T, B, ...] for x [T, B, ...] with adapted parameters, without an autograd graph."""
        if type(algorithm).predict is Algorithm.predict:
            return self.outputs(stack, x)

        @torch.no_grad()
        def one(t: int) -> Tensor:
            return algorithm.predict(self.task(algorithm, episodes, t, "none"), task_of(stack, t), x[t])

        return torch.stack(self.map_tasks(one, len(x)))

    def task(
        self, algorithm: Algorithm, episodes: Episodes, t: int | None, order: Order, mini_batches: Tensor | None = None
    ) -> Task:
        """Return task `t` of `episodes` as a `Task`, the type that the methods of `algorithm` take.

        If `t` is None, return all tasks as one stacked `Task`.
        """
        changing, head = algorithm.changing, frozenset(algorithm.head)
        if t is not None:
            episodes = Episodes(*(tensor[t] for tensor in episodes.tensors()))
            mini_batches = None if mini_batches is None else mini_batches[t]
        return Task(
            lambda: self.network(changing),
            lambda: self.network(head),
            self.loss.each if t is None else self.loss.one,
            episodes,
            order=order,
            stacked=t is None,
            mini_batches=mini_batches,
        )

    def network(self, changing: frozenset[str]) -> Network:
        """Return the model, divided before the first layer that has a parameter in `changing`."""
        if changing not in self._networks:
            self._networks[changing] = self.make_network(changing)
        return self._networks[changing]

    def make_network(self, changing: frozenset[str]) -> Network:
        """Divide the model before the first layer with a parameter in `changing`. `network` caches the result."""
        body, head = split_model(self.model, changing)
        return Network(
            None if body is None else self.forward_of(body, twice=False),
            self.forward_of(head, twice=True),
            self.forward_of(head, twice=False),
        )

    def forward_of(self, part: nn.Module, *, twice: bool) -> Forward:
        """Return the forward pass of a part of the model as a function of parameters.

        Args:
            twice: whether the function must be twice differentiable.
        """
        names = [name for name, _ in part.named_parameters()]

        def forward(params: Params, x: Tensor) -> Tensor:
            predicted: Tensor = functional_call(part, {n: params[n] for n in names if n in params}, (x,))
            return predicted

        return forward

    def to_memory_format(self, meta: Params) -> Params:
        """Return meta-parameters in the memory format that is fastest for this engine."""
        return meta

    # Gradient steps on all parameters

    def adapt(
        self, theta: Params, x: Tensor, y: Tensor, inner: InnerLoop, order: Tensor | None = None
    ) -> Iterator[Adaptation]:
        """Adapt `theta` to the support sets, and yield the states after 0 to `inner.steps` steps.

        No autograd graph is kept.

        Args:
            x: inputs [T, B, ...].
            y: targets [T, B, ...].
            order: int64 [T, steps, b], indices of the examples of each step; None if every step uses all examples.
        """
        stack, update = expand_params(theta, len(x)), inner.start(stacked=True)
        yield Adaptation(stack, None)
        for step in range(inner.steps):
            gradients, losses = self.support_gradients(stack, *step_batch(x, y, order, step))
            stack = update(stack, gradients)
            yield Adaptation(stack, losses)

    def support_gradients(self, stack: Params, x: Tensor, y: Tensor) -> tuple[Params, Tensor]:
        """Compute the stack of gradients of the tasks' support losses, and the losses [T], for an inner step.

        Only the default `adapt` calls this method.
        """
        raise NotImplementedError

    def adapt_final(
        self, theta: Params, x: Tensor, y: Tensor, inner: InnerLoop, order: Tensor | None = None
    ) -> tuple[Params, Tensor]:
        """Adapt as `adapt` does. Return the final stack of parameters and the support losses [T] before adaptation."""
        return _last(self.adapt(theta, x, y, inner, order))

    def outputs(self, stack: Params, x: Tensor) -> Tensor:
        """Predict [T, B, ...] from x [T, B, ...], using a stack of parameters. No autograd graph is kept."""

        @torch.no_grad()
        def one(t: int) -> Tensor:
            return self.forward(task_of(stack, t), x[t])

        return torch.stack(self.map_tasks(one, len(x)))

    def map_tasks(self, one: Callable[[int], R], tasks: int) -> list[R]:
        """Call `one` with each task number from 0 to `tasks` - 1. Return the results in the order of the tasks."""
        return [one(t) for t in range(tasks)]

    def forward(self, params: Params, x: Tensor) -> Tensor:
        """Return the predictions made with one task's parameters."""
        predicted: Tensor = functional_call(self.model, params, (x,))
        return predicted


def _last(path: Iterator[Adaptation]) -> tuple[Params, Tensor]:
    """Return the stack of parameters after the last step, and the support losses [T] before the first step."""
    first: Tensor | None = None
    for step in path:
        first = step.support_loss if first is None else first
    assert first is not None
    return step.params, first


def _in_parts(compute: Callable[[Episodes], MetaGradient], episodes: Episodes, at_once: int) -> MetaGradient:
    """Compute a meta-gradient with at most `at_once` tasks in memory at the same time; 0 means no limit."""
    parts = [(len(tasks), compute(part)) for tasks, part in microbatches(episodes, at_once)]
    if len(parts) == 1:
        return parts[0][1]
    weights = [count / len(episodes) for count, _ in parts]
    results = [result for _, result in parts]
    return MetaGradient(
        loss=torch.cat([result.loss for result in results]),
        gradients={
            name: torch.stack([w * r.gradients[name] for w, r in zip(weights, results, strict=True)]).sum(0)
            for name in results[0].gradients
        },
        outputs=torch.cat([result.outputs for result in results]),
        support_loss=torch.cat([result.support_loss for result in results]),
    )


def microbatches(episodes: Episodes, at_once: int) -> Iterator[tuple[range, Episodes]]:
    """Split episodes into parts of at most `at_once` tasks, or into one part if `at_once` is 0.

    Yields:
        The indices of the tasks in a part, and the part.
    """
    tasks = range(len(episodes))
    if not 0 < at_once < len(tasks):
        yield tasks, episodes
        return
    for start in tasks[::at_once]:
        rows = tasks[start : start + at_once]
        yield rows, episodes.chunk(rows.start, rows.stop)


def mean(tensors: list[Tensor]) -> Tensor:
    """Average tensors in the order of the tasks, so that the result does not depend on which thread finishes first."""
    total = tensors[0].clone()
    for tensor in tensors[1:]:
        total += tensor
    return total.div_(len(tensors))


def detach_params(params: Params) -> Params:
    """Return the same parameters, detached from their graph."""
    return {name: p.detach() for name, p in params.items()}


def task_of(stack: Params, task: int) -> Params:
    """Return one task's parameters from a stack."""
    return {name: p[task] for name, p in stack.items()}


def stack_params(tasks: list[Params]) -> Params:
    """Stack the parameters of several tasks."""
    return {name: torch.stack([params[name] for params in tasks]) for name in tasks[0]}


def expand_params(theta: Params, tasks: int) -> Params:
    """Return a stack in which every task has the parameters `theta`, as views of the same memory."""
    return {name: p.detach().expand(tasks, *p.shape) for name, p in theta.items()}


def step_batch(x: Tensor, y: Tensor, order: Tensor | None, step: int) -> tuple[Tensor, Tensor]:
    """Select the examples of one inner step.

    Args:
        order: int64 [T, steps, b], see `Engine.adapt`.

    Returns:
        Inputs and targets [T, b, ...].
    """
    if order is None:
        return x, y
    rows = torch.arange(len(x), device=x.device).unsqueeze(1)
    return x[rows, order[:, step]], y[rows, order[:, step]]


def meta_parameters(model: nn.Module) -> Params:
    """Return the parameters of `model` that require gradients, keyed by name."""
    return {name: p for name, p in model.named_parameters() if p.requires_grad}
