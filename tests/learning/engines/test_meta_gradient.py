"""Tests of `meta_gradient`: verification of engines, the caller's state, and refusal of unsuitable input.

The file test_any_module.py tests which modules are supported.
"""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Literal

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metatui.learning.checks.edge_cases import EngineChoice
from metatui.learning.checks.plain_autograd import plain_meta_gradient
from metatui.learning.data.episodes import Episodes
from metatui.learning.engines.any_module import verification
from metatui.learning.engines.any_module.meta_gradient import meta_gradient
from metatui.learning.engines.base import meta_parameters
from metatui.learning.engines.registry import ENGINES, EngineName, make_engine
from metatui.learning.engines.sequential import is_chain
from metatui.learning.optim.inner import InnerLoop, Params
from metatui.learning.optim.losses import MEAN_SQUARED_ERROR, LossFn
from metatui.utils.errors import BadInput

Data = tuple[Tensor, Tensor, Tensor, Tensor]
TENSORS = "support_x", "support_y", "query_x", "query_y"


def plain(model: nn.Module, loss_fn: LossFn, data: Data) -> tuple[Tensor, Params]:
    return plain_meta_gradient(model, loss_fn, Episodes(*data), 0.1, 2, first_order=False)


def assert_same(got: tuple[Tensor, Params], expected: tuple[Tensor, Params]) -> None:
    torch.testing.assert_close(got[0], expected[0], rtol=1e-9, atol=0)
    assert list(got[1]) == list(expected[1])
    for name, gradient in expected[1].items():
        torch.testing.assert_close(got[1][name], gradient, rtol=1e-8, atol=1e-11)


def points() -> Data:
    generator = torch.Generator().manual_seed(0)
    x, query_x = (torch.randn(3, n, 4, generator=generator, dtype=torch.float64) for n in (6, 5))
    return x, x.sum(2, keepdim=True).sin(), query_x, query_x.sum(2, keepdim=True).sin()


def perceptron() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 1)).double()


def convolutional(**norm: bool) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4, **norm), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(16, 3),
    ).double()  # fmt: skip


class Drawn(nn.Module):
    """A linear layer whose output is scaled by a random factor."""

    def __init__(self, draw: Callable[[], float]) -> None:
        super().__init__()
        self.layer, self.draw = nn.Linear(4, 1), draw

    def forward(self, x: Tensor) -> Tensor:
        predicted: Tensor = (1 + self.draw()) * self.layer(x)
        return predicted


