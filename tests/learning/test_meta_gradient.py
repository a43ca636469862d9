"""meta_gradient gives plain autograd's answer for modules and losses that are unlike our own, or refuses."""

from __future__ import annotations

import random
from collections.abc import Callable
from copy import deepcopy
from typing import Any, Literal

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from metatui.errors import BadInput
from metatui.learning.engines import ENGINES, EngineName, meta_gradient, verification
from metatui.learning.engines.chain import is_chain
from metatui.learning.inner import Params
from metatui.learning.losses import LossFn

EngineChoice = Literal["auto", "batched", "unfolded", "loop", "native", "higher"]
Data = tuple[Tensor, Tensor, Tensor, Tensor]


def plain(model: nn.Module, loss_fn: LossFn, data: Data, *, first_order: bool = False) -> tuple[Tensor, Params]:
    """MAML task by task in ordinary autograd, with nothing of metatui in it."""
    names = [name for name, p in model.named_parameters() if p.requires_grad]
    total, losses = dict.fromkeys(names, torch.zeros(())), []
    for x, y, query_x, query_y in zip(*data, strict=True):
        copy = deepcopy(model)
        theta = {n: p.detach().clone().requires_grad_() for n, p in model.named_parameters() if n in names}
        fast = theta
        for _ in range(2):
            loss = loss_fn(functional_call(copy, fast, (x,)), y)
            found = torch.autograd.grad(
                loss, list(fast.values()), create_graph=not first_order, materialize_grads=True
            )  # fmt: skip
            fast = {n: p - 0.1 * g for (n, p), g in zip(fast.items(), found, strict=True)}
        loss = loss_fn(functional_call(copy, fast, (query_x,)), query_y)
        losses.append(loss.detach())
        found = torch.autograd.grad(loss, list(theta.values()), materialize_grads=True)
        total = {n: total[n] + g / len(data[0]) for n, g in zip(names, found, strict=True)}
    return torch.stack(losses).mean(), total


def assert_same(got: tuple[Tensor, Params], expected: tuple[Tensor, Params]) -> None:
    torch.testing.assert_close(got[0], expected[0], rtol=1e-9, atol=0)
    assert list(got[1]) == list(expected[1])
    for name, gradient in expected[1].items():
        torch.testing.assert_close(got[1][name], gradient, rtol=1e-8, atol=1e-11)


def points() -> Data:
    generator = torch.Generator().manual_seed(0)
    x, query_x = (torch.randn(3, n, 4, generator=generator, dtype=torch.float64) for n in (6, 5))
    return x, x.sum(2, keepdim=True).sin(), query_x, query_x.sum(2, keepdim=True).sin()


def pictures() -> Data:
    generator = torch.Generator().manual_seed(0)
    x, query_x = (torch.randn(2, 6, 3, 4, 4, generator=generator, dtype=torch.float64) for _ in range(2))
    y = torch.arange(3).repeat(2, 2)
    return x, y, query_x, y


def perceptron() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 1)).double()


def convolutional(**norm: bool) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4, **norm), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(16, 3),
    ).double()  # fmt: skip


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, 4), nn.Linear(4, 4)
        self.last.weight = self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.last(torch.tanh(self.first(x)))).sum(-1, keepdim=True)


class RunningMean(nn.Module):
    mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 1)
        self.register_buffer("mean", torch.zeros(4))

    def forward(self, x: Tensor) -> Tensor:
        self.mean = 0.9 * self.mean + 0.1 * x.detach().mean(0)
        predicted: Tensor = self.layer(x - self.mean)
        return predicted


class Drawn(nn.Module):
    """Multiplies by a random number."""

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


