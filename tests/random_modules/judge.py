"""Comparison of each engine of `meta_gradient` with plain autograd on a random case."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

import metatui
from metatui.learning.checks.edge_cases import CHOICES, EngineChoice
from metatui.learning.checks.plain_autograd import plain_meta_gradient
from metatui.learning.data.episodes import Episodes
from metatui.learning.optim.inner import Params
from metatui.learning.optim.losses import LossFn
from metatui.utils.errors import BadInput
from tests.random_modules.case import Case

MAY_NOT_REFUSE = ("auto", "loop")

AGREEMENT = 1e-8
"""Largest permitted relative error of a gradient, and largest permitted absolute error of a loss."""

DIFFERENCES = 1e-5
"""Largest permitted difference between a slope and its central finite difference with step size `STEP`.

The difference is relative to the norm of the gradient.
"""

STEP = 1e-6

Kind = Literal["agrees", "refused", "unchecked", "wrong", "refused without need", "raw error", "changed", "crashed"]
GOOD: tuple[Kind, ...] = ("agrees", "refused", "unchecked")
"""Kinds of verdicts that show no fault in metatui.

A result is `unchecked` if plain autograd raises an error, or crashes like the engine. It is also `unchecked` if finite
differences cannot be used and the engine draws random numbers in a different order than plain autograd.
"""


@dataclass(frozen=True)
class Verdict:
    """The verdict on one call of `meta_gradient`."""

    seed: int
    engine: str
    first_order: bool
    kind: Kind
    detail: str = ""

    @property
    def ok(self) -> bool:
        """True if the verdict shows no fault in metatui."""
        return self.kind in GOOD


@dataclass(frozen=True)
class Answer:
    """The result of one call: the loss and the gradients, or the exception that was raised."""

    loss: Tensor = field(default_factory=lambda: torch.tensor(torch.nan))
    gradients: Params = field(default_factory=dict)
    error: Exception | None = None
    random: bool = False
    """True if random numbers were drawn during the call."""


def judge(
    case: Case, engines: tuple[EngineChoice, ...] = CHOICES, orders: tuple[bool, ...] = (False, True)
) -> Iterator[Verdict]:
    """Run every engine on `case`, and yield a verdict on each result.

    Args:
        orders: the values of `first_order` with which to run each engine.
    """
    for first_order in orders:
        expected = reference(case, first_order)
        for engine in engines:
            yield _verdict(case, engine, first_order, expected)


def reference(case: Case, first_order: bool) -> Answer:
    """Compute the loss and the gradients of `case` with plain autograd."""
    _seed(case)
    before = _generators()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            loss, gradients = plain_meta_gradient(
                case.module, case.loss, case.episodes, case.lr, case.steps, first_order=first_order
            )
    except Exception as error:
        return Answer(error=error)
    return Answer(loss, gradients, random=_differ(before, _generators()))


def _ask(case: Case, engine: EngineChoice, first_order: bool) -> Answer:
    _seed(case)
    before, e = _generators(), case.episodes
    try:
        with warnings.catch_warnings(), case.caller():
            warnings.simplefilter("ignore")
            loss, gradients = metatui.meta_gradient(
                case.module, case.loss, e.support_x, e.support_y, e.query_x, e.query_y,
                inner_lr=case.lr, inner_steps=case.steps, first_order=first_order, engine=engine,
            )  # fmt: skip
    except Exception as error:
        return Answer(error=error, random=_differ(before, _generators()))
    return Answer(loss, gradients, random=_differ(before, _generators()))


def _verdict(case: Case, engine: EngineChoice, first_order: bool, expected: Answer) -> Verdict:
    def verdict(kind: Kind, detail: str = "") -> Verdict:
        return Verdict(case.seed, engine, first_order, kind, detail)

    before = Snapshot(case.module, case.loss, case.episodes)
    found = _ask(case, engine, first_order)
    changed = before.changes()
    before.restore()
    if found.random and not expected.random and expected.error is None:
        changed = [*changed, "random generators"]
    if changed:
        return verdict("changed", ", ".join(changed))
    if isinstance(found.error, BadInput):
        if engine in MAY_NOT_REFUSE and expected.error is None:
            return verdict("refused without need", str(found.error))
        return verdict("refused", str(found.error))
    if found.error is not None:
        return verdict("raw error", f"{type(found.error).__name__}: {(str(found.error).splitlines() or [''])[0][:160]}")
    if expected.error is not None:
        return verdict("unchecked", f"plain autograd raises {type(expected.error).__name__}")
    wrong = _disagreement(found, expected)
    if not wrong:
        return verdict("agrees")
    if not expected.random or engine in MAY_NOT_REFUSE:
        return verdict("wrong", wrong)
    if first_order:
        return verdict("unchecked", "draws in another order, first order")
    return _by_differences(case, engine, found, expected, verdict)


def _disagreement(found: Answer, expected: Answer) -> str:
    """Describe the first difference between two results, or return an empty string if they agree."""
    if found.gradients.keys() != expected.gradients.keys():
        return f"gradients of {sorted(found.gradients)} for {sorted(expected.gradients)}"
    for name, g in found.gradients.items():
        if (g.shape, g.dtype, g.requires_grad) != (expected.gradients[name].shape, torch.float64, False):
            return f"{name} is {tuple(g.shape)} {g.dtype}, requires_grad {g.requires_grad}"
    if found.loss.requires_grad or found.loss.shape != ():
        return "the loss carries a graph or is no scalar"
    ours, theirs = _flat(found.gradients), _flat(expected.gradients)
    if not torch.equal(ours.isfinite(), theirs.isfinite()) or found.loss.isfinite() != expected.loss.isfinite():
        return "not finite in other places"
    ours, theirs = ours.nan_to_num(0, 0, 0), theirs.nan_to_num(0, 0, 0)
    noise = 1e-12 * (1 + float(expected.loss.abs().nan_to_num()))  # a gradient that is zero except for rounding
    if (size := float((ours - theirs).norm())) > AGREEMENT * float(theirs.norm()) + noise:
        return f"gradient off by {size / max(float(theirs.norm()), 1e-300):.1e} of its norm"
    off = float((found.loss - expected.loss).abs().nan_to_num())
    return f"loss {float(found.loss):.9g} for {float(expected.loss):.9g}" if off > AGREEMENT + noise else ""


def _by_differences(
    case: Case, engine: EngineChoice, found: Answer, expected: Answer, verdict: Callable[..., Verdict]
) -> Verdict:
    """Judge an engine that draws random numbers in a different order than plain autograd.

    Its gradient must agree with finite differences of the loss that the engine computes with the same seed.
    """
    names = {name: p for name, p in case.module.named_parameters() if p.requires_grad}
    direction = {
        name: torch.randn(p.shape, dtype=p.dtype, generator=torch.Generator().manual_seed(i))
        for i, (name, p) in enumerate(names.items())
    }

    def slope(ask: Callable[[], Answer]) -> float:
        values = []
        for sign in (1, -1):
            before = Snapshot(case.module, case.loss, case.episodes)
            with torch.no_grad():
                for name, p in names.items():
                    p.add_(direction[name], alpha=sign * STEP)
            values.append(float(ask().loss))
            before.restore()
        return (values[0] - values[1]) / (2 * STEP)

    def along(answer: Answer) -> float:
        return sum(float((answer.gradients[name] * direction[name]).sum()) for name in names)

    def close(a: float, b: float, answer: Answer) -> bool:
        return abs(a - b) <= DIFFERENCES * max(float(_flat(answer.gradients).norm()), 1e-3)

    if not close(slope(lambda: reference(case, False)), along(expected), expected):
        return verdict("unchecked", "its gradient is not a slope")
    measured = slope(lambda: _ask(case, engine, False))
    if close(measured, along(found), found):
        return verdict("agrees", "finite difference")
    return verdict("wrong", f"slope {along(found):.9g}, finite difference {measured:.9g}")


class Snapshot:
    """A snapshot of the caller's objects and torch settings that a call of `meta_gradient` must not change."""

    def __init__(self, module: nn.Module, loss: LossFn, episodes: Episodes) -> None:
        self._of = module, loss, episodes
        self._tensors = {name: (t, t.detach().clone()) for name, t in self._now()}
        self._attributes = _attributes(module)
        self._process = _process()

    def changes(self) -> list[str]:
        """Return the names of the values that have changed since the snapshot."""
        now, attributes, process = dict(self._now()), _attributes(self._of[0]), _process()
        tensors = {
            name for name in self._tensors.keys() | now.keys()
            if name not in now or name not in self._tensors or now[name] is not self._tensors[name][0]
            or not _equal(now[name], self._tensors[name][1])
        }  # fmt: skip
        keys = self._attributes.keys() | attributes.keys()
        tensors |= {key for key in keys if self._attributes.get(key) != attributes.get(key)}
        return sorted(tensors | {key for key, value in self._process.items() if process[key] != value})

    def restore(self) -> None:
        """Restore the values of the tensors, so that a change is reported only once."""
        with torch.no_grad():
            for t, value in self._tensors.values():
                if t.shape == value.shape and not _equal(t, value):
                    t.copy_(value)

    def _now(self) -> Iterator[tuple[str, Tensor]]:
        module, loss, episodes = self._of
        for name, p in module.named_parameters(remove_duplicate=False):
            yield name, p
            if p.grad is not None:
                yield f"{name}.grad", p.grad
        yield from module.named_buffers(remove_duplicate=False)
        yield from vars(episodes).items()
        if isinstance(loss, nn.Module):
            yield from ((f"loss.{name}", t) for name, t in loss.named_buffers())


