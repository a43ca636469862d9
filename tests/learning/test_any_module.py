"""`meta_gradient` gives plain autograd's answer for any module and any loss, or refuses with a reason."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import metatui
from metatui.errors import BadInput
from metatui.learning.awkward import Written
from metatui.learning.episodes import Episodes
from metatui.learning.inner import Params
from metatui.learning.losses import LossFn
from metatui.learning.plain_autograd import plain_meta_gradient
from tests.random_modules.case import make_case
from tests.random_modules.judge import ENGINES, MAY_NOT_REFUSE, EngineChoice, Snapshot, Verdict, judge

AGREEMENT = 1e-8

pytestmark = [
    pytest.mark.usefixtures("one_torch_thread"),
    pytest.mark.filterwarnings("ignore:meta_gradient uses engine 'loop'"),
]


@pytest.fixture(autouse=True)
def same_generators() -> Iterator[None]:
    """Restore the random generators, which these tests seed."""
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


def off(found: Params, expected: Params) -> float:
    """The norm of the difference, relative to the norm of what is expected."""
    assert found.keys() == expected.keys()
    difference = torch.cat([(found[name] - g).flatten() for name, g in expected.items()])
    return float(difference.norm() / torch.cat([g.flatten() for g in expected.values()]).norm())


def agree_or_refuse(model: nn.Module, loss: LossFn, e: Episodes, steps: int = 3) -> None:
    """Hold every engine against plain autograd, `auto` also in first order; `auto` and `loop` must not refuse."""
    for first_order, engines in ((False, ENGINES), (True, ENGINES[:1])):
        expected_loss, expected = plain_meta_gradient(model, loss, e, 0.1, steps, first_order=first_order)
        for engine in engines:
            try:
                found_loss, found = ask(model, loss, e, engine, inner_steps=steps, first_order=first_order)
            except BadInput:
                if engine in MAY_NOT_REFUSE:
                    raise
                continue
            assert off(found, expected) <= AGREEMENT, (engine, first_order)
            assert torch.allclose(found_loss, expected_loss, rtol=AGREEMENT, atol=0), (engine, first_order)


def perceptron(outputs: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, outputs)).double()


def conv_net() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.Tanh(), nn.Flatten(), nn.Linear(288, 3)).double()


# The reference itself


def slope(loss: Callable[[], Tensor], p: Tensor, direction: Tensor, step: float = 1e-5) -> float:
    """The central finite difference of `loss` where `p` moves along `direction`."""
    values = []
    for sign in (1, -1):
        with torch.no_grad():
            p.add_(direction, alpha=sign * step)
        values.append(float(loss()))
        with torch.no_grad():
            p.sub_(direction, alpha=sign * step)
    return (values[0] - values[1]) / (2 * step)


def _checkpointed() -> nn.Module:
    return Written(
        lambda m, x: m.last(checkpoint(m.first, x, use_reentrant=False)), first=perceptron(3), last=nn.Linear(3, 1)
    ).double()


@pytest.mark.parametrize(
    "make", [perceptron, _checkpointed, lambda: nn.Sequential(perceptron(3), nn.Dropout(0.4), nn.Linear(3, 1)).double()]
)
def test_plain_autograd_is_the_slope_of_its_own_loss(make: Callable[[], nn.Module]) -> None:
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
    assert off(together, {name: torch.stack([g[name] for g in alone]).mean(0) for name in together}) < 1e-14
    assert model.calls == 0


# Sharing, hooks and readers of layers


def _one_activation_twice() -> nn.Module:
    act = nn.Tanh()
    return nn.Sequential(nn.Linear(4, 4), act, nn.Linear(4, 4), act, nn.Linear(4, 1))


def _one_linear_twice() -> nn.Module:
    linear = nn.Linear(4, 4)
    return nn.Sequential(linear, nn.Tanh(), linear, nn.Linear(4, 1))


def _tied() -> nn.Module:
    model = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4), nn.Linear(4, 1))
    model[2].weight = model[0].weight
    return model


def _hooked(layer: int | None) -> nn.Module:
    model = perceptron()
    (model if layer is None else model[layer]).register_forward_hook(lambda module, inputs, output: 2 * output)
    return model


def _pre_hooked() -> nn.Module:
    model = perceptron()
    model[1].register_forward_pre_hook(lambda module, inputs: (0.5 * inputs[0],))
    return model


def _halve_gradient(module: nn.Module, inputs: Any, outputs: Any) -> Any:
    return (0.5 * inputs[0],)


def _backward_hooked() -> nn.Module:
    model = perceptron()
    model[1].register_full_backward_hook(_halve_gradient)
    return model


@pytest.mark.parametrize(
    "make",
    [
        _one_activation_twice,
        _one_linear_twice,
        _tied,
        _pre_hooked,
        _backward_hooked,
        *(partial(_hooked, n) for n in (0, 1, None)),
    ],
)
def test_shared_and_hooked_layers(make: Callable[[], nn.Module]) -> None:
    agree_or_refuse(make().double(), F.mse_loss, points())


def _tap(m: Any, x: Tensor) -> Tensor:
    h = m.block[1](m.block[0](x))
    out: Tensor = m.last(torch.cat([m.block[3](m.block[2](h)).flatten(1), h.mean((2, 3))], 1))
    return out


def _block() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2))


def _hooked_block(layer: int) -> nn.Module:
    model = nn.Sequential(*_block(), nn.Flatten(), nn.Linear(72, 3))
    model[layer].register_forward_hook(lambda module, inputs, output: 2 * output)
    return model


def _hooked_convolution() -> nn.Module:
    model = conv_net()
    model[0].register_forward_hook(lambda module, inputs, output: 2 * output)
    return model


def _reads_stride() -> nn.Module:
    return Written(
        lambda m, x: m.last(m.conv(x).flatten(1)) * m.conv.stride[0], conv=nn.Conv2d(3, 2, 3), last=nn.Linear(32, 3)
    )


@pytest.mark.parametrize(
    "make",
    [
        lambda: Written(_tap, block=_block(), last=nn.Linear(80, 3)),
        _hooked_convolution,
        _reads_stride,
        *(partial(_hooked_block, n) for n in range(4)),
    ],
)
def test_layers_read_from_inside_a_block(make: Callable[[], nn.Module]) -> None:
    agree_or_refuse(make().double(), F.cross_entropy, images(), steps=2)


# Randomness and state


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("engine", ENGINES)
def test_dropout_is_the_same_in_every_derivative(engine: EngineChoice, steps: int) -> None:
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


class Centre(nn.Module):
    """Keeps a running mean in a buffer."""

    mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(4, 1)
        self.register_buffer("mean", torch.zeros(4))

    def forward(self, x: Tensor) -> Tensor:
        self.mean = 0.9 * self.mean + 0.1 * x.detach().mean(0)
        out: Tensor = self.last(x - self.mean)
        return out


class Counted(nn.Module):
    """Counts calls in a Python attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.last, self.calls = nn.Linear(4, 1), 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        out: Tensor = self.last(x) * self.calls
        return out