class Branching(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        predicted: Tensor = self.layer(x if x.mean().item() > 0 else 2 * x)
        return predicted


@pytest.mark.parametrize("name", ENGINES)
def test_results_carry_no_graph(name: EngineName) -> None:
    model = Drawn(lambda: 0.5).double()  # no plain chain
    engine = make_engine(name, model, MEAN_SQUARED_ERROR)
    found = engine.meta_gradient(meta_parameters(model), Episodes(*points()), InnerLoop(0.1, 1), first_order=False)
    assert not any(t.requires_grad for t in (found.loss, found.outputs, found.support_loss, *found.gradients.values()))


@pytest.mark.filterwarnings("ignore:meta_gradient uses engine 'loop'")
@pytest.mark.parametrize("engine", ["auto", *ENGINES])
@pytest.mark.parametrize("draw", [lambda: torch.rand(()).item(), random.random], ids=["torch", "python"])
def test_random_numbers_are_drawn_task_by_task(engine: EngineChoice, draw: Callable[[], float]) -> None:
    model, data = Drawn(draw).double(), points()
    with torch.random.fork_rng():
        torch.manual_seed(3)
        random.seed(3)
        expected = plain(model, F.mse_loss, data)
        states = torch.get_rng_state(), random.getstate()
        torch.manual_seed(3)
        random.seed(3)
        assert_same(meta_gradient(model, F.mse_loss, *data, inner_lr=0.1, inner_steps=2, engine=engine), expected)
        assert torch.equal(torch.get_rng_state(), states[0])
        assert random.getstate() == states[1]


perceptron_0 = perceptron()


@pytest.mark.parametrize(
    ("change", "is_one"),
    [
        (lambda m: None, True),
        (lambda m: m.append(m[2]), False),
        (lambda m: m[0].register_forward_hook(lambda *_: None), False),
        (lambda m: m[0].register_full_backward_hook(lambda *_: None), False),
        (lambda m: m.register_forward_pre_hook(lambda *_: None), False),
        (lambda m: setattr(m[0], "forward", m[0].forward), False),
        (lambda m: setattr(m[1], "weight", m[0].bias), False),
        (lambda m: m[5].float(), False),
        (lambda m: nn.utils.parametrizations.weight_norm(m[5]), False),
        (lambda m: m.append(nn.Dropout()), False),
        (lambda m: m.append(nn.ReLU(inplace=True)), True),
        (lambda m: m.insert(0, nn.ReLU(inplace=True)), False),
        (lambda m: m.append(nn.Sequential(nn.ReLU(), nn.Linear(3, 3).double())), True),
        (lambda m: m[0].requires_grad_(False), True),
    ],
)
def test_is_chain(change: Callable[[nn.Sequential], object], is_one: bool) -> None:
    model = convolutional(track_running_stats=False)
    change(model)
    assert is_chain(model) == is_one


def test_updated_running_averages_prevent_a_chain() -> None:
    assert not is_chain(convolutional())
    assert is_chain(convolutional().eval())
    assert not is_chain(Branching())


def test_auto_warns_once_about_fallback(monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder) -> None:
    monkeypatch.setattr(verification, "_verdicts", {})
    for _ in range(2):
        meta_gradient(Branching().double(), F.mse_loss, *points(), inner_lr=0.1, inner_steps=1)
    (warning,) = recwarn.list
    assert str(warning.message).startswith("meta_gradient uses engine 'loop' instead of 'batched'")
    assert warning.filename == __file__


def test_verdicts_are_cached_by_structure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verification, "_verdicts", {})
    verified: list[str] = []
    real = verification._verified

    def counted(name: EngineName, *arguments: Any) -> verification.Verdict:
        verified.append(name)
        return real(name, *arguments)

    monkeypatch.setattr(verification, "_verified", counted)

    def compute(model: nn.Module, loss_fn: LossFn = F.mse_loss) -> int:
        meta_gradient(model, loss_fn, *points(), inner_lr=0.1, inner_steps=1)
        return len(verified)

    assert compute(perceptron()) == 1
    assert compute(perceptron()) == 1
    assert compute(perceptron(), F.l1_loss) == 2
    assert compute(nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 1)).double()) == 3
    assert compute(perceptron().train(False)) == 4


def test_autocast_of_caller_is_kept() -> None:
    model, data = perceptron().float(), points()
    single = data[0].float(), data[1].float(), data[2].float(), data[3].float()
    with torch.autocast("cpu", torch.bfloat16):
        loss, gradients = meta_gradient(model, F.mse_loss, *single, inner_lr=0.1, inner_steps=2)
        expected_loss, expected = plain(model, F.mse_loss, single)
        with pytest.raises(BadInput, match="autocast is enabled"):
            meta_gradient(model, F.mse_loss, *single, inner_lr=0.1, inner_steps=2, engine="batched")
    torch.testing.assert_close(loss, expected_loss)
    torch.testing.assert_close(gradients, expected)


class Tuple(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.layer(x), x


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"model": perceptron().requires_grad_(False)}, "no parameter that requires gradients"),
        ({"model": "a model"}, "model is a str"),
        ({"model": nn.LazyLinear(1)}, "call the model once"),
        ({"model": nn.Linear(5, 1)}, "the model failed on the support set of task 0: RuntimeError"),
        (
            {"model": Tuple().double()},
            "loss_fn failed on the support set of task 0, given the tuple that the model returned",
        ),
        ({"inner_lr": -0.1}, "inner_lr is -0.1"),
        ({"inner_lr": float("nan")}, "inner_lr is nan"),
        ({"inner_lr": "fast"}, "inner_lr is 'fast'"),
        ({"inner_lr": 10**400}, "inner_lr is 1000"),
        ({"inner_lr": torch.tensor(1j)}, "inner_lr is tensor"),
        ({"inner_lr": torch.tensor(0.1, requires_grad=True)}, "inner_lr is a tensor"),
        ({"inner_steps": 1.5}, "inner_steps is 1.5"),
        ({"inner_steps": 0}, "inner_steps is 0"),
        ({"support_x": points()[0][:1]}, "the same number of tasks"),
        (dict(zip(TENSORS, (t[:0] for t in points()), strict=True)), "the tensors have 0 tasks"),
        ({"engine": "jax"}, "must be one of auto"),
        ({"query_x": points()[2][:, :0]}, "query_x has the shape"),
        ({"support_y": [1]}, "support_y is a list"),
        ({"loss_fn": F.mse_loss(torch.ones(1), torch.ones(1))}, "loss_fn is a Tensor"),
        ({"loss_fn": lambda p, y: (p - y).square()}, r"loss_fn returned a tensor of torch.float64 and shape \[6, 1\]"),
        ({"loss_fn": lambda p, y: 1.0}, "loss_fn returned 1.0"),
        ({"loss_fn": lambda p, y: p.detach().mean()}, "does not depend on any parameter"),
    ],
)
def test_bad_input_names_the_argument(change: dict[str, object], sentence: str) -> None:
    tensors = dict(zip(TENSORS, points(), strict=True))
    given = {"model": perceptron_0, "loss_fn": F.mse_loss, **tensors, "inner_lr": 0.1, "inner_steps": 1}
    with pytest.raises(BadInput, match=sentence):
        meta_gradient(**(given | change))  # type: ignore[arg-type]


