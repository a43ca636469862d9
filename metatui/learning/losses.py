"""Losses as means over one task's examples, for one task and for many at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

LossFn = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Loss:
    """A loss of predictions against targets."""

    one: LossFn
    """One task: predictions [B, ...] and targets [B, ...] to a scalar, the mean over examples."""
    each: LossFn
    """Many tasks: [T, B, ...] and [T, B, ...] to one mean for each task, [T]."""


def _squared_error(predictions: Tensor, targets: Tensor) -> Tensor:
    return (predictions - targets).square().flatten(1).mean(1)


def _cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none").view_as(labels).mean(1)


MEAN_SQUARED_ERROR = Loss(F.mse_loss, _squared_error)
CROSS_ENTROPY = Loss(F.cross_entropy, _cross_entropy)


def as_loss(loss_fn: LossFn) -> Loss:
    """A caller's loss, as it is: for many tasks by torch.vmap, which keeps each task's own targets and shapes."""
    return Loss(loss_fn, torch.vmap(loss_fn))


def accuracy(logits: Tensor, labels: Tensor) -> Tensor:
    """The fraction of right labels in each task: logits [T, B, N] and labels [T, B] to [T]."""
    precision = torch.float32 if logits.device.type == "mps" else torch.float64  # mps has no float64
    return (logits.argmax(-1) == labels).to(precision).mean(-1)
