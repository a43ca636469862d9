"""Verification that an engine computes a caller's module and loss correctly, on a few of the caller's examples.

Fast engines evaluate the module for all tasks together, use one copy of it for all tasks, or rewrite its layers. For
some modules, this gives wrong results. So the results are compared with those of plain autograd in float64, once for
each structure of the module and the loss.
"""

from __future__ import annotations

import pickle
import random
import sys
import warnings
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, replace
from inspect import getattr_static
from types import BuiltinFunctionType, FunctionType
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.func import replace_all_batch_norm_modules_
from torch.nn.modules import module as hooks_of_all_modules
from torch.nn.modules.batchnorm import _BatchNorm

from metatui.learning.data.episodes import Episodes
from metatui.learning.engines.autograd import AutogradEngine, copy_model, mean_gradients
from metatui.learning.engines.base import Engine, SecondOrder, meta_parameters
from metatui.learning.engines.registry import EngineName, make_engine
from metatui.learning.engines.second_order import GradientResult
from metatui.learning.optim.inner import InnerLoop, Params
from metatui.learning.optim.losses import LossFn, as_loss
from metatui.utils.errors import BadInput, class_and_message

TASKS = 2
STEPS = 2
EXAMPLES = 32
"""Maximum number of support examples, and also of query examples, of each task in a verification."""

AGREEMENT = 1e-8
"""Largest relative error of losses and gradients at which an engine passes the verification."""

REGISTRIES = ("_parameters", "_buffers", "_modules")
"""Attributes of a module that hold its parameters, buffers and submodules. Their entries are compared one by one."""

MAX_VERDICTS = 256
"""Maximum number of verdicts to keep in memory. When there are more, the oldest one is dropped."""


@dataclass(frozen=True)
class Verdict:
    """The result of a verification. `reason` is a clause that explains the verdict, and is empty for `agrees`."""

    kind: Literal["agrees", "differs", "unclear"]
    """`unclear` if there is no single correct result to compare with. Plain autograd is then used, even if the caller
    has chosen another engine."""
    reason: str = ""
    lasting: bool = True
    """True if the verdict holds for all data of the same shapes. Only such verdicts are kept."""


AGREES = Verdict("agrees")
_verdicts: dict[Hashable, tuple[Verdict, list[object]]] = {}


def verdict(
    name: EngineName,
    second_order: SecondOrder,
    model: nn.Module,
    loss_fn: LossFn,
    episodes: Episodes,
    inner: InnerLoop,
    *,
    first_order: bool,
) -> tuple[Verdict, bool]:
    """Verify the engine called `name` for `model` and `loss_fn`, or look up an earlier verdict.

    Returns:
        The verdict, and whether it is the result of a new verification.
    """
    kept: list[object] = []
    key = (
        name, second_order, first_order, min(inner.steps, STEPS), min(len(episodes), TASKS), inner.optimizer,
        tuple((t.shape[1:], t.dtype, t.device) for t in episodes.tensors()),
        _structure(model, kept),
        _structure(loss_fn, kept) if isinstance(loss_fn, nn.Module) else _value_key(loss_fn, kept),
    )  # fmt: skip
    if key in _verdicts:
        return _verdicts[key][0], False
    result = _verified(name, second_order, model, loss_fn, episodes, inner, first_order)
    if result.lasting:
        # Objects that the key identifies by `id` are kept alive, so that no other object gets the same id.
        _verdicts[key] = result, kept
        if len(_verdicts) > MAX_VERDICTS:
            del _verdicts[next(iter(_verdicts))]
    return result, True


def engine_for(name: EngineName, model: nn.Module, loss_fn: LossFn, second_order: SecondOrder = "auto") -> Engine:
    """Create the engine called `name` for a copy of `model`."""
    return make_engine(name, _without_averages(copy_model(model)), as_loss(loss_fn), second_order=second_order)