def _spectral() -> nn.Module:
    return nn.Sequential(nn.utils.parametrizations.spectral_norm(nn.Linear(4, 4)), nn.Linear(4, 1))


def _averaging() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))


@pytest.mark.parametrize("make", [Centre, Counted, _spectral, _averaging, lambda: _averaging().eval()])
@pytest.mark.parametrize("steps", [1, 2])
def test_state_does_not_pass_from_task_to_task(make: Callable[[], nn.Module], steps: int) -> None:
    model = make().double()
    before = {name: b.clone() for name, b in model.named_buffers()}
    agree_or_refuse(model, F.mse_loss, points(), steps)
    assert all(torch.equal(before[name], b) for name, b in model.named_buffers())
    assert getattr(model, "calls", 0) == 0


def test_embedding_with_max_norm_keeps_the_weights_of_the_caller() -> None:
    model = nn.Sequential(nn.Embedding(10, 4, max_norm=1.0), nn.Flatten(), nn.Linear(12, 3)).double()
    e = Episodes(*(torch.randint(0, high, shape) for high, shape in (
        (10, (2, 4, 3)), (3, (2, 4)), (10, (2, 3, 3)), (3, (2, 3)),
    )))  # fmt: skip
    weight = model.get_parameter("0.weight")
    before = weight.detach().clone()
    agree_or_refuse(model, F.cross_entropy, e)
    assert torch.equal(before, weight)


