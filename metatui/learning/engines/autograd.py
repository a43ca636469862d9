"""The autograd engine, which computes one task after another with plain autograd, for any module and any loss."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import grad
from torch.func import functional_call
from torch.overrides import TorchFunctionMode

from metatui.learning.data.episodes import Episodes
from metatui.learning.engines.base import Adaptation, Engine, MetaGradient, expand_params, stack_params, step_batch
from metatui.learning.engines.second_order import GradientResult
from metatui.learning.hardware.memory import is_out_of_memory
from metatui.learning.optim.inner import InnerLoop, Params
from metatui.utils.errors import BadInput, MetatuiError, class_and_message, quote


class AutogradEngine(Engine):
    """Engine that computes each task on a fresh copy of the module, and stores the graph of all inner steps if needed.

    Any module is supported. Every task starts from the state of the caller's module, even if the forward pass changes
    the state. Random numbers are drawn in the same order as in a loop over tasks. An exception in the module, the loss
    or autograd becomes a BadInput with that exception as its cause, unless the device is out of memory.
    """

    name = "loop"

    def meta_gradient(self, theta: Params, episodes: Episodes, inner: InnerLoop, *, first_order: bool) -> MetaGradient:
        tasks = self.tasks(theta, episodes, inner, first_order=first_order)
        return MetaGradient.of_tasks(tasks, mean_gradients(tasks))

    def tasks(self, theta: Params, episodes: Episodes, inner: InnerLoop, *, first_order: bool) -> list[GradientResult]:
        """Compute the result of each task. Its `outputs` are what the module returned, which may not be a tensor."""
        return [self._task(theta, episodes, t, inner, first_order) for t in range(len(episodes))]

    def _task(self, theta: Params, episodes: Episodes, t: int, inner: InnerLoop, first_order: bool) -> GradientResult:
        model, start = self._start(theta)
        x, y = episodes.support_x[t].clone(), episodes.support_y[t].clone()  # the module may change them
        fast, update, losses = start, inner.start(constant=first_order), []
        for _ in range(inner.steps):
            loss, _ = self._loss(model, fast, x, y, f"the support set of task {t}")
            losses.append(loss.detach())
            adapted = update(fast, _gradients(loss, fast, create_graph=not first_order))
            model, fast = with_parameters(model, fast, adapted), adapted
        x, y = episodes.query_x[t].clone(), episodes.query_y[t].clone()
        loss, outputs = self._loss(model, fast, x, y, f"the query set of task {t}")
        gradients = _gradients(loss, start, through_steps=not first_order)
        return GradientResult(loss.detach(), gradients, outputs, losses[0])

    def adapt(
        self, theta: Params, x: Tensor, y: Tensor, inner: InnerLoop, order: Tensor | None = None
    ) -> Iterator[Adaptation]:
        yield Adaptation(expand_params(theta, len(x)), None)
        paths = [self._path(theta, x, y, inner, order, t) for t in range(len(x))]
        for tasks in zip(*paths, strict=True):
            yield Adaptation(stack_params([params for params, _ in tasks]), torch.stack([loss for _, loss in tasks]))

    def _path(
        self, theta: Params, x: Tensor, y: Tensor, inner: InnerLoop, order: Tensor | None, t: int
    ) -> Iterator[tuple[Params, Tensor]]:
        """Yield one task's parameters after each inner step, and the loss before that step."""
        (model, fast), update = self._start(theta), inner.start()
        for step in range(inner.steps):
            step_x, step_y = step_batch(x[t : t + 1], y[t : t + 1], None if order is None else order[t : t + 1], step)
            loss, _ = self._loss(model, fast, step_x[0].clone(), step_y[0].clone(), f"the support set of task {t}")
            adapted = _leaves(update(fast, _gradients(loss, fast)))
            model, fast = with_parameters(model, fast, adapted), adapted
            yield {name: p.detach() for name, p in fast.items()}, loss.detach()

    def forward(self, params: Params, x: Tensor) -> Tensor:
        predicted: Tensor = functional_call(copy_model(self.model), params, (x.clone(),))
        return predicted

    def _start(self, theta: Params) -> tuple[nn.Module, Params]:
        """Copy the module for one task, with its parameters as leaves of a new graph."""
        model, start = copy_model(self.model), _leaves(theta)
        own: Params = {name: p for name, p in model.named_parameters() if name in theta}
        return with_parameters(model, own, start), start

    def _loss(self, model: nn.Module, params: Params, x: Tensor, y: Tensor, where: str) -> tuple[Tensor, Any]:
        """Compute the scalar loss of `model` with `params`, and the predictions."""
        own = {id(p) for p in model.parameters()}
        with _explained(f"the model failed on {where}"):
            # A module with its own way of copying, such as one of torch.jit, may not contain `params`.
            is_bound = all(id(p) in own for p in params.values())
            predicted = model(x) if is_bound else functional_call(model, params, (x,))
        returned = (
            "" if isinstance(predicted, Tensor) else f", given the {type(predicted).__name__} that the model returned"
        )
        with _explained(f"loss_fn failed on {where}{returned}"):
            loss = self.loss.one(predicted, y)
        if not isinstance(loss, Tensor) or loss.numel() != 1 or not loss.is_floating_point():
            what = f"a tensor of {loss.dtype} and shape {list(loss.shape)}" if isinstance(loss, Tensor) else quote(loss)
            raise BadInput(f"loss_fn returned {what} for {where}, but must return a scalar tensor of real numbers")
        if not loss.requires_grad:
            raise BadInput(f"the loss of {where} does not depend on any parameter that requires gradients")
        return loss.reshape(()), predicted


