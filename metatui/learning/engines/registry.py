"""Creation of engines by name."""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

from metatui.learning.engines.autograd import AutogradEngine
from metatui.learning.engines.base import Engine, SecondOrder
from metatui.learning.engines.batched import BatchedEngine
from metatui.learning.engines.loop import LoopEngine
from metatui.learning.engines.sequential import is_chain
from metatui.learning.optim.losses import Loss

EngineName = Literal["batched", "unfolded", "loop", "native", "higher", "compiled"]
ENGINES: tuple[Literal["loop", "native", "batched", "unfolded", "higher"], ...] = (
    "loop", "native", "batched", "unfolded", "higher",
)  # fmt: skip
"""Names of the engines that can be selected for any module. The engine `compiled` is not among them, because it only
supports perceptrons: it is `batched` with whole meta-steps compiled into one function."""


def make_engine(
    name: EngineName, model: nn.Module, loss: Loss, *, workers: int = 1, second_order: SecondOrder = "auto"
) -> Engine:
    """Create the engine called `name` for `model`.

    For a module that is not a plain chain (see `is_chain`), both `loop` and `native` create an AutogradEngine.

    Args:
        workers: number of threads that share the tasks in the loop engine.
        second_order: method for second-order meta-gradients of plain chains. Other modules always use `unrolled`.
    """
    match name:
        case "loop" | "native":
            if not is_chain(model):
                return AutogradEngine(model, loss)
            return LoopEngine(model, loss, workers=workers, second_order=second_order, native=name == "native")
        case "batched" | "compiled":
            return BatchedEngine(model, loss, second_order)
        case "unfolded":
            return BatchedEngine(model, loss, second_order, unfold=True)
        case "higher":
            from metatui.learning.engines.higher_engine import HigherEngine

            return HigherEngine(model, loss)


def usual_engine(model: nn.Module, device: torch.device) -> EngineName:
    """Return the engine to use if no engine has been measured: `loop` for convolutions on a CPU, else `batched`."""
    convolves = any(isinstance(module, nn.Conv2d) for module in model.modules())
    return "loop" if convolves and device.type == "cpu" else "batched"
