"""Tests of inner optimisers: agreement of every engine with simple torch loops, and gradients that are exactly zero."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from metatui.config.declarations import Scalar
from metatui.config.fields import change
from metatui.config.settings import Settings
from metatui.learning.algorithm import Algorithm, algorithm_class
from metatui.learning.data.episodes import Episodes
from metatui.learning.engines.base import MetaGradient, meta_parameters
from metatui.learning.engines.registry import EngineName, make_engine
from metatui.learning.models.conv4 import conv4
from metatui.learning.models.mlp import mlp
from metatui.learning.optim.inner import Params
from metatui.learning.optim.losses import CROSS_ENTROPY, MEAN_SQUARED_ERROR, Loss
from metatui.utils.errors import SettingsError

AGREEMENT = 1e-8
LR = 0.05
STEPS = 3
EPSILON, BETA2 = 1e-8, 0.999

RULES: dict[str, dict[str, Scalar]] = {
    "decay": {"inner_weight_decay": 0.3},
    "clip": {"inner_clip": 1.5},
    "momentum": {"inner_optimizer": "momentum", "inner_momentum": 0.7},
    "adam": {"inner_optimizer": "adam"},
    "momentum, decay, clip": {"inner_optimizer": "momentum", "inner_weight_decay": 0.3, "inner_clip": 0.5},
    "adam, decay, clip": {"inner_optimizer": "adam", "inner_weight_decay": 0.3, "inner_clip": 0.5},
}
ENGINES: tuple[EngineName, ...] = ("loop", "native", "batched", "unfolded")


class Residual(nn.Module):
    """A module with a skip connection and a scalar parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(1, 5), nn.Linear(5, 1)
        self.scale = nn.Parameter(torch.tensor(0.7))

    def forward(self, x: Tensor) -> Tensor:
        predicted: Tensor = self.scale * self.last(torch.tanh(self.first(x))) + x
        return predicted


def waves() -> Episodes:
    x = torch.linspace(-2, 2, 36, dtype=torch.float64).view(2, 18, 1)
    y = torch.stack([3 * torch.sin(x[0] + 1), 0.3 * torch.cos(x[1])])
    return Episodes(x[:, ::2], y[:, ::2], x[:, 1::2], y[:, 1::2])