def copy_model(model: nn.Module) -> nn.Module:
    """Return a deep copy of `model`. Raises BadInput if it cannot be copied.

    Tensors that a forward pass stored in the model (for example, by `torch.nn.utils.weight_norm`) are copied without
    their graph.
    """
    kept = [value for module in model.modules() for value in (*vars(module).values(), *module._buffers.values())]
    memo = _empty_containers(model)
    memo.update({id(t): t.detach().clone() for t in kept if isinstance(t, Tensor) and not t.is_leaf})
    with _explained("model cannot be copied, but must support copy.deepcopy"):
        return deepcopy(model, memo)


def with_parameters(model: nn.Module, old: Params, new: Params) -> nn.Module:
    """Copy the structure of `model` with the parameters `new` instead of `old`. All other tensors are shared.

    Like torch.func.functional_call, this replaces parameters only where modules have registered them, not in lists or
    other attributes. But functional_call removes the new parameters after the call, whereas the copy keeps them. They
    are needed later, because torch.utils.checkpoint runs parts of the forward pass again during the backward pass.
    """
    memo = _empty_containers(model)
    memo.update({id(p): p for p in model.parameters()})
    with _SharedTensors(), _explained("model cannot be copied, but must support copy.deepcopy"):
        copy = deepcopy(model, memo)
    names = {id(p): name for name, p in old.items()}
    for module in copy.modules():
        for key, p in module._parameters.items():
            if id(p) in names:
                module._parameters[key] = new[names[id(p)]]  # type: ignore[assignment]
    return copy


def _empty_containers(model: nn.Module) -> dict[int, object]:
    """Copy the empty containers in `model`, and return the copies as a memo for copy.deepcopy.

    A module has a dozen empty dicts of hooks, on which copy.deepcopy would spend most of its time.
    """
    values = (value for module in model.modules() for value in vars(module).values())
    return {id(value): type(value)() for value in values if type(value) in (dict, OrderedDict, set) and not value}


class _SharedTensors(TorchFunctionMode):
    """A context in which copy.deepcopy shares tensors, because it cannot copy tensors that are part of a graph."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return args[0] if func is Tensor.__deepcopy__ else func(*args, **(kwargs or {}))


def mean_gradients(tasks: list[GradientResult]) -> Params:
    """Return the mean of the gradients over the tasks."""
    total = {name: g / len(tasks) for name, g in tasks[0].gradients.items()}
    for task in tasks[1:]:
        total = {name: g + task.gradients[name] / len(tasks) for name, g in total.items()}
    return total


@contextmanager
def _explained(what: str, remedy: str = "") -> Iterator[None]:
    try:
        yield
    except MetatuiError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise BadInput(f"{what}: {class_and_message(error)}{remedy}") from error


def _leaves(params: Params) -> Params:
    """Copy the parameters as leaves of a new graph. The module may change the copies in place."""
    return {name: p.detach().clone().requires_grad_() for name, p in params.items()}


def _gradients(loss: Tensor, params: Params, *, create_graph: bool = False, through_steps: bool = False) -> Params:
    remedy = "; first_order=True needs no second derivative" if create_graph or through_steps else ""
    with _explained("autograd cannot differentiate the model and loss_fn", remedy):
        gradients = grad(loss, list(params.values()), create_graph=create_graph, materialize_grads=True)
    return dict(zip(params, gradients, strict=True))