# Losses


def _labels(n: int) -> Tensor:
    return torch.randint(0, 3, (2, n))


def _some_ignored(n: int) -> Tensor:
    found = _labels(n)
    found[:, n // 3] = -100
    return found


def _probabilities(n: int) -> Tensor:
    return normal(2, n, 3).softmax(-1)


@pytest.mark.parametrize(
    ("loss", "targets"),
    [
        (F.cross_entropy, _some_ignored),
        (F.cross_entropy, _probabilities),
        (F.cross_entropy, _labels),
        (nn.CrossEntropyLoss(ignore_index=1), _labels),
        (partial(F.cross_entropy, label_smoothing=0.1), _labels),
    ],
)
def test_classification_losses(loss: LossFn, targets: Callable[[int], Tensor]) -> None:
    e = points()
    agree_or_refuse(perceptron(3), loss, Episodes(e.support_x, targets(4), e.query_x, targets(3)))


def test_cross_entropy_of_every_pixel() -> None:
    e = images()
    targets = (torch.randint(0, 3, (2, n, 6, 6)) for n in (4, 3))
    agree_or_refuse(
        nn.Conv2d(3, 3, 1).double(), F.cross_entropy, Episodes(e.support_x, next(targets), e.query_x, next(targets))
    )


@pytest.mark.parametrize("loss", [F.mse_loss, F.l1_loss, lambda p, y: ((p - y) ** 2).sum()])
@pytest.mark.parametrize("targets", [(), (4,)])
@pytest.mark.filterwarnings("ignore:Using a target size")
def test_broadcast_targets_never_mix_tasks(loss: LossFn, targets: tuple[int, ...]) -> None:
    agree_or_refuse(perceptron(1), loss, points(targets=targets, tasks=4, support=4, query=4))


# Memory format


class View(nn.Module):
    """Flattens by a view."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.last = nn.Conv2d(3, 8, 3, padding=1), nn.Linear(288, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.conv(x))
        out: Tensor = self.last(x.view(x.size(0), -1))
        return out


def _group_norm_after_frozen_convolution() -> nn.Module:
    """Ended the process with a segmentation fault in torch's kernel for channels_last."""
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.GroupNorm(2, 8), nn.ReLU(), nn.Flatten(), nn.Linear(288, 3))
    model[0].requires_grad_(False)
    return model


@pytest.mark.parametrize("make", [View, _group_norm_after_frozen_convolution])
def test_memory_format_of_the_module_is_kept(make: Callable[[], nn.Module]) -> None:
    agree_or_refuse(make().double(), F.cross_entropy, images(), steps=2)


# What torch.vmap cannot do