def pictures() -> Episodes:
    x = torch.rand(2, 9, 1, 16, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    labels = torch.arange(3).repeat(2, 1)
    return Episodes(x[:, :3], labels, x[:, 3:], labels.repeat(1, 2))


def dead_relu() -> nn.Module:
    """Return a network in which one hidden unit is never active, so that its gradients are exactly zero."""
    model = mlp((4, 4))
    with torch.no_grad():
        model.get_parameter("0.bias")[1] = -100
    return model


WORKS: dict[str, tuple[Callable[[], nn.Module], Callable[[], Episodes], Loss]] = {
    "mlp": (dead_relu, waves, MEAN_SQUARED_ERROR),
    "module": (Residual, waves, MEAN_SQUARED_ERROR),
    "conv4": (lambda: conv4(3, input_shape=(1, 16, 16), filters=2), pictures, CROSS_ENTROPY),
}


def work(name: str) -> tuple[nn.Module, Episodes, Loss]:
    make, data, loss = WORKS[name]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return make().double(), data(), loss


def algorithm(model: nn.Module, name: str, rule: dict[str, Scalar], **more: Scalar) -> Algorithm:
    values = {"name": name, "inner_lr": LR, "inner_steps": STEPS, **rule, **more}
    return algorithm_class(name)(change(Settings(), {f"algorithm.{key}": v for key, v in values.items()}), model)


def plain_steps(
    support: Callable[[Params], Tensor], start: Params, adapted: list[str], settings: Any, *, first_order: bool
) -> Iterator[Params]:
    """Yield the parameters before the first inner step and after each one.

    The steps are computed with plain autograd, by the formulas in the documentation of torch.optim.
    """
    zeros = {name: torch.zeros_like(start[name]) for name in adapted}
    fast, velocity, square = start, dict(zeros), dict(zeros)
    yield fast
    for step in range(1, STEPS + 1):
        values = [fast[name] for name in adapted]
        slopes = torch.autograd.grad(support(fast), values, create_graph=True, materialize_grads=True)
        gradient = dict(zip(adapted, slopes, strict=True))
        if settings.inner_clip:
            norm = torch.stack([g.square().sum() for g in gradient.values()]).sum().sqrt()
            if norm > settings.inner_clip:
                gradient = {name: settings.inner_clip / norm * g for name, g in gradient.items()}
        gradient = {name: g + settings.inner_weight_decay * fast[name] for name, g in gradient.items()}
        if first_order:
            gradient = {name: g.detach() for name, g in gradient.items()}
        new = dict(fast)
        for name, g in gradient.items():
            if settings.inner_optimizer == "momentum":
                velocity[name] = settings.inner_momentum * velocity[name] + g
                g = velocity[name]
            if settings.inner_optimizer == "adam":
                square[name] = BETA2 * square[name] + (1 - BETA2) * g * g
                corrected = square[name] / (1 - BETA2**step)
                # The square root has no derivative at 0, where the numerator is 0 as well.
                positive = torch.where(corrected > 0, corrected, 1).sqrt()
                g = g / (torch.where(corrected > 0, positive, 0) + EPSILON)
            new[name] = fast[name] - settings.inner_lr * g
        fast = new
        yield fast


def reference(
    model: nn.Module, episodes: Episodes, loss: Loss, used: Algorithm, theta: Params, adapted: list[str]
) -> tuple[Tensor, Params]:
    """Adapt to each task separately with plain autograd, and return the mean query loss and its gradient."""
    start = {name: p.detach().clone().requires_grad_() for name, p in theta.items()}
    total = torch.zeros((), dtype=torch.float64)
    for x, y, query_x, query_y in zip(*episodes.tensors(), strict=True):

        def support(params: Params, x: Tensor = x, y: Tensor = y) -> Tensor:
            return loss.one(functional_call(model, params, (x,)), y)

        *_, fast = plain_steps(
            support, start, adapted, used.settings.algorithm, first_order=not used.second_order
        )  # fmt: skip
        total = total + loss.one(functional_call(model, fast, (query_x,)), query_y) / len(episodes)
    slopes = torch.autograd.grad(total, list(start.values()), materialize_grads=True)
    return total.detach(), dict(zip(start, slopes, strict=True))


def assert_same(actual: MetaGradient, expected: tuple[Tensor, Params]) -> None:
    loss, gradients = expected
    torch.testing.assert_close(actual.loss.mean(), loss, rtol=1e-10, atol=0)
    scale = torch.cat([g.flatten() for g in gradients.values()]).norm()
    assert torch.isfinite(scale)
    assert scale > 0
    for name, gradient in gradients.items():
        assert (actual.gradients[name] - gradient).norm() <= AGREEMENT * scale, name


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", ["maml", "fomaml"])
@pytest.mark.parametrize("kind", WORKS)
def test_engines_match_plain_torch(kind: str, name: str, rule: str) -> None:
    model, episodes, loss = work(kind)
    used, theta = algorithm(model, name, RULES[rule]), meta_parameters(model)
    expected = reference(model, episodes, loss, used, theta, list(theta))
    for engine in ENGINES:
        assert_same(make_engine(engine, model, loss).meta_gradient_of(used, theta, episodes), expected)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", ["maml", "fomaml"])
def test_some_parameters_match_plain_torch(name: str, rule: str) -> None:
    model, episodes, loss = work("mlp")
    used, theta = algorithm(model, name, RULES[rule], adapt="0.bias, 4.*"), meta_parameters(model)
    expected = reference(model, episodes, loss, used, theta, ["0.bias", "4.weight", "4.bias"])
    for engine in ENGINES:
        assert_same(make_engine(engine, model, loss).meta_gradient_of(used, theta, episodes), expected)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("kind", ["mlp", "conv4"])
def test_central_differences(kind: str, rule: str) -> None:
    model, episodes, loss = work(kind)
    used, theta = algorithm(model, "maml", RULES[rule]), meta_parameters(model)
    engine = make_engine("loop", model, loss)
    gradients = engine.meta_gradient_of(used, theta, episodes).gradients
    generator = torch.Generator().manual_seed(1)
    direction = {name: torch.randn(p.shape, generator=generator, dtype=p.dtype) for name, p in theta.items()}
    size, ends = 1e-7, []  # small, because ReLU and max-pooling have kinks
    for sign in (1, -1):
        moved = {name: p.detach() + sign * size * direction[name] for name, p in theta.items()}
        stack, _ = engine.adapted(used, moved, episodes)
        ends.append(loss.each(engine.predictions(used, stack, episodes, episodes.query_x), episodes.query_y).mean())
    slope = torch.stack([(gradients[name] * d).sum() for name, d in direction.items()]).sum()
    torch.testing.assert_close(slope, (ends[0] - ends[1]) / (2 * size), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("rule", "optimizer"),
    [
        ({"inner_optimizer": "momentum", "inner_momentum": 0.7, "inner_weight_decay": 0.3},
         lambda p: torch.optim.SGD(p, LR, momentum=0.7, weight_decay=0.3)),
        ({"inner_optimizer": "adam", "inner_weight_decay": 0.3},
         lambda p: torch.optim.Adam(p, LR, betas=(0.0, BETA2), weight_decay=0.3)),
    ],
    ids=["momentum", "adam"],
)  # fmt: skip
def test_adaptation_matches_torch_optim(
    rule: dict[str, Scalar], optimizer: Callable[[Any], torch.optim.Optimizer], engine: EngineName
) -> None:
    model, episodes, loss = work("conv4")
    used, theta = algorithm(model, "reptile", rule), meta_parameters(model)
    path = list(make_engine(engine, model, loss).adaptation(used, theta, episodes, STEPS))
    for t in range(len(episodes)):
        fast = {name: p.detach().clone().requires_grad_() for name, p in theta.items()}
        made = optimizer(fast.values())
        for step in range(1, STEPS + 1):
            made.zero_grad()
            value = loss.one(functional_call(model, fast, (episodes.support_x[t],)), episodes.support_y[t])
            value.backward()  # type: ignore[no-untyped-call]
            made.step()
            for name, p in fast.items():
                torch.testing.assert_close(path[step].params[name][t], p.detach(), rtol=1e-9, atol=1e-12)


def test_one_task_is_clipped_and_the_other_is_not() -> None:
    model, episodes, _ = work("mlp")
    theta, norms = meta_parameters(model), []
    for x, y in zip(episodes.support_x, episodes.support_y, strict=True):
        slopes = torch.autograd.grad(F.mse_loss(functional_call(model, theta, (x,)), y), list(theta.values()))
        norms.append(float(torch.cat([g.flatten() for g in slopes]).norm()))
    assert min(norms) < 1.5 < max(norms), "the limit of the rule `clip` should affect only one of the tasks"


@pytest.mark.parametrize("rule", ["adam", "clip", "adam, decay, clip"])
@pytest.mark.parametrize("engine", ENGINES)
def test_zero_gradients_give_no_nan(engine: EngineName, rule: str) -> None:
    model, episodes, loss = work("mlp")
    with torch.no_grad():
        for p in model.parameters():
            p.zero_()
    targets = torch.zeros_like(episodes.support_y)
    episodes = Episodes(episodes.support_x, targets, episodes.query_x, episodes.query_y)  # all gradients are zero
    used, theta = algorithm(model, "maml", RULES[rule]), meta_parameters(model)
    result = make_engine(engine, model, loss).meta_gradient_of(used, theta, episodes)
    assert all(torch.isfinite(g).all() for g in result.gradients.values())
    assert torch.isfinite(result.loss).all()


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_only_plain_sgd_is_recomputed(rule: dict[str, Scalar]) -> None:
    model, episodes, loss = work("conv4")
    engine = make_engine("loop", model, loss, second_order="recomputed")
    plain = algorithm(model, "maml", {}).plain
    other = algorithm(model, "maml", rule).plain
    assert plain is not None
    assert other is not None
    assert engine.recomputes(episodes, plain)
    assert not engine.recomputes(episodes, other)


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("compute.engine", "higher", "is 'higher', but must be another engine: the engine 'higher' supports only"),
        ("compute.engine", "compiled", "is 'compiled', but must be another engine: compiled meta-steps need"),
        (
            "compute.second_order",
            "recomputed",
            "is 'recomputed', but must be auto or unrolled, because only steps of plain SGD",
        ),
    ],
)
def test_unsuitable_computation_is_refused(path: str, value: str, words: str, rule: dict[str, Scalar]) -> None:
    changes = {f"algorithm.{key}": setting for key, setting in rule.items()}
    with pytest.raises(SettingsError) as caught:
        change(Settings(), {**changes, path: value})
    (problem,) = caught.value.problems
    assert problem.field == path
    assert words in problem.sentence
