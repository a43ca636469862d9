"""Tests of every engine on random modules, which are generated from fixed seeds."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

import metatui
from metatui.learning.checks.edge_cases import EngineChoice
from metatui.learning.optim.inner import Params
from metatui.utils.errors import BadInput
from tests.random_modules.case import Case, make_case
from tests.random_modules.judge import Kind, Verdict, judge

pytestmark = pytest.mark.usefixtures("one_torch_thread")


@pytest.fixture(autouse=True)
def restored_generators() -> Iterator[None]:
    """Restore the states of the random generators after a test, because each case seeds them."""
    state = random.getstate()
    with torch.random.fork_rng(devices=[]):
        yield
    random.setstate(state)


@pytest.mark.parametrize("first", range(0, 100, 4))
def test_random_modules(first: int) -> None:
    """Check all engines on the random cases with seeds `first` to `first + 3`.

    The cases of even seeds use second-order gradients, and those of odd seeds first-order gradients.
    """
    verdicts: list[Verdict] = []
    for seed in range(first, first + 4):
        verdicts += judge(make_case(seed), orders=(seed % 2 == 1,))
    assert [verdict for verdict in verdicts if not verdict.ok] == []
    assert {"auto", "loop", "native"} <= {verdict.engine for verdict in verdicts if verdict.kind == "agrees"}


def scaled(case: Case, loss: Tensor, gradients: Params) -> object:
    return loss, {name: (1 + 1e-6) * g for name, g in gradients.items()}


def not_a_number(case: Case, loss: Tensor, gradients: Params) -> object:
    return loss, {name: g + torch.nan for name, g in gradients.items()}


def incomplete(case: Case, loss: Tensor, gradients: Params) -> object:
    return loss, dict(list(gradients.items())[1:])


def another_loss(case: Case, loss: Tensor, gradients: Params) -> object:
    return loss + 1e-6, gradients


def loss_is_not_a_number(case: Case, loss: Tensor, gradients: Params) -> object:
    return loss + torch.nan, gradients


def changes_parameter(case: Case, loss: Tensor, gradients: Params) -> object:
    next(case.module.parameters()).data.mul_(2)
    return loss, gradients


def changes_mode(case: Case, loss: Tensor, gradients: Params) -> object:
    case.module.train(not case.module.training)
    return loss, gradients


def draws(case: Case, loss: Tensor, gradients: Params) -> object:
    torch.rand(1)
    return loss, gradients


def fails(case: Case, loss: Tensor, gradients: Params) -> object:
    raise RuntimeError("vmap")


def refuses(case: Case, loss: Tensor, gradients: Params) -> object:
    raise BadInput("no such layer")


@pytest.mark.parametrize(
    ("fault", "engine", "kind"),
    [
        (scaled, "loop", "wrong"), (scaled, "batched", "wrong"), (not_a_number, "loop", "wrong"),
        (incomplete, "loop", "wrong"), (another_loss, "loop", "wrong"),
        (loss_is_not_a_number, "loop", "wrong"),
        (changes_parameter, "loop", "changed"), (changes_mode, "loop", "changed"),
        (draws, "loop", "changed"), (fails, "loop", "raw error"),
        (refuses, "loop", "refused without need"), (refuses, "auto", "refused without need"),
        (refuses, "batched", "refused"),
    ],
)  # fmt: skip
def test_faults_are_detected(
    fault: Callable[[Case, Tensor, Params], object], engine: EngineChoice, kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    case, real = make_case(5), metatui.meta_gradient
    monkeypatch.setattr(metatui, "meta_gradient", lambda *args, **more: fault(case, *real(*args, **more)))
    (verdict,) = judge(case, (engine,), orders=(False,))
    assert verdict.kind == kind
