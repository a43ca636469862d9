"""Engines: how inner loops and meta-gradients are computed. All agree; they differ in speed and memory."""

from __future__ import annotations

from copy import deepcopy
from typing import Literal

import torch
from torch import Tensor, nn
from torch.func import replace_all_batch_norm_modules_
from torch.nn.modules.batchnorm import _BatchNorm

from metatui.errors import BadInput, shown
from metatui.learning.engines.base import Adaptation, Engine, MetaGradient, SecondOrder, meta_parameters
from metatui.learning.engines.batched import BatchedEngine
from metatui.learning.engines.loop import LoopEngine
from metatui.learning.engines.unfolded import with_unfolded_convolutions
from metatui.learning.episodes import Episodes
from metatui.learning.inner import InnerLoop, Params
from metatui.learning.losses import Loss, LossFn, as_loss

__all__ = [
    "ENGINES",
    "Adaptation",
    "Engine",
    "EngineName",
    "MetaGradient",
    "make_engine",
    "meta_gradient",
    "meta_parameters",
    "usual_engine",
]

EngineName = Literal["batched", "unfolded", "loop", "native", "higher", "compiled"]
ENGINES: tuple[Literal["loop", "native", "batched", "unfolded", "higher"], ...] = (
    "loop", "native", "batched", "unfolded", "higher",
)  # fmt: skip
"""The engines that compute any module. `compiled` is `batched` but for whole meta-steps, of which a graph is made."""


def make_engine(
    name: EngineName, model: nn.Module, loss: Loss, *, workers: int = 1, second_order: SecondOrder = "auto"
) -> Engine:
    """The engine called `name`, computing on `model`. Raises BadInput for another name.

    Args:
        workers: threads that the loop engine spreads tasks over, whatever its convolutions.
        second_order: how second-order meta-gradients are taken; `higher` always unrolls.
    """
    match name:
        case "loop":
            return LoopEngine(model, loss, workers=workers, second_order=second_order)
        case "native":
            return LoopEngine(model, loss, workers=workers, second_order=second_order, native=True)
        case "batched" | "compiled":
            return BatchedEngine(model, loss, second_order)
        case "unfolded":
            return BatchedEngine(with_unfolded_convolutions(model), loss, second_order)
        case "higher":
            from metatui.learning.engines.higher_library import HigherEngine

            return HigherEngine(model, loss)
    raise BadInput(f"engine is {shown(name)}, but must be one of auto, {', '.join(ENGINES)}")


def usual_engine(model: nn.Module, device: torch.device) -> EngineName:
    """The engine to take where nothing is measured: a loop where one task's convolutions fill a CPU, else `batched`."""
    convolves = any(isinstance(module, nn.Conv2d) for module in model.modules())
    return "loop" if convolves and device.type == "cpu" else "batched"


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
    """The MAML meta-gradient of any module (Finn et al. 2017, Algorithm 1, line 8; FOMAML with `first_order`).

    Args:
        model: its parameters that require gradients are the meta-parameters; it is left unchanged.
        loss_fn: predictions and targets of one task to a scalar, a mean over examples.
        support_x, support_y: [T, B, ...], what each task adapts to.
        query_x, query_y: [T, B', ...], what each task is judged by.
        inner_lr: step size of adaptation.
        inner_steps: steps of adaptation, at least 1.

    Returns:
        The mean query loss over tasks (a scalar), and the gradient of it for each parameter's name.

    Raises:
        BadInput: for an engine there is none of, no tasks, tensors whose task axes differ, or steps below 1.
    """
    counts = {len(t) for t in (support_x, support_y, query_x, query_y)}
    if len(counts) != 1:
        raise BadInput(f"the task axes have {sorted(counts)} entries, but must all have the same number")
    if counts == {0}:
        raise BadInput("the task axes have 0 entries, but must have at least 1")
    if inner_steps < 1:
        raise BadInput(f"inner_steps is {inner_steps}, but must be at least 1")
    chosen = usual_engine(model, support_x.device) if engine == "auto" else engine
    result = make_engine(chosen, _without_averages(model), as_loss(loss_fn)).meta_gradient(
        meta_parameters(model),
        Episodes(support_x, support_y, query_x, query_y),
        InnerLoop(inner_lr, inner_steps),
        first_order=first_order,
    )
    return result.loss.mean(), result.gradients


def _without_averages(model: nn.Module) -> nn.Module:
    """A copy of `model` without the running averages of batch norms in training mode: nothing reads them there, but
    every forward pass would write to them, which torch.vmap cannot and the caller's model must not see."""
    copy = deepcopy(model)
    for module in copy.modules():
        if isinstance(module, _BatchNorm) and module.training:
            replace_all_batch_norm_modules_(module)
    return copy
