"""The meta-gradient of any module and loss, for users of the library."""

from __future__ import annotations

import math
import operator
import warnings
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from metatui.learning.data.episodes import Episodes
from metatui.learning.engines.any_module.verification import AGREES, Verdict, engine_for, verdict
from metatui.learning.engines.autograd import AutogradEngine, mean_gradients
from metatui.learning.engines.base import SecondOrder, meta_parameters
from metatui.learning.engines.registry import ENGINES, usual_engine
from metatui.learning.engines.sequential import has_hooks
from metatui.learning.hardware.memory import is_out_of_memory
from metatui.learning.optim.inner import InnerLoop, Params
from metatui.learning.optim.losses import LossFn, as_loss
from metatui.utils.errors import BadInput, class_and_message, quote


def meta_gradient(
    model: nn.Module,
    loss_fn: LossFn,
    support_x: Tensor,
    support_y: Tensor,
    query_x: Tensor,
    query_y: Tensor,
    *,
    inner_lr: float,
    inner_steps: int,
    first_order: bool = False,
    engine: Literal["auto", "batched", "unfolded", "loop", "native", "higher"] = "auto",
) -> tuple[Tensor, Params]:
    """Compute the MAML meta-gradient of any module (Finn et al. 2017, Algorithm 1, line 8; FOMAML with `first_order`).

    The result is the same as that of a loop over tasks in plain autograd, in which every task uses its own deep copy of
    `model`: each task starts with the buffers and other state of the caller's model. A faster engine is used only if it
    agrees with that loop on a few of the given examples in float64. This check runs once for each combination of module
    architecture and loss function. The engine `loop` computes everything that plain autograd can compute, and `auto`
    falls back to it with a warning if a faster engine cannot be used.

    The caller's objects and settings do not change, except the random number generators that the module uses. If the
    module draws random numbers, every engine computes the tasks one after another, so that the same seed gives the same
    numbers. Gradients are computed even if the caller has disabled them. Under autocast, only the plain loop is used,
    with the same autocast settings.

    Args:
        model: the module. The meta-parameters are its parameters that require gradients.
        loss_fn: function that maps the output of `model` for one task and the targets of that task to a scalar, the
            mean loss over the examples.
        support_x, support_y: [T, B, ...], the examples that each task adapts to.
        query_x, query_y: [T, B', ...], the examples that the meta-loss is computed on.
        inner_lr: step size of adaptation, at least 0.
        inner_steps: number of adaptation steps, at least 1.
        engine: name of the engine; `auto` selects the default engine for the module and the device.

    Returns:
        The mean query loss over tasks (a scalar), and its gradients, keyed by parameter name.

    Raises:
        BadInput: if an argument is invalid, if the module or the loss raises an exception (the cause of the BadInput),
            or if the engine cannot compute the module and the loss.

    Example:
        >>> model, loss = torch.nn.Linear(3, 2), torch.nn.functional.mse_loss
        >>> x, y = torch.randn(4, 5, 3), torch.randn(4, 5, 2)  # 4 tasks of 5 examples
        >>> value, gradients = metatui.meta_gradient(model, loss, x, y, x, y, inner_lr=0.1, inner_steps=2)
        >>> {name: list(gradient.shape) for name, gradient in gradients.items()}
        {'weight': [2, 3], 'bias': [2]}
    """
    with torch.inference_mode(False), torch.enable_grad():
        if engine != "auto" and engine not in ENGINES:
            raise BadInput(f"engine is {quote(engine)}, but must be one of auto, {', '.join(ENGINES)}")
        _check_model(model, loss_fn)
        tensors = {"support_x": support_x, "support_y": support_y, "query_x": query_x, "query_y": query_y}
        episodes, inner = _episodes(tensors), _inner_loop(inner_lr, inner_steps)

        def plain() -> tuple[Tensor, Params]:
            tasks = AutogradEngine(model, as_loss(loss_fn)).tasks(
                meta_parameters(model), episodes, inner, first_order=first_order
            )
            return torch.stack([task.loss for task in tasks]).mean(), mean_gradients(tasks)

        name = usual_engine(model, support_x.device) if engine == "auto" else engine
        fast, outcome, is_new = engine_for(name, model, loss_fn), AGREES, True
        if isinstance(fast, AutogradEngine):
            return plain()
        if torch.is_autocast_enabled(support_x.device.type):
            outcome = Verdict("differs", "autocast is enabled", lasting=False)
        elif engine == "auto" and has_hooks(model):
            outcome = Verdict("differs", "the model has hooks")
        else:
            second_order: SecondOrder = "recomputed" if fast.recomputes(episodes, inner) else "unrolled"
            outcome, is_new = verdict(name, second_order, model, loss_fn, episodes, inner, first_order=first_order)
        if outcome.kind == "agrees":
            try:
                result = fast.meta_gradient(meta_parameters(fast.model), episodes, inner, first_order=first_order)
                return result.loss.mean(), result.gradients
            except Exception as error:
                if is_out_of_memory(error):
                    raise
                outcome, is_new = Verdict("differs", f"'{name}' raised {class_and_message(error)}"), True
        answer = plain()
        if outcome.kind == "differs" and engine not in ("auto", "loop"):
            raise BadInput(
                f"engine is {quote(engine)}, which does not support this model and loss_fn: {outcome.reason}; "
                "use engine='auto' or engine='loop'"
            )
        if is_new and outcome.lasting and name != "loop":
            warnings.warn(
                f"meta_gradient uses engine 'loop' instead of '{name}' for this model and loss_fn: {outcome.reason}",
                stacklevel=2,
            )
        return answer