class Skip(nn.Module):
    """Reads a layer in the middle of a block."""

    def __init__(self) -> None:
        super().__init__()
        self.block = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2))
        self.last = nn.Linear(20, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.block[1](self.block[0](x))
        predicted: Tensor = self.last(torch.cat([self.block[3](self.block[2](h)).flatten(1), h.mean((2, 3))], 1))
        return predicted


def hooked() -> nn.Sequential:
    model = convolutional()
    model[0].register_forward_hook(lambda *arguments: 2 * arguments[2])
    return model


def repeated() -> nn.Sequential:
    layer, act = nn.Linear(4, 4), nn.Tanh()
    return nn.Sequential(layer, act, layer, act, nn.Linear(4, 1)).double()


def normed_weights() -> nn.Sequential:
    with pytest.warns(FutureWarning):
        return nn.Sequential(nn.utils.weight_norm(nn.Linear(4, 4)), nn.Linear(4, 1)).double()


AWKWARD: dict[str, Callable[[], nn.Module]] = {
    "repeated": repeated,
    "tied": lambda: Tied().double(),
    "hooked": hooked,
    "skip": lambda: Skip().double(),
    "running mean": lambda: RunningMean().double(),
    "branching": lambda: Branching().double(),
    "spectral norm": lambda: nn.Sequential(nn.utils.parametrizations.spectral_norm(nn.Linear(4, 1))).double(),
    "weight norm": normed_weights,
    "frozen convolution": lambda: nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1).requires_grad_(False), nn.GroupNorm(2, 4), nn.Flatten(), nn.Linear(64, 3)
    ).double(),
}


@pytest.mark.filterwarnings("ignore:meta_gradient uses engine 'loop'")
@pytest.mark.parametrize("first_order", [False, True])
@pytest.mark.parametrize("name", AWKWARD)
def test_every_engine_matches_autograd_or_refuses(name: str, first_order: bool) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = AWKWARD[name]()
    images = any(isinstance(module, nn.Conv2d) for module in model.modules())
    data, loss_fn = (pictures(), F.cross_entropy) if images else (points(), F.mse_loss)
    before = {key: t.clone() for key, t in model.state_dict().items()}
    expected = None if name == "weight norm" else plain(model, loss_fn, data, first_order=first_order)
    engines: tuple[EngineChoice, ...] = ("loop", "auto", *ENGINES)
    for engine in engines:
        try:
            got = meta_gradient(
                model, loss_fn, *data, inner_lr=0.1, inner_steps=2, first_order=first_order, engine=engine
            )
        except BadInput:
            if engine in ("auto", "loop"):
                raise
            continue
        expected = expected or got  # copy.deepcopy fails for weight norm, so the first engine is the reference
        assert_same(got, expected)
    assert all(torch.equal(t, before[key]) for key, t in model.state_dict().items())


@pytest.mark.filterwarnings("ignore:meta_gradient uses engine 'loop'")
@pytest.mark.parametrize("engine", ["auto", *ENGINES])
@pytest.mark.parametrize("draw", [lambda: torch.rand(()).item(), random.random], ids=["torch", "python"])
def test_random_numbers_are_drawn_as_in_a_loop_over_tasks(engine: EngineChoice, draw: Callable[[], float]) -> None:
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


def ignored(y: Tensor) -> Tensor:
    return y.masked_fill(torch.arange(y.shape[1]) == 0, -100)


@pytest.mark.parametrize("engine", ["auto", "loop", "batched"])
def test_losses_are_the_callers(engine: EngineChoice) -> None:
    def ours(model: nn.Module, loss_fn: LossFn, data: Data) -> tuple[Tensor, Params]:
        return meta_gradient(model, loss_fn, *data, inner_lr=0.1, inner_steps=2, engine=engine)

    x, y, query_x, query_y = points()
    # Targets [B] against predictions [B, 1] are broadcast, with a warning from torch.
    square = x[:, :3], y[:, :3, 0], query_x[:, :3], query_y[:, :3, 0]
    with pytest.warns(UserWarning, match="target size"):
        expected, got = plain(perceptron_0, F.mse_loss, square), ours(perceptron_0, F.mse_loss, square)
    assert_same(got, expected)
    labels = torch.arange(6).repeat(3, 1) % 3
    model = nn.Linear(4, 3).double()
    for targets in (ignored(labels), torch.rand(3, 6, 3, dtype=torch.float64)):
        data = x, targets, query_x, targets[:, :5]
        assert_same(ours(model, F.cross_entropy, data), plain(model, F.cross_entropy, data))


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
def test_chains_are_told_from_other_modules(change: Callable[[nn.Sequential], object], is_one: bool) -> None:
    model = convolutional(track_running_stats=False)
    change(model)
    assert is_chain(model) == is_one


def test_running_averages_are_no_chain_while_they_are_updated() -> None:
    assert not is_chain(convolutional())
    assert is_chain(convolutional().eval())
    assert not is_chain(Tied())