def _verified(
    name: EngineName,
    second_order: SecondOrder,
    model: nn.Module,
    loss_fn: LossFn,
    episodes: Episodes,
    inner: InnerLoop,
    first_order: bool,
) -> Verdict:
    few, inner = _few(episodes), replace(inner, steps=min(inner.steps, STEPS))
    devices = {p.device for p in model.parameters()} | {t.device for t in episodes.tensors()}
    # A device of another backend that calls itself CUDA has no generator.
    generators = len(torch.cuda.default_generators)
    gpus = [device for device in devices if device.type == "cuda" and (device.index or 0) < generators]
    with _rng_restored(gpus), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before = _rng_state(gpus)
        try:
            double, loss = copy_model(model).double(), _double(loss_fn)
            remembered = _loss_state(loss)
            tasks = _plain(double, loss, few, inner, first_order)
        except Exception as error:
            try:
                _plain(model, _own_loss(loss_fn), _few(episodes, convert=False), inner, first_order)
            except Exception:
                return Verdict("unclear", "the model or loss_fn failed", lasting=False)
            why = str(error) if isinstance(error, BadInput) else class_and_message(error)
            return Verdict("differs", f"'{name}' cannot be verified in float64: {why}")
        if _rng_state(gpus) != before:
            return Verdict("unclear", f"'{name}' draws random numbers in a different order than a loop over tasks")
        if not _same(remembered, _loss_state(loss)):
            return Verdict("differs", "loss_fn keeps state that depends on the order of tasks")
        losses, gradients = torch.stack([task.loss for task in tasks]), _flat(mean_gradients(tasks))
        if not (losses.isfinite().all() and gradients.isfinite().all()):
            return Verdict("unclear", "results are not finite", lasting=False)
        try:
            engine = engine_for(name, double, loss, second_order)
            theta = {n: p.detach().clone() for n, p in meta_parameters(engine.model).items()}
            few = _few(episodes)
            state = _state(engine.model, theta, few)
            got = engine.meta_gradient(theta, few, inner, first_order=first_order)
            kept = _same(state, _state(engine.model, theta, few))
        except Exception as error:
            return Verdict("differs", f"'{name}' raised {class_and_message(error)}")
        if not kept or _rng_state(gpus) != before:
            return Verdict("differs", "the forward pass changes state that must be reset for each task")
        if not _close(got.loss, losses):
            return Verdict("differs", f"the loss of '{name}' differs from that of plain autograd")
        if not _close(_flat(got.gradients), gradients):
            return Verdict("differs", f"the gradient of '{name}' differs from that of plain autograd")
    return AGREES


def _close(got: Tensor, expected: Tensor) -> bool:
    if got.shape != expected.shape or got.dtype != expected.dtype:
        return False
    return bool((got - expected).norm() <= AGREEMENT * expected.norm() + 1e-14)


def _flat(gradients: Params) -> Tensor:
    return torch.cat([g.to_dense().flatten() for g in gradients.values()])


def _plain(
    model: nn.Module, loss_fn: LossFn, few: Episodes, inner: InnerLoop, first_order: bool
) -> list[GradientResult]:
    return AutogradEngine(model, as_loss(loss_fn)).tasks(meta_parameters(model), few, inner, first_order=first_order)


def _few(episodes: Episodes, *, convert: bool = True) -> Episodes:
    """Copy a few tasks and examples, converted to float64 if `convert` is true."""

    def pair(x: Tensor, y: Tensor) -> Iterator[Tensor]:
        examples = EXAMPLES if x.shape[1] == y.shape[1] else None
        for t in (x, y):
            some = t[:TASKS, :examples]
            yield some.to(torch.float64 if convert and some.is_floating_point() else some.dtype, copy=True)

    return Episodes(*pair(episodes.support_x, episodes.support_y), *pair(episodes.query_x, episodes.query_y))


def _double(loss_fn: LossFn) -> LossFn:
    """Copy the loss. If it is a module, convert the copy to float64."""
    loss = _own_loss(loss_fn)
    return loss.double() if isinstance(loss, nn.Module) else loss


def _own_loss(loss_fn: LossFn) -> LossFn:
    """Copy the loss, because it may keep state. Return the loss itself if it cannot be copied."""
    try:
        return deepcopy(loss_fn)
    except Exception:
        return loss_fn


def _without_averages(model: nn.Module) -> nn.Module:
    """Remove the running averages of batch norms in training mode from `model`, in place.

    The averages are not read in training mode, but every forward pass writes to them, which torch.vmap does not
    support.
    """
    for module in model.modules():
        if isinstance(module, _BatchNorm) and module.training:
            replace_all_batch_norm_modules_(module)
    return model


