"""Random choice of losses and of suitable targets."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from random import Random

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metatui.learning.optim.losses import LossFn

Targets = Callable[[int], Tensor]
"""Function that creates the targets [n, ...] of n examples."""


def _mean_of_squares(predictions: Tensor, targets: Tensor) -> Tensor:
    return (predictions - targets).square().mean()


def _sum_of_squares(predictions: Tensor, targets: Tensor) -> Tensor:
    return (predictions - targets).square().sum()


def _worst_half(predictions: Tensor, targets: Tensor) -> Tensor:
    errors = (predictions - targets).square().flatten()
    return errors.topk((len(errors) + 1) // 2).values.mean()


def _branches(predictions: Tensor, targets: Tensor) -> Tensor:
    errors = predictions - targets
    return errors.abs().mean() if float(errors.detach().abs().max()) > 1.5 else errors.square().mean()


def _nll(predictions: Tensor, targets: Tensor) -> Tensor:
    return F.nll_loss(F.log_softmax(predictions, 1), targets)


def _focal(predictions: Tensor, targets: Tensor) -> Tensor:
    log_p = F.log_softmax(predictions, 1).gather(1, targets.unsqueeze(1))
    return -((1 - log_p.exp()) ** 2 * log_p).mean()


def _hard_examples(predictions: Tensor, targets: Tensor) -> Tensor:
    """Return the mean cross-entropy of the misclassified examples, or of all examples if none is misclassified."""
    each = F.cross_entropy(predictions, targets, reduction="none")
    wrong = predictions.argmax(1) != targets
    return each[wrong].mean() if wrong.any() else each.mean()


def regression(r: Random, shape: tuple[int, ...]) -> tuple[str, LossFn, Targets]:
    """Return a description, a random loss for predictions [B, *shape], and a function that creates targets.

    The targets have the shape of the predictions or a shape that can be broadcast to it.
    """
    target = r.choice([shape, shape, shape, shape[:-1] or (), (1,) * len(shape), shape[-1:]])
    if target == () and shape != (1,) and r.random() < 0.7:
        target = shape
    losses: list[LossFn] = [
        F.mse_loss, F.mse_loss, F.mse_loss, F.l1_loss, F.huber_loss, F.smooth_l1_loss, nn.MSELoss(),
        partial(F.mse_loss, reduction="sum"), _mean_of_squares, _sum_of_squares, _branches, _worst_half,
    ]  # fmt: skip
    loss = r.choice(losses)
    return f"{_name(loss)} targets {target}", loss, lambda n: torch.randn(n, *target, dtype=torch.float64)


def classification(r: Random, classes: int, positions: tuple[int, ...]) -> tuple[str, LossFn, Targets]:
    """Return a description, a random loss for logits [B, classes, *positions], and a function that creates targets."""

    def labels(n: int) -> Tensor:
        return torch.randint(0, classes, (n, *positions))

    def some_ignored(n: int) -> Tensor:
        found = labels(n)
        found.view(-1)[torch.rand(found.numel()) < 0.4] = -100
        found.view(-1)[0] = 0
        return found

    def probabilities(n: int) -> Tensor:
        return torch.rand(n, classes, *positions, dtype=torch.float64).softmax(1)

    def zero_or_one(n: int) -> Tensor:
        return torch.randint(0, 2, (n, classes, *positions)).double()

    weight = torch.rand(classes, dtype=torch.float64) + 0.5
    choices: list[tuple[LossFn, Targets]] = [
        (F.cross_entropy, labels),
        (F.cross_entropy, labels),
        (F.cross_entropy, some_ignored),
        (F.cross_entropy, some_ignored),
        (F.cross_entropy, probabilities),
        (F.cross_entropy, probabilities),
        (partial(F.cross_entropy, ignore_index=1), labels),
        (partial(F.cross_entropy, label_smoothing=0.2), some_ignored),
        (partial(F.cross_entropy, weight=weight), labels),
        (partial(F.cross_entropy, weight=weight, reduction="sum"), probabilities),
        (nn.CrossEntropyLoss(weight=weight), some_ignored),
        (nn.CrossEntropyLoss(), labels),
        (F.binary_cross_entropy_with_logits, zero_or_one),
        (_nll, labels),
    ]
    if not positions:
        choices += [(F.multi_margin_loss, labels), (_focal, labels), (_hard_examples, labels)]
    loss, targets = r.choice(choices)
    return f"{_name(loss)} {targets.__name__}", loss, targets


def _name(loss: LossFn) -> str:
    if isinstance(loss, partial):
        return f"{loss.func.__name__}({', '.join(loss.keywords)})"
    return getattr(loss, "__name__", type(loss).__name__)