def test_auto_says_once_when_it_falls_back(monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder) -> None:
    monkeypatch.setattr(verification, "_verdicts", {})
    for _ in range(2):
        meta_gradient(Branching().double(), F.mse_loss, *points(), inner_lr=0.1, inner_steps=1)
    (warning,) = recwarn.list
    assert str(warning.message).startswith("meta_gradient uses engine 'loop' in place of 'batched'")
    assert warning.filename == __file__


def test_a_verdict_is_kept_for_a_structure(monkeypatch: pytest.MonkeyPatch) -> None:
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


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("engine", ["auto", "loop", "batched"])
def test_gradients_are_enabled_inside(mode: Callable[[], torch.no_grad], engine: EngineChoice) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        expected = plain(perceptron(), F.mse_loss, points())
        with mode():
            torch.manual_seed(0)
            got = meta_gradient(perceptron(), F.mse_loss, *points(), inner_lr=0.1, inner_steps=2, engine=engine)
            assert not torch.is_grad_enabled()
    assert_same(got, expected)


def test_autocast_is_the_callers() -> None:
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
        ({"model": Tuple().double()}, "loss_fn failed on the support set of task 0, given the tuple of the model"),
        ({"inner_lr": -0.1}, "inner_lr is -0.1"),
        ({"inner_lr": float("nan")}, "inner_lr is nan"),
        ({"inner_lr": "fast"}, "inner_lr is 'fast'"),
        ({"inner_lr": torch.tensor(0.1, requires_grad=True)}, "inner_lr is a tensor"),
        ({"inner_steps": 1.5}, "inner_steps is 1.5"),
        ({"query_x": points()[2][:, :0]}, "query_x has the shape"),
        ({"support_y": [1]}, "support_y is a list"),
        ({"loss_fn": F.mse_loss(torch.ones(1), torch.ones(1))}, "loss_fn is a Tensor"),
        ({"loss_fn": lambda p, y: (p - y).square()}, r"loss_fn returned a tensor of torch.float64 and shape \[6, 1\]"),
        ({"loss_fn": lambda p, y: 1.0}, "loss_fn returned 1.0"),
        ({"loss_fn": lambda p, y: p.detach().mean()}, "does not depend on any parameter"),
    ],
)
def test_bad_input_names_the_argument(change: dict[str, object], sentence: str) -> None:
    x, y, query_x, query_y = points()
    given: dict[str, object] = {
        "model": perceptron_0, "loss_fn": F.mse_loss, "support_x": x, "support_y": y, "query_x": query_x,
        "query_y": query_y, "inner_lr": 0.1, "inner_steps": 1,
    }  # fmt: skip
    with pytest.raises(BadInput, match=sentence):
        meta_gradient(**(given | change))  # type: ignore[arg-type]


def test_a_refusal_says_why_and_what_to_do() -> None:
    with pytest.raises(BadInput, match=r"cannot compute .* RuntimeError: .*; use engine='auto' or engine='loop'"):
        meta_gradient(Branching().double(), F.mse_loss, *points(), inner_lr=0.1, inner_steps=1, engine="batched")


def test_a_missing_second_derivative_is_explained() -> None:
    model = nn.Sequential(nn.EmbeddingBag(10, 4), nn.Linear(4, 3)).double()  # torch differentiates it only once
    x, y = torch.arange(12).view(2, 3, 2) % 10, torch.arange(3).repeat(2, 1)
    with pytest.raises(BadInput, match="first_order=True needs no second derivative"):
        meta_gradient(model, F.cross_entropy, x, y, x, y, inner_lr=0.1, inner_steps=1, engine="loop")
    meta_gradient(model, F.cross_entropy, x, y, x, y, inner_lr=0.1, inner_steps=1, engine="loop", first_order=True)


def test_embeddings_of_bounded_norm_leave_the_callers_weights() -> None:
    model = nn.Sequential(nn.Embedding(10, 4, max_norm=1.0), nn.Flatten(), nn.Linear(8, 3)).double()
    before = model.get_parameter("0.weight").clone()
    x, y = torch.arange(12).view(2, 3, 2) % 10, torch.arange(3).repeat(2, 1)
    got = meta_gradient(model, F.cross_entropy, x, y, x, y, inner_lr=0.1, inner_steps=2, engine="loop")
    assert torch.equal(model.get_parameter("0.weight"), before)
    assert_same(got, plain(model, F.cross_entropy, (x, y, x, y)))
