"""Test that every engine agrees with plain autograd on a module and a loss, or refuses them.

Plain autograd itself is compared with finite differences. Most kinds of modules are in
`metatui.learning.checks.edge_cases`, and tests/learning/checks/test_edge_cases.py tests them.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import metatui
from metatui.learning.checks.edge_cases import CHOICES as ENGINES
from metatui.learning.checks.edge_cases import EngineChoice, Lambda
from metatui.learning.checks.plain_autograd import plain_meta_gradient
from metatui.learning.data.episodes import Episodes
from metatui.learning.optim.inner import Params
from metatui.learning.optim.losses import LossFn
from metatui.utils.errors import BadInput
from tests.random_modules.judge import MAY_NOT_REFUSE, Snapshot

AGREEMENT = 1e-8

pytestmark = [
    pytest.mark.usefixtures("one_torch_thread"),
    pytest.mark.filterwarnings("ignore:meta_gradient uses engine 'loop'"),
]


@pytest.fixture(autouse=True)
def seeded_generators() -> Iterator[None]:
    """Seed torch's random generator, and restore the states of torch's and Python's generators after the test."""
    state = random.getstate()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield
    random.setstate(state)


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def points(
    width: int = 4, targets: tuple[int, ...] = (1,), tasks: int = 2, support: int = 4, query: int = 3
) -> Episodes:
    return Episodes(
        normal(tasks, support, width), normal(tasks, support, *targets),
        normal(tasks, query, width), normal(tasks, query, *targets),
    )  # fmt: skip


def images() -> Episodes:
    return Episodes(
        normal(2, 4, 3, 6, 6), torch.randint(0, 3, (2, 4)), normal(2, 3, 3, 6, 6), torch.randint(0, 3, (2, 3))
    )


def ask(
    model: nn.Module, loss: LossFn, e: Episodes, engine: EngineChoice = "auto", **options: Any
) -> tuple[Tensor, Params]:
    chosen = {"inner_lr": 0.1, "inner_steps": 3, **options}
    return metatui.meta_gradient(model, loss, e.support_x, e.support_y, e.query_x, e.query_y, engine=engine, **chosen)


def relative_error(found: Params, expected: Params) -> float:
    """Return the norm of the difference between two gradients, relative to the norm of the expected gradient."""
    assert found.keys() == expected.keys()
    difference = torch.cat([(found[name] - g).flatten() for name, g in expected.items()])
    return float(difference.norm() / torch.cat([g.flatten() for g in expected.values()]).norm())


def agree_or_refuse(model: nn.Module, loss: LossFn, e: Episodes, steps: int = 3) -> None:
    """Check that every engine agrees with plain autograd in second order, and `auto` in first order too.

    An engine other than `auto` and `loop` may refuse the module or loss instead.
    """
    for first_order, engines in ((False, ENGINES), (True, ENGINES[:1])):
        expected_loss, expected = plain_meta_gradient(model, loss, e, 0.1, steps, first_order=first_order)
        for engine in engines:
            try:
                found_loss, found = ask(model, loss, e, engine, inner_steps=steps, first_order=first_order)
            except BadInput:
                if engine in MAY_NOT_REFUSE:
                    raise
                continue
            assert relative_error(found, expected) <= AGREEMENT, (engine, first_order)
            assert torch.allclose(found_loss, expected_loss, rtol=AGREEMENT, atol=0), (engine, first_order)


def perceptron(outputs: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, outputs)).double()