def test_refusal_names_reason_and_remedy() -> None:
    with pytest.raises(BadInput, match=r"does not support .* RuntimeError: .*; use engine='auto' or engine='loop'"):
        meta_gradient(Branching().double(), F.mse_loss, *points(), inner_lr=0.1, inner_steps=1, engine="batched")


def test_a_missing_second_derivative_is_explained() -> None:
    model = nn.Sequential(nn.EmbeddingBag(10, 4), nn.Linear(4, 3)).double()  # torch differentiates it only once
    x, y = torch.arange(12).view(2, 3, 2) % 10, torch.arange(3).repeat(2, 1)
    with pytest.raises(BadInput, match="first_order=True needs no second derivative"):
        meta_gradient(model, F.cross_entropy, x, y, x, y, inner_lr=0.1, inner_steps=1, engine="loop")
    meta_gradient(model, F.cross_entropy, x, y, x, y, inner_lr=0.1, inner_steps=1, engine="loop", first_order=True)


class CopiesItself(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 1)

    def __deepcopy__(self, memo: dict[int, object]) -> CopiesItself:
        copy = CopiesItself().double()
        copy.load_state_dict(self.state_dict())
        return copy

    def forward(self, x: Tensor) -> Tensor:
        predicted: Tensor = self.layer(x)
        return predicted


def test_modules_that_copy_themselves_are_adapted() -> None:
    model = CopiesItself().double()
    same = nn.Sequential(OrderedDict(layer=model.layer))
    assert_same(
        meta_gradient(model, F.mse_loss, *points(), inner_lr=0.1, inner_steps=2, engine="loop"),
        plain(same, F.mse_loss, points()),
    )


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_scripted_modules_are_refused() -> None:
    model = torch.jit.script(perceptron())
    with pytest.raises(BadInput, match="Jitted"):
        meta_gradient(model, F.mse_loss, *points(), inner_lr=0.1, inner_steps=2)


class ListedParameter(nn.Module):
    """A module that uses its parameter both as an attribute and as an element of a list."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 1, dtype=torch.float64))
        self.listed = [self.weight]

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x @ self.listed[0]) + x @ self.weight


@pytest.mark.parametrize("engine", ["auto", "loop"])
def test_parameters_in_lists_are_constant(engine: Literal["auto", "loop"]) -> None:
    torch.manual_seed(0)
    model = ListedParameter()
    x, y = torch.randn(2, 5, 4, dtype=torch.float64), torch.randn(2, 5, 1, dtype=torch.float64)
    loss, gradients = meta_gradient(model, F.mse_loss, x, y, x, y, inner_lr=0.1, inner_steps=2, engine=engine)
    expected, by_autograd = plain(model, F.mse_loss, (x, y, x, y))
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(gradients, by_autograd)
    constant = model.weight.detach()
    fast = [model.weight.detach().clone().requires_grad_()] * 2
    for _ in range(2):
        losses = [F.mse_loss(torch.tanh(x[t] @ constant) + x[t] @ fast[t], y[t]) for t in range(2)]
        fast = [w - 0.1 * torch.autograd.grad(each, w)[0] for w, each in zip(fast, losses, strict=True)]
    final = [F.mse_loss(torch.tanh(x[t] @ constant) + x[t] @ fast[t], y[t]) for t in range(2)]
    torch.testing.assert_close(loss, torch.stack(final).mean().detach())