def _check_model(model: nn.Module, loss_fn: LossFn) -> None:
    if not isinstance(model, nn.Module):
        raise BadInput(f"model is a {type(model).__name__}, but must be a torch.nn.Module")
    if not callable(loss_fn):
        raise BadInput(f"loss_fn is a {type(loss_fn).__name__}, but must be a function of predictions and targets")
    for name, p in model.named_parameters():
        if is_lazy(p):
            raise BadInput(f"parameter {name} of model has no shape yet; call the model once to initialise it")
    if not meta_parameters(model):
        raise BadInput("model has no parameter that requires gradients, but must have at least one")


def _episodes(tensors: dict[str, Tensor]) -> Episodes:
    for name, t in tensors.items():
        if not isinstance(t, Tensor):
            raise BadInput(f"{name} is a {type(t).__name__}, but must be a tensor [T, B, ...]")
        if t.dim() < 2:
            raise BadInput(f"{name} has the shape {list(t.shape)}, but must have at least two axes [T, B, ...]")
    counts = {len(t) for t in tensors.values()}
    if len(counts) != 1:
        raise BadInput(f"the tensors have {sorted(counts)} tasks, but must all have the same number of tasks")
    if counts == {0}:
        raise BadInput("the tensors have 0 tasks, but must have at least 1")
    for name, t in tensors.items():
        if t.shape[1] == 0:
            raise BadInput(f"{name} has the shape {list(t.shape)}, but must have at least 1 example for each task")
    # Autograd cannot save tensors that were made in inference mode.
    return Episodes(*((t.clone() if t.is_inference() else t).detach() for t in tensors.values()))


def _inner_loop(lr: float, steps: int) -> InnerLoop:
    if isinstance(lr, Tensor) and (lr.requires_grad or lr.numel() != 1):
        raise BadInput("inner_lr is a tensor, but must be a number, because its gradient is not computed")
    try:
        rate = float(lr)
    except (TypeError, ValueError, OverflowError, RuntimeError):
        raise BadInput(f"inner_lr is {quote(lr)}, but must be a number of at least 0") from None
    if not (math.isfinite(rate) and rate >= 0):
        raise BadInput(f"inner_lr is {rate:g}, but must be a finite number of at least 0")
    try:
        count = operator.index(steps)
    except TypeError:
        raise BadInput(f"inner_steps is {quote(steps)}, but must be a whole number of at least 1") from None
    if count < 1:
        raise BadInput(f"inner_steps is {count}, but must be at least 1")
    return InnerLoop(rate, count)