class Counted(nn.Module):
    """A linear layer that scales its output by the number of calls, which is counted in a Python attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.last, self.calls = nn.Linear(4, 1), 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        out: Tensor = self.last(x) * self.calls
        return out


def slope(loss: Callable[[], Tensor], p: Tensor, direction: Tensor, step: float = 1e-5) -> float:
    """Return the central finite difference of `loss` when `p` is moved along `direction`."""
    values = []
    for sign in (1, -1):
        with torch.no_grad():
            p.add_(direction, alpha=sign * step)
        values.append(float(loss()))
        with torch.no_grad():
            p.sub_(direction, alpha=sign * step)
    return (values[0] - values[1]) / (2 * step)


def _checkpointed() -> nn.Module:
    return Lambda(
        lambda m, x: m.last(checkpoint(m.first, x, use_reentrant=False)), first=perceptron(3), last=nn.Linear(3, 1)
    ).double()


@pytest.mark.parametrize(
    "make", [perceptron, _checkpointed, lambda: nn.Sequential(perceptron(3), nn.Dropout(0.4), nn.Linear(3, 1)).double()]
)
def test_plain_autograd_matches_finite_differences(make: Callable[[], nn.Module]) -> None:
    model, e = make(), points()

    def plain() -> tuple[Tensor, Params]:
        torch.manual_seed(3)
        return plain_meta_gradient(model, F.mse_loss, e, 0.1, 3, first_order=False)

    name, p = next(iter(model.named_parameters()))
    direction = torch.randn_like(p)
    expected = slope(lambda: plain()[0], p, direction)
    assert float((plain()[1][name] * direction).sum()) == pytest.approx(expected, rel=1e-6)


def test_plain_autograd_starts_each_task_afresh() -> None:
    model, e = Counted().double(), points()
    _, together = plain_meta_gradient(model, F.mse_loss, e, 0.1, 2, first_order=False)
    alone = [plain_meta_gradient(model, F.mse_loss, e.chunk(t, t + 1), 0.1, 2, first_order=False)[1] for t in range(2)]
    assert relative_error(together, {name: torch.stack([g[name] for g in alone]).mean(0) for name in together}) < 1e-14
    assert model.calls == 0


def test_checkpointing() -> None:
    """Check that each inner step's activations are recomputed with the parameters of that step."""
    agree_or_refuse(_checkpointed(), F.mse_loss, points())


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("engine", ENGINES)
def test_dropout_mask_is_shared_by_derivatives(engine: EngineChoice, steps: int) -> None:
    model = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Dropout(0.5), nn.Linear(16, 1)).double()
    e, p = points(), model.get_parameter("0.weight")
    direction = torch.randn_like(p)

    def answer() -> tuple[Tensor, Params]:
        torch.manual_seed(3)
        return ask(model, F.mse_loss, e, engine, inner_steps=steps)

    try:
        _, found = answer()
    except BadInput:
        if engine in MAY_NOT_REFUSE:
            raise
        return
    expected = slope(lambda: answer()[0], p, direction)
    assert float((found["0.weight"] * direction).sum()) == pytest.approx(expected, rel=1e-6, abs=1e-7)


@pytest.mark.parametrize("loss", [F.mse_loss, F.l1_loss, lambda p, y: ((p - y) ** 2).sum()])
@pytest.mark.parametrize("targets", [(), (4,)])
@pytest.mark.filterwarnings("ignore:Using a target size")
def test_broadcast_targets_never_mix_tasks(loss: LossFn, targets: tuple[int, ...]) -> None:
    agree_or_refuse(perceptron(1), loss, points(targets=targets, tasks=4, support=4, query=4))


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
def test_old_weight_norm() -> None:
    """Check a module that cannot be deep-copied, because `nn.utils.weight_norm` stores a non-leaf tensor in it."""
    model = nn.Sequential(nn.utils.weight_norm(nn.Linear(4, 8)), nn.Linear(8, 1)).double()
    same = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(4, 8)), nn.Linear(8, 1)).double()
    with torch.no_grad():
        for p, q in zip(same.parameters(), model.parameters(), strict=True):
            p.copy_(q)
    _, found = ask(model, F.mse_loss, e := points())
    _, expected = plain_meta_gradient(same, F.mse_loss, e, 0.1, 3, first_order=False)
    assert relative_error(dict(zip(expected, found.values(), strict=True)), expected) <= AGREEMENT


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("engine", ENGINES)
def test_grad_mode_of_the_caller(mode: Callable[[], AbstractContextManager[None]], engine: EngineChoice) -> None:
    model, e = perceptron(), points()
    _, expected = ask(model, F.mse_loss, e, engine)
    with mode():
        found = ask(model, F.mse_loss, e, engine)[1]
        assert not torch.is_grad_enabled()
    assert relative_error(found, expected) == 0


def test_caller_objects_do_not_change() -> None:
    """Check that no engine changes the caller's module, data or random generator."""
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 1)).double()
    e = points()
    before = Snapshot(model, F.mse_loss, e)
    state = torch.get_rng_state()
    for engine in ENGINES:
        with suppress(BadInput):
            ask(model, F.mse_loss, e, engine)
    assert before.changes() == []
    assert torch.equal(state, torch.get_rng_state())
