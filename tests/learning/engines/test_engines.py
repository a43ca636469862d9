"""Test that all engines agree, both on metatui's models and on other modules."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from copy import deepcopy
from functools import partial
from typing import ClassVar, Literal

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from metatui.config.fields import parse
from metatui.learning.algorithm import algorithm_class
from metatui.learning.algorithms.reptile import Reptile
from metatui.learning.checks.plain_autograd import plain_meta_gradient
from metatui.learning.data.episodes import Episodes
from metatui.learning.data.sinusoid import SinusoidSource
from metatui.learning.engines.any_module.meta_gradient import meta_gradient
from metatui.learning.engines.base import detach_params, meta_parameters
from metatui.learning.engines.layers import fused_bn_pool, fused_first_block
from metatui.learning.engines.layers.batch_norm import BatchNorm
from metatui.learning.engines.layers.pooling import MaxPool, returns_maxima_only
from metatui.learning.engines.layers.rewrite import channels_last, fuse_pooling
from metatui.learning.engines.loop import LoopEngine
from metatui.learning.engines.registry import ENGINES, EngineName, make_engine
from metatui.learning.engines.task import Task
from metatui.learning.models.conv4 import conv4
from metatui.learning.models.mlp import mlp
from metatui.learning.nn.layers import Norm
from metatui.learning.optim.inner import InnerLoop, Params
from metatui.learning.optim.losses import CROSS_ENTROPY, MEAN_SQUARED_ERROR, LossFn

AGREEMENT = 1e-8


def flat(gradients: Params) -> Tensor:
    return torch.cat([g.flatten() for g in gradients.values()])


def points(tasks: int, examples: int, width: int = 1, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shape = (tasks, examples, width)
    x, y, query_x, query_y = (torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(4))
    return x, y[..., :1], query_x, query_y[..., :1]


def pictures(tasks: int, ways: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x, query_x = (torch.rand(tasks, ways, 1, 16, 16, generator=generator, dtype=torch.float64) for _ in range(2))
    y = torch.arange(ways).repeat(tasks, 1)
    return x, y, query_x, y


def check_agreement(
    model: nn.Module, loss_fn: LossFn, data: tuple[Tensor, Tensor, Tensor, Tensor], lr: float, steps: int
) -> None:
    for first_order in (False, True):
        loss, gradient = plain_meta_gradient(model, loss_fn, Episodes(*data), lr, steps, first_order=first_order)
        expected = flat(gradient)
        for engine in ENGINES:
            got, gradients = meta_gradient(
                model, loss_fn, *data, inner_lr=lr, inner_steps=steps, first_order=first_order, engine=engine
            )
            assert abs(got - loss) <= AGREEMENT * abs(loss)
            assert (flat(gradients) - expected).norm() <= AGREEMENT * expected.norm(), (engine, first_order)


@settings(max_examples=8, deadline=None)
@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=3),
    st.integers(1, 4), st.integers(1, 5), st.floats(1e-3, 0.2), st.integers(0, 1000),
)  # fmt: skip
def test_perceptrons(hidden: list[int], tasks: int, steps: int, lr: float, seed: int) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = mlp(hidden).double()
    check_agreement(model, F.mse_loss, points(tasks, 6, seed=seed), lr, steps)


@pytest.mark.parametrize("downsample", ["max_pool", "stride"])
@pytest.mark.parametrize("features", ["flatten", "mean"])
def test_conv_nets_with_adapted_batch_norm(
    downsample: Literal["max_pool", "stride"], features: Literal["flatten", "mean"]
) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = conv4(3, input_shape=(1, 16, 16), filters=2, downsample=downsample, features=features).double()
        for p in model.parameters():
            p.data += 0.1 * torch.randn_like(p)
    check_agreement(model, F.cross_entropy, pictures(2, 3), 0.3, 2)


class Residual(nn.Module):
    """A module with a skip connection, a layer that is used twice, and a parameter that is not used."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.first = nn.Linear(3, 6)
        self.norm = norm
        self.last = nn.Linear(6, 1)
        self.idle = nn.Parameter(torch.ones(2))

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        predicted: Tensor = self.last(torch.tanh(self.norm(h)) + h) + self.last(h)
        return predicted