class Recurrent(nn.Module):
    """The last output of a recurrent layer."""

    def __init__(self, layer: type[nn.RNN | nn.GRU | nn.LSTM]) -> None:
        super().__init__()
        self.cells, self.last = layer(4, 5, batch_first=True), nn.Linear(5, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.last(self.cells(x)[0][:, -1])
        return out


@pytest.mark.parametrize("layer", [nn.RNN, nn.GRU, nn.LSTM])
def test_recurrent_layers(layer: type[nn.RNN | nn.GRU | nn.LSTM]) -> None:
    e = Episodes(normal(2, 4, 3, 4), normal(2, 4, 1), normal(2, 3, 3, 4), normal(2, 3, 1))
    agree_or_refuse(Recurrent(layer).double(), F.mse_loss, e, steps=2)


def _halved(m: Any, x: Tensor) -> Tensor:
    while float(x.abs().max()) > 1:
        x = x / 2
    out: Tensor = m.last(x)
    return out


@pytest.mark.parametrize(
    "make",
    [
        lambda: Written(lambda m, x: m.last(x) if x.mean().item() > 0 else m.last(2 * x), last=nn.Linear(4, 1)),
        lambda: Written(_halved, last=nn.Linear(4, 1)),
        _checkpointed,
    ],
)
def test_data_dependent_control_flow_and_checkpointing(make: Callable[[], nn.Module]) -> None:
    agree_or_refuse(make().double(), F.mse_loss, points())


# The caller


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("engine", ENGINES)
def test_grad_mode_of_the_caller(mode: Callable[[], AbstractContextManager[None]], engine: EngineChoice) -> None:
    model, e = perceptron(), points()
    _, expected = ask(model, F.mse_loss, e, engine)
    with mode():
        found = ask(model, F.mse_loss, e, engine)[1]
        assert not torch.is_grad_enabled()
    assert off(found, expected) == 0


def _frozen() -> nn.Module:
    model = perceptron()
    model[0].requires_grad_(False)
    return model


@pytest.mark.parametrize(
    ("model", "changes", "says"),
    [
        (lambda: perceptron().requires_grad_(False), {}, "parameter"),
        (perceptron, {"inner_lr": -0.1}, "inner_lr"),
        (perceptron, {"inner_lr": float("nan")}, "inner_lr"),
        (perceptron, {"inner_lr": float("inf")}, "inner_lr"),
        (perceptron, {"inner_steps": 0}, "inner_steps"),
        (perceptron, {"engine": "fast"}, "engine"),
        (lambda: Written(lambda m, x: (m.last(x), x), last=nn.Linear(4, 1)).double(), {}, "tuple"),  # type: ignore[arg-type, return-value]
        (lambda: Written(lambda m, x: {"y": m.last(x)}, last=nn.Linear(4, 1)).double(), {}, "dict"),  # type: ignore[arg-type, return-value]
    ],
)
def test_bad_input_is_refused(model: Callable[[], nn.Module], changes: dict[str, Any], says: str) -> None:
    with pytest.raises(BadInput, match=says):
        ask(model(), F.mse_loss, points(), **changes)


def test_no_query_points_are_refused() -> None:
    with pytest.raises(BadInput, match="query"):
        ask(perceptron(), F.mse_loss, points(query=0))


def test_higher_with_a_frozen_layer() -> None:
    agree_or_refuse(_frozen(), F.mse_loss, points())


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
def test_the_older_weight_norm() -> None:
    """It leaves a tensor with a graph in the module, which has no deep copy."""
    model = nn.Sequential(nn.utils.weight_norm(nn.Linear(4, 8)), nn.Linear(8, 1)).double()
    same = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(4, 8)), nn.Linear(8, 1)).double()
    with torch.no_grad():
        for p, q in zip(same.parameters(), model.parameters(), strict=True):
            p.copy_(q)
    _, found = ask(model, F.mse_loss, e := points())
    _, expected = plain_meta_gradient(same, F.mse_loss, e, 0.1, 3, first_order=False)
    assert off(dict(zip(expected, found.values(), strict=True)), expected) <= AGREEMENT


def test_a_learning_rate_that_requires_a_gradient_is_refused() -> None:
    with pytest.raises(BadInput, match="inner_lr"):
        ask(perceptron(), F.mse_loss, points(), inner_lr=torch.tensor(0.1, dtype=torch.float64, requires_grad=True))


def test_nothing_of_the_caller_changes() -> None:
    """Each random case is also held to this."""
    model, e = _averaging().double(), points()
    before = Snapshot(model, F.mse_loss, e)
    state = torch.get_rng_state()
    for engine in ENGINES:
        with suppress(BadInput):
            ask(model, F.mse_loss, e, engine)
    assert before.changes() == []
    assert torch.equal(state, torch.get_rng_state())


# Random modules


@pytest.mark.parametrize("first", range(0, 100, 4))
def test_random_modules(first: int) -> None:
    """A hundred of `python -m tests.random_modules`, in second and first order by turns."""
    bad: list[Verdict] = []
    for seed in range(first, first + 4):
        bad += [verdict for verdict in judge(make_case(seed), orders=(seed % 2 == 1,)) if not verdict.ok]
    assert bad == []