def _attributes(module: nn.Module) -> dict[str, str]:
    """Describe the attributes, flags and hooks of a module, and the strides of its parameters, as text.

    The strides are included because they determine which calls of `view` are possible.
    """
    found = {}
    for name, part in module.named_modules(remove_duplicate=False):
        for key, value in vars(part).items():
            if key in ("_parameters", "_buffers", "_modules"):
                found[f"{name}.{key}"] = str(list(value))
            elif key == "_flat_weights":
                found[f"{name}.{key}"] = str([id(p) for p in value])
            elif isinstance(value, dict):
                found[f"{name}.{key}"] = str(len(value))
            else:
                found[f"{name}.{key}"] = str(value)
        found[f"{name} class"] = type(part).__name__
    for name, p in module.named_parameters():
        found[f"{name} state"] = str((p.requires_grad, p.stride(), p.dtype, len(p._backward_hooks or ())))
    return found


def _process() -> dict[str, object]:
    return {
        "grad mode": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
        "default dtype": torch.get_default_dtype(),
        "autocast": torch.is_autocast_enabled("cpu"),
        "threads": torch.get_num_threads(),
        "matmul precision": torch.get_float32_matmul_precision(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "anomaly": torch.is_anomaly_enabled(),
        "cudnn": (torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic),
    }


def _seed(case: Case) -> None:
    torch.manual_seed(case.seed)
    random.seed(case.seed)


def _generators() -> tuple[Tensor, object]:
    return torch.get_rng_state(), random.getstate()


def _differ(before: tuple[Tensor, object], after: tuple[Tensor, object]) -> bool:
    return not torch.equal(before[0], after[0]) or before[1] != after[1]


def _equal(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and a.dtype == b.dtype and torch.equal(a.nan_to_num(), b.detach().nan_to_num())


def _flat(gradients: Params) -> Tensor:
    return torch.cat([gradients[name].detach().flatten() for name in sorted(gradients)])