@pytest.mark.parametrize(
    "norm",
    [
        nn.Identity(),
        nn.LayerNorm(6),
        nn.GroupNorm(2, 6),
        nn.BatchNorm1d(6, track_running_stats=False),
    ],
    ids=lambda norm: type(norm).__name__,
)
def test_any_module_with_adapted_norms(norm: nn.Module) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = Residual(norm).double()
        for p in norm.parameters():
            p.data += 0.3 * torch.randn_like(p)
    check_agreement(model, F.mse_loss, points(3, 5, width=3), 0.1, 3)


def test_custom_loss() -> None:
    def huber(predicted: Tensor, target: Tensor) -> Tensor:
        return F.huber_loss(predicted, target) + 0.1 * predicted.abs().mean()

    check_agreement(mlp((5,)).double(), huber, points(3, 4), 0.1, 2)


def test_tasks_are_independent() -> None:
    model = mlp((6, 6)).double()
    data = points(4, 5)
    arguments = {"inner_lr": 0.05, "inner_steps": 3}
    for engine in ENGINES:
        _, together = meta_gradient(model, F.mse_loss, *data, engine=engine, **arguments)  # type: ignore[arg-type]
        alone = [
            flat(meta_gradient(model, F.mse_loss, *(t[i : i + 1] for t in data), engine=engine, **arguments)[1])  # type: ignore[arg-type]
            for i in range(4)
        ]
        torch.testing.assert_close(flat(together), torch.stack(alone).mean(0), rtol=1e-10, atol=1e-14)


def test_threads_change_no_bit(one_torch_thread: None) -> None:
    model = conv4(3, input_shape=(1, 16, 16), filters=4).double()
    theta = {name: p.detach() for name, p in model.named_parameters()}
    x, y, query_x, query_y = pictures(7, 3)
    episodes, inner = Episodes(x, y, query_x, query_y), InnerLoop(0.3, 2)
    alone, spread = (LoopEngine(model, CROSS_ENTROPY, workers=workers) for workers in (1, 3))
    for first_order in (False, True):
        one, other = (e.meta_gradient(theta, episodes, inner, first_order=first_order) for e in (alone, spread))
        assert torch.equal(flat(one.gradients), flat(other.gradients))
        assert torch.equal(one.outputs, other.outputs)
        assert torch.equal(one.support_loss, other.support_loss)
    for here, there in zip(alone.adapt(theta, x, y, inner), spread.adapt(theta, x, y, inner), strict=True):
        assert torch.equal(flat(here.params), flat(there.params))
        assert torch.equal(alone.outputs(here.params, query_x), spread.outputs(there.params, query_x))


def test_threads_end_with_their_engine(one_torch_thread: None) -> None:
    model, before = mlp((4,)).double(), set(threading.enumerate())
    engine = LoopEngine(model, MEAN_SQUARED_ERROR, workers=2)
    engine.meta_gradient(meta_parameters(model), Episodes(*points(2, 3)), InnerLoop(0.1, 1), first_order=False)
    threads = set(threading.enumerate()) - before
    assert threads
    del engine
    gc.collect()
    for thread in threads:
        thread.join(timeout=60)
    assert not any(thread.is_alive() for thread in threads)


class Meeting(nn.Module):
    """A layer whose forward pass waits until a second thread has reached it too."""

    barrier = threading.Barrier(2, timeout=60)

    def forward(self, x: Tensor) -> Tensor:
        self.barrier.wait()
        return x


@pytest.mark.parametrize("adapt", ["all", "head"])
def test_threads_do_not_share_a_model_during_adaptation(adapt: str, one_torch_thread: None) -> None:
    def final(model: nn.Module, workers: int) -> Params:
        engine = LoopEngine(model, MEAN_SQUARED_ERROR, workers=workers)
        algorithm = algorithm_class("meta_sgd")(parse({"algorithm": {"name": "meta_sgd", "adapt": adapt}}), model)
        meta = algorithm.meta_parameters(meta_parameters(model), source)
        *_, last = engine.general_adaptation(algorithm, meta, Episodes(*points(2, 3)), 2, None)
        return last.params

    source = SinusoidSource()
    body, head = nn.Linear(1, 4).double(), nn.Linear(4, 1).double()
    alone = final(nn.Sequential(body, nn.Identity(), head), 1)
    assert torch.equal(flat(final(nn.Sequential(body, Meeting(), head), 2)), flat(alone))


class HalvingReptile(Reptile):
    """Reptile whose inner steps use no gradient."""

    def adapt(self, task: Task, meta: Params, steps: int) -> Iterator[Params]:
        for step in range(steps + 1):
            yield {name: p / 2**step for name, p in meta.items()}