def _structure(model: nn.Module, kept: list[object]) -> Hashable:
    """Return a key that covers everything that determines what `model` computes, except the values of its tensors."""
    numbers: dict[int, int] = {}

    def tensor(t: Tensor | None) -> Hashable:
        if t is None:
            return None
        return numbers.setdefault(id(t), len(numbers)), t.shape, t.dtype, t.device, t.requires_grad, type(t)

    def module(m: nn.Module) -> Hashable:
        known = numbers.get(id(m))
        if known is not None:
            return known
        numbers[id(m)] = len(numbers)
        return (
            type(m), _value_key(getattr_static(type(m), "forward", None), kept),
            tuple((name, tensor(t)) for name, t in (*m._parameters.items(), *m._buffers.items())),
            tuple((name, child and module(child)) for name, child in m._modules.items()),
            tuple((k, tensor(v) if isinstance(v, Tensor) else _value_key(v, kept)) for k, v in vars(m).items()
                  if k not in REGISTRIES),
        )  # fmt: skip

    everywhere = (v for k, v in vars(hooks_of_all_modules).items() if k.startswith("_global") and k.endswith("_hooks"))
    return module(model), tuple(_value_key(hooks, kept) for hooks in everywhere)


def _value_key(value: Any, kept: list[object]) -> Hashable:
    """Return a hashable key for `value`.

    The key of a simple value, such as a number or a string, contains the value itself, and the key of a stateless
    function is its code. Any other object is identified by its id, and is added to `kept`.
    """
    if value is None or isinstance(value, bool | int | float | complex | str | bytes | type | torch.dtype):
        return type(value), value
    if isinstance(value, tuple | list | set | frozenset) and len(value) < 100:
        return type(value), *(_value_key(item, kept) for item in value)
    if isinstance(value, dict) and len(value) < 100:
        return type(value), *((_value_key(k, kept), _value_key(v, kept)) for k, v in value.items())
    if isinstance(value, BuiltinFunctionType):
        return value
    if isinstance(value, FunctionType) and not (value.__closure__ or value.__defaults__ or value.__kwdefaults__):
        return value.__code__
    kept.append(value)
    return type(value), id(value)


def _state(model: nn.Module, theta: Params, episodes: Episodes) -> dict[Hashable, object]:
    """Copy everything that a forward pass may write to: buffers, attributes, parameters and the data of the tasks."""
    values: dict[Hashable, object] = dict(enumerate((*theta.values(), *episodes.tensors())))
    for name, module in model.named_modules():
        attributes = {**vars(module), **module._buffers, **module._parameters}
        values.update({(name, key): v for key, v in attributes.items() if key not in REGISTRIES})
    return {key: _snapshot(value) for key, value in values.items()}


def _loss_state(loss_fn: LossFn) -> dict[Hashable, object]:
    """Copy the state that a loss may keep: its attributes, or the variables that a function closes over."""
    cells = getattr(loss_fn, "__closure__", None) or ()
    return {i: _snapshot(value) for i, value in enumerate((loss_fn, *(cell.cell_contents for cell in cells)))}


def _snapshot(value: object) -> object:
    if isinstance(value, Tensor):
        return value, value.detach().clone()
    try:
        return pickle.dumps(value)
    except Exception:
        return [value]


def _same(before: dict[Hashable, object], after: dict[Hashable, object]) -> bool:
    return before.keys() == after.keys() and all(_unchanged(before[key], after[key]) for key in before)


def _unchanged(before: object, after: object) -> bool:
    if isinstance(before, tuple) and isinstance(after, tuple):
        return before[0] is after[0] and torch.equal(before[1], after[1])
    if isinstance(before, list) and isinstance(after, list):
        return before[0] is after[0]
    return before == after


def _rng_state(gpus: list[torch.device]) -> list[object]:
    states: list[object] = [random.getstate()]
    states += [state.tolist() for state in (torch.get_rng_state(), *map(torch.cuda.get_rng_state, gpus))]
    if "numpy" in sys.modules:
        states.append(pickle.dumps(sys.modules["numpy"].random.get_state()))
    return states


@contextmanager
def _rng_restored(gpus: list[torch.device]) -> Iterator[None]:
    python = random.getstate()
    numpy = sys.modules["numpy"].random if "numpy" in sys.modules else None
    state = numpy.get_state() if numpy else None
    try:
        with torch.random.fork_rng(devices=gpus):
            yield
    finally:
        random.setstate(python)
        if numpy:
            numpy.set_state(state)