@pytest.mark.parametrize("name", ENGINES)
def test_adaptation_without_gradients(name: EngineName) -> None:
    model, episodes = mlp((4,)).double(), Episodes(*points(2, 3))
    algorithm = HalvingReptile(parse({"algorithm": {"name": "reptile", "inner_steps": 2}}), model)
    theta = detach_params(meta_parameters(model))
    stack, support_loss = make_engine(name, model, MEAN_SQUARED_ERROR).adapted(algorithm, theta, episodes)
    for parameter, p in theta.items():
        assert torch.equal(stack[parameter], torch.stack([p / 4] * 2))
    with torch.no_grad():
        expected = (model(episodes.support_x) - episodes.support_y).square().mean((1, 2))
    torch.testing.assert_close(support_loss, expected)


@pytest.mark.parametrize("norm", ["batch", "layer"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", ["loop", "native", "batched", "unfolded"])
def test_forward_pass_can_be_mapped_over_examples(
    name: EngineName, channels: int, norm: Norm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Check that the forward pass works under `torch.vmap`, which evaluation with batch norm per example uses."""
    monkeypatch.setattr(fused_first_block, "MIN_NUMEL", 0)
    model = conv4(2, input_shape=(channels, 32, 32), filters=16, norm=norm).double()
    engine, params = make_engine(name, model, CROSS_ENTROPY), detach_params(meta_parameters(model))
    x = torch.rand(2, 5, channels, 32, 32, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with torch.no_grad():
        found = torch.vmap(partial(engine.forward, params))(x)
        torch.testing.assert_close(found, torch.stack([model(each) for each in x]))


class Counting(nn.Module):
    """A layer that records the batch size of each of its forward passes."""

    passes: ClassVar[list[int]] = []

    def forward(self, x: Tensor) -> Tensor:
        self.passes.append(len(x))
        return x


@pytest.mark.parametrize("name", ["loop", "batched"])
def test_evaluation_runs_unchanged_layers_once(name: EngineName, one_torch_thread: None) -> None:
    model = nn.Sequential(nn.Linear(1, 4), Counting(), nn.Linear(4, 1)).double()
    engine = make_engine(name, model, MEAN_SQUARED_ERROR)
    algorithm = algorithm_class("anil")(parse({"algorithm": {"name": "anil"}}), model)
    meta, episodes = meta_parameters(model), Episodes(*points(2, 3))
    expected = [
        engine.predictions(algorithm, step.params, episodes, episodes.query_x)
        for step in engine.adaptation(algorithm, meta, episodes, 3)
    ]
    Counting.passes.clear()
    outputs = [outputs for _, outputs in engine.evaluation(algorithm, meta, episodes, 3)]
    assert torch.equal(torch.stack(outputs), torch.stack(expected))
    sets = 2  # support and query
    assert len(Counting.passes) == (sets * len(episodes) if name == "loop" else sets)


@pytest.mark.parametrize("name", ENGINES)
def test_running_averages_are_not_updated(name: Literal["loop", "batched", "higher"]) -> None:
    torch.manual_seed(0)
    data = [t.float() for t in points(2, 3)]
    norm = nn.BatchNorm1d(4)
    model = nn.Sequential(nn.Linear(data[0].shape[-1], 4), norm, nn.Tanh(), nn.Linear(4, data[1].shape[-1]))
    _, gradients = meta_gradient(model, F.mse_loss, *data, inner_lr=0.1, inner_steps=2, engine=name)
    assert torch.equal(norm.running_mean, torch.zeros(4))  # type: ignore[arg-type]
    assert norm.num_batches_tracked == 0
    bare = nn.Sequential(model[0], nn.BatchNorm1d(4, track_running_stats=False), nn.Tanh(), model[3])
    _, expected = meta_gradient(bare, F.mse_loss, *data, inner_lr=0.1, inner_steps=2, engine=name)
    assert torch.equal(flat(gradients), flat(expected))


def test_frozen_parameters_have_no_gradient() -> None:
    model = mlp((6,)).double()
    model[0].weight.requires_grad_(False)
    results = [
        meta_gradient(model, F.mse_loss, *points(2, 3), inner_lr=0.1, inner_steps=2, engine=engine)[1]
        for engine in ENGINES
    ]
    for gradients in results:
        assert list(gradients) == ["0.bias", "2.weight", "2.bias"]
        assert (flat(gradients) - flat(results[0])).norm() <= AGREEMENT * flat(results[0]).norm()


@pytest.mark.parametrize("name", ENGINES)
def test_mini_batches_follow_the_order(name: EngineName) -> None:
    model = mlp((6,)).double()
    x, y, _, _ = points(2, 4)
    order = torch.tensor([[[0, 1], [2, 3]], [[3, 1], [0, 2]]])
    engine = make_engine(name, model, MEAN_SQUARED_ERROR)
    theta = {n: p.detach() for n, p in model.named_parameters()}
    *_, last = engine.adapt(theta, x, y, InnerLoop(0.1, 2), order)
    for t in range(2):
        fast = {n: p.clone().requires_grad_() for n, p in theta.items()}
        for rows in order[t]:
            loss = F.mse_loss(torch.func.functional_call(model, fast, (x[t, rows],)), y[t, rows])
            gradients = torch.autograd.grad(loss, list(fast.values()))
            fast = {
                n: (p - 0.1 * g).detach().requires_grad_() for (n, p), g in zip(fast.items(), gradients, strict=True)
            }
        torch.testing.assert_close(flat({n: p[t] for n, p in last.params.items()}), flat(fast).detach())


@pytest.mark.parametrize("first_order", [False, True])
@pytest.mark.parametrize("name", ["loop", "batched"])
def test_parts_of_a_meta_batch_match_the_whole(name: EngineName, first_order: bool) -> None:
    model, data = mlp((6,)).double(), Episodes(*points(5, 4))
    engine, theta = make_engine(name, model, MEAN_SQUARED_ERROR), meta_parameters(model)
    whole = engine.meta_gradient(theta, data, InnerLoop(0.05, 2), first_order=first_order)
    settings = parse(
        {"algorithm": {"name": "fomaml" if first_order else "maml", "inner_lr": 0.05, "inner_steps": 2}}
    )  # fmt: skip
    algorithm = algorithm_class(settings.algorithm.name)(settings, model)
    for at_once in (1, 2, 3, 5, 9):
        parts = engine.meta_gradient_of(algorithm, theta, data, at_once=at_once)
        assert (flat(parts.gradients) - flat(whole.gradients)).norm() <= 1e-14 * flat(whole.gradients).norm()
        for got, expected in ((parts.loss, whole.loss), (parts.outputs, whole.outputs)):
            torch.testing.assert_close(got, expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("name", ["loop", "batched"])
def test_unrolled_matches_recomputed(name: EngineName) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = conv4(3, input_shape=(1, 16, 16), filters=4).double()
    data, theta = Episodes(*pictures(2, 3)), meta_parameters(model)
    found = [
        flat(
            make_engine(name, model, CROSS_ENTROPY, second_order=how)
            .meta_gradient(theta, data, InnerLoop(0.3, 4), first_order=False)
            .gradients
        )
        for how in ("unrolled", "recomputed")
    ]
    assert (found[0] - found[1]).norm() <= AGREEMENT * found[0].norm()


def test_batch_norm_derivatives() -> None:
    generator = torch.Generator().manual_seed(0)
    x, weight, bias = (
        torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True)
        for shape in ((4, 3, 5, 2), (3,), (3,))
    )
    norm = nn.BatchNorm2d(3, track_running_stats=False).double()

    def ours(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return torch.func.functional_call(BatchNorm(norm), {"weight": weight, "bias": bias}, (x,))  # type: ignore[no-any-return]

    assert torch.equal(ours(x, weight, bias), F.batch_norm(x, None, None, weight, bias, True))
    assert torch.autograd.gradcheck(ours, (x, weight, bias))
    assert torch.autograd.gradgradcheck(ours, (x, weight, bias))


@pytest.mark.parametrize(
    "pool", [nn.MaxPool2d(2), nn.MaxPool2d(3, stride=(1, 2), padding=1), nn.MaxPool2d(2, dilation=2, ceil_mode=True)]
)
@pytest.mark.parametrize("last", [False, True])
def test_max_pooling_derivatives(pool: nn.MaxPool2d, last: bool) -> None:
    x = torch.randn(2, 3, 6, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x = (channels_last(x) if last else x).requires_grad_()
    assert returns_maxima_only(pool)
    ours = MaxPool(pool)
    assert torch.equal(ours(x), pool(x))
    assert torch.autograd.gradcheck(ours, (x,))
    assert torch.autograd.gradgradcheck(ours, (x,))


def test_max_pooling_with_indices_is_not_replaced() -> None:
    assert not returns_maxima_only(nn.MaxPool2d(2, return_indices=True))


def test_channels_last_of_one_channel_is_a_view() -> None:
    x = torch.rand(3, 1, 4, 5)
    turned = channels_last(x)
    assert torch.equal(turned, x)
    assert turned.data_ptr() == x.data_ptr()
    assert F.conv2d(turned, torch.rand(2, 1, 3, 3)).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("mini", [False, True])
def test_adapt_final_matches_adapt(name: EngineName, mini: bool) -> None:
    model, episodes = mlp((6,)).double(), Episodes(*points(3, 4))
    engine, theta = make_engine(name, model, MEAN_SQUARED_ERROR), meta_parameters(model)
    order = torch.tensor([[[0, 1], [2, 3]], [[3, 2], [1, 0]], [[0, 2], [1, 3]]]) if mini else None
    arguments = theta, episodes.support_x, episodes.support_y, InnerLoop(0.05, 2), order
    *_, last = path = list(engine.adapt(*arguments))
    stack, before = engine.adapt_final(*arguments)
    assert all(torch.equal(stack[n], p) for n, p in last.params.items())
    assert path[1].support_loss is not None
    assert torch.equal(before, path[1].support_loss)


@pytest.mark.parametrize("relu_first", [False, True])
@pytest.mark.parametrize("negative", [False, True])
def test_pooled_norm_matches_three_layers(relu_first: bool, negative: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    last = [nn.ReLU(), nn.MaxPool2d(2)] if relu_first else [nn.MaxPool2d(2), nn.ReLU()]
    model = nn.Sequential(nn.BatchNorm2d(3, track_running_stats=False), *last).double()
    generator = torch.Generator().manual_seed(0)
    x, g = (torch.randn(4, 3, size, size, generator=generator, dtype=torch.float64) for size in (7, 3))
    monkeypatch.setattr(fused_bn_pool, "MIN_NUMEL", 0)
    weight = model.get_parameter("0.weight").data
    weight.copy_(torch.tensor([0.7, -0.4 if negative else 0.0, 1.2]))
    one = fuse_pooling(deepcopy(model))
    assert [type(layer).__name__ for layer in one.children()] == ["PooledNorm", "Identity", "Identity"]
    inputs = [x.requires_grad_()]
    expected = torch.autograd.grad(model(x), [*inputs, *model.parameters()], g)
    got = torch.autograd.grad(one(x), [*inputs, *one.parameters()], g)
    torch.testing.assert_close(one(x), model(x), rtol=1e-12, atol=1e-12)
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


def test_other_layers_are_not_fused() -> None:
    layers: list[nn.Module] = [
        nn.BatchNorm2d(3), nn.MaxPool2d(2), nn.ReLU(), nn.BatchNorm2d(3, track_running_stats=False), nn.MaxPool2d(3),
        nn.ReLU(), nn.BatchNorm2d(3, track_running_stats=False), nn.ReLU(), nn.Flatten(),
    ]  # fmt: skip
    assert repr(fuse_pooling(nn.Sequential(*layers))) == repr(nn.Sequential(*layers))


@pytest.mark.parametrize("channels", [1, 3])
def test_thin_block_matches_four_layers_at_any_chunk_size(channels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused_first_block, "MIN_NUMEL", 0)
    monkeypatch.setattr(fused_first_block, "AT_ONCE", 2 * 3 * 7 * 7)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(channels, 3, 3, padding=1, bias=False), nn.BatchNorm2d(3, track_running_stats=False),
            nn.MaxPool2d(2), nn.ReLU(),
        ).double()  # fmt: skip
        x, g = torch.randn(5, channels, 7, 7).double(), torch.randn(5, 3, 3, 3).double()
    model.get_parameter("1.weight").data.copy_(torch.tensor([0.7, 0.0, 1.2]))
    one = fuse_pooling(deepcopy(model))
    assert [type(layer).__name__ for layer in one.children()] == ["ThinBlock", "Identity", "Identity", "Identity"]
    torch.testing.assert_close(one(x), model(x), rtol=1e-12, atol=1e-12)
    expected, got = (torch.autograd.grad(m(x), list(m.parameters()), g) for m in (model, one))
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)
