"""Tests of the functions written in C: agreement with torch, and operation without a C compiler."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from metatui.config.declarations import Scalar
from metatui.config.fields import change
from metatui.config.settings import Settings
from metatui.learning.data.episodes import Episodes
from metatui.learning.engines.any_module.meta_gradient import meta_gradient
from metatui.learning.engines.base import meta_parameters
from metatui.learning.engines.layers import convolution
from metatui.learning.engines.layers.convolution import Convolution
from metatui.learning.engines.layers.fused_bn_pool import NativePooledNorm
from metatui.learning.engines.layers.fused_first_block import NativeFirstBlock
from metatui.learning.engines.layers.rewrite import fuse_pooling
from metatui.learning.engines.loop import LoopEngine
from metatui.learning.engines.native import build as native
from metatui.learning.engines.native import winograd
from metatui.learning.engines.registry import make_engine
from metatui.learning.experiment import set_up
from metatui.learning.models.conv4 import conv4
from metatui.learning.optim.inner import InnerLoop
from metatui.learning.optim.losses import CROSS_ENTROPY
from metatui.utils import paths
from metatui.utils.errors import SettingsError

EXACT = 1e-12
"""Largest permitted relative error in double precision."""

needs_compiler = pytest.mark.skipif(native.library(torch.float64) is None, reason="there is no C compiler")


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def assert_close(found: Tensor, expected: Tensor) -> None:
    assert found.shape == expected.shape
    assert (found - expected).norm() <= EXACT * expected.norm()


@pytest.fixture(params=["c", "torch"])
def winograd_backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a test with the Winograd transforms written in C and again with those written in torch.

    The Winograd algorithm is used for images of any size, even for those that are too small to benefit from it.
    """
    monkeypatch.setattr(convolution, "MIN_TILES", 0)
    monkeypatch.setattr(convolution, "MIN_PIXELS_PER_TILE", 0)
    if request.param == "torch":
        monkeypatch.setattr(
            "metatui.learning.engines.native.winograd.transforms", lambda dtype: winograd.TORCH_TRANSFORMS
        )
    elif native.library(torch.float64) is None:
        pytest.skip("there is no C compiler")


@needs_compiler
@settings(max_examples=40, deadline=None)
@given(st.integers(1, 3), st.integers(1, 13), st.integers(1, 13), st.integers(1, 20), st.integers(0, 1000))
def test_c_transforms_match_torch(b: int, height: int, width: int, channels: int, seed: int) -> None:
    compiled, written = winograd.transforms(torch.float64), winograd.TORCH_TRANSFORMS
    images = random(b, height, width, channels, seed=seed)
    tiles = random(36, b * winograd.tiles_of(height, width), channels, seed=seed + 1)
    for name, given_tensor, shape in (
        ("input_tiles", images, tiles), ("output_tiles_back", images, tiles),
        ("output_tiles", tiles, images), ("input_tiles_back", tiles, images),
    ):  # fmt: skip
        found, expected = torch.full_like(shape, torch.nan), torch.full_like(shape, torch.nan)
        getattr(compiled, name)(given_tensor, found)
        getattr(written, name)(given_tensor, expected)
        assert_close(found, expected)


@pytest.mark.parametrize("shape", [(2, 16, 14, 14), (3, 17, 13, 9), (40, 16, 4, 5), (1, 33, 1, 2)])
@pytest.mark.parametrize("filters", [16, 21])
def test_winograd_convolution_derivatives(
    shape: tuple[int, int, int, int], filters: int, winograd_backend: None
) -> None:
    conv = nn.Conv2d(shape[1], filters, 3, padding=1).double()
    ours = Convolution(conv, winograd=True, twice=True)
    assert ours.by_winograd
    x, a = random(*shape), random(shape[0], filters, *shape[2:], seed=1)
    for found, expected in zip(derivatives(ours, conv, x, a), derivatives(conv, conv, x, a), strict=True):
        assert_close(found, expected)


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(3, 4, 3, stride=2, padding=1, bias=False), nn.Conv2d(4, 6, (1, 3), groups=2, dilation=(1, 2)),
        nn.Conv2d(1, 4, 3, padding=1),
    ],
)  # fmt: skip
def test_direct_convolution_derivatives(conv: nn.Conv2d) -> None:
    conv = deepcopy(conv).double()
    ours, x = Convolution(conv, winograd=True, twice=True), random(2, conv.in_channels, 9, 8)
    assert not ours.by_winograd
    a = random(*conv(x).shape, seed=1)
    for found, expected in zip(derivatives(ours, conv, x, a), derivatives(conv, conv, x, a), strict=True):
        assert_close(found, expected)


def derivatives(function: Callable[[Tensor], Tensor], conv: nn.Conv2d, x: Tensor, a: Tensor) -> list[Tensor]:
    """Return the output of `function`, and first and second derivatives of the output.

    The derivatives are taken with respect to `x` and the weight of `conv`.
    """
    x = x.clone().requires_grad_()
    y = function(x)
    gx, gw = torch.autograd.grad((y.sin() * a).sum(), [x, conv.weight], create_graph=True)
    found = [y, gx, gw]
    for scalar in (gx.cos().sum(), (gw**3).sum(), gx.cos().sum() + (gw**3).sum()):
        found += torch.autograd.grad(scalar, [x, conv.weight], retain_graph=True)
    return found


@needs_compiler
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(14, 14), (9, 6)])
def test_native_first_block_matches_four_layers(channels: int, size: tuple[int, int]) -> None:
    model = block(channels, 16).double()
    x = (random(5, channels, *size) > 0.8).double()  # flat parts, where many maxima are equal
    one = fuse_pooling(deepcopy(model), native_code=True)
    assert type(one[0]).__name__ == "CompiledFirstBlock"  # type: ignore[index]
    check_agreement(one, model, x)


@needs_compiler
@pytest.mark.parametrize("size", [(14, 14), (7, 3)])
def test_native_pooled_norm_matches_three_layers(size: tuple[int, int]) -> None:
    model = block(1, 16).double()[1:]
    one = fuse_pooling(deepcopy(model), native_code=True)
    assert type(one[0]).__name__ == "CompiledPooledNorm"  # type: ignore[index]
    check_agreement(one, model, random(4, 16, *size))


def block(channels: int, filters: int) -> nn.Sequential:
    model = nn.Sequential(
        nn.Conv2d(channels, filters, 3, padding=1, bias=False), nn.BatchNorm2d(filters, track_running_stats=False),
        nn.MaxPool2d(2), nn.ReLU(),
    )  # fmt: skip
    for i, p in enumerate(model.parameters()):
        p.data = random(*p.shape, seed=i).to(p)  # includes negative γ
    return model


def check_agreement(one: nn.Module, model: nn.Module, x: Tensor) -> None:
    g = random(*model(x).shape, seed=9)
    assert_close(one(x), model(x))
    found, expected = (torch.autograd.grad(m(x), list(m.parameters()), g) for m in (one, model))
    for a, b in zip(found, expected, strict=True):
        assert_close(a, b)
    if x.shape[1] == 16:
        x = x.clone().requires_grad_()
        assert_close(*(torch.autograd.grad(m(x), x, g)[0] for m in (one, model)))


@needs_compiler
@pytest.mark.parametrize("broken", ["weight", "gamma", "beta"])
def test_nan_is_propagated(broken: str) -> None:
    parameters = {"weight": random(16, 1, 3, 3), "gamma": random(16), "beta": random(16)}
    parameters[broken].flatten()[3] = torch.nan
    z = NativeFirstBlock.apply(random(2, 1, 6, 6), *parameters.values(), 1e-5)  # type: ignore[no-untyped-call]
    assert z.isnan().any()
    if broken != "weight":
        y = NativePooledNorm.apply(random(2, 16, 6, 6), parameters["gamma"], parameters["beta"], 1e-5)  # type: ignore[no-untyped-call]
        assert y.isnan().any()


@needs_compiler
def test_float32_error_is_that_of_torch() -> None:
    """Check the network of the Omniglot presets, with images in which nearly all pixels are equal."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = conv4(5)
    x, y = (random(25, 1, 28, 28) > 1.5).float(), torch.arange(5).repeat(5)
    theta = meta_parameters(model)

    def error(gradients: dict[str, Tensor]) -> float:
        return max(float((gradients[n] - exact[n]).norm() / exact[n].norm()) for n in exact)

    def gradients(dtype: torch.dtype) -> dict[str, Tensor]:
        plain = deepcopy(model).to(dtype)
        found = torch.autograd.grad(F.cross_entropy(plain(x.to(dtype)), y), list(plain.parameters()))
        return {name: g.double() for (name, _), g in zip(plain.named_parameters(), found, strict=True)}

    exact = gradients(torch.float64)
    engine, leaves = LoopEngine(model, CROSS_ENTROPY, native=True), {n: p.requires_grad_() for n, p in theta.items()}
    loss = F.cross_entropy(engine.forward_once(leaves, x), y)
    ours = dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True))
    assert error({n: g.double() for n, g in ours.items()}) <= max(error(gradients(torch.float32)), 1e-5)


@pytest.fixture
def wide() -> tuple[nn.Sequential, tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Return a network and tasks whose computation uses every C function."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = conv4(3, input_shape=(1, 32, 32), filters=16).double()
    x, query_x = random(2, 3, 1, 32, 32), random(2, 6, 1, 32, 32, seed=1)
    labels = torch.arange(3).repeat(2, 1)
    return model, (x, labels, query_x, labels.repeat(1, 2))


@pytest.mark.parametrize("first_order", [False, True])
def test_native_engine_matches_higher(
    wide: tuple[nn.Sequential, tuple[Tensor, Tensor, Tensor, Tensor]], first_order: bool
) -> None:
    model, data = wide
    (loss, ours), (expected_loss, expected) = (
        meta_gradient(
            model, F.cross_entropy, *data, inner_lr=0.1, inner_steps=2, first_order=first_order, engine=engine
        )
        for engine in ("native", "higher")
    )
    assert_close(loss, expected_loss)
    for name, g in expected.items():
        assert (ours[name] - g).norm() <= 1e-8 * g.norm()


def test_threads_change_no_bit(
    wide: tuple[nn.Sequential, tuple[Tensor, Tensor, Tensor, Tensor]], one_torch_thread: None
) -> None:
    model, data = wide
    theta, episodes, inner = meta_parameters(model.float()), Episodes(*data).to(torch.device("cpu"), torch.float32), 0.1
    for first_order in (False, True):
        one, other = (
            make_engine("native", model, CROSS_ENTROPY, workers=workers).meta_gradient(
                theta, episodes, InnerLoop(inner, 2), first_order=first_order
            )
            for workers in (1, 2)
        )
        assert all(torch.equal(one.gradients[name], other.gradients[name]) for name in theta)


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Use an empty folder for compiled libraries, and discard the libraries that are already loaded."""
    folder = tmp_path / "compiled"
    monkeypatch.setattr(paths, "compiled_dir", lambda: folder)
    native.library.cache_clear()
    winograd.transforms.cache_clear()
    yield folder
    native.library.cache_clear()
    winograd.transforms.cache_clear()


@pytest.mark.parametrize("compiler", ["/nowhere/cc", "false", "'"])
def test_native_engine_without_a_compiler(
    compiler: str, empty_cache: Path, monkeypatch: pytest.MonkeyPatch,
    wide: tuple[nn.Sequential, tuple[Tensor, Tensor, Tensor, Tensor]],
) -> None:  # fmt: skip
    monkeypatch.setenv("CC", compiler)
    assert native.library(torch.float64) is None
    test_native_engine_matches_higher(wide, False)
    settings = change(Settings(), {"task.source": "glyphs", "task.shots": 1, "compute.engine": "native"})
    assert set_up(settings).engine_reason == "as set; this engine is slow without a C compiler"


@pytest.mark.parametrize(
    ("engine", "model", "warned"),
    [("native", "mlp", True), ("native", "resnet12", False), ("native", "conv4", False), ("unfolded", "mlp", True),
     ("unfolded", "resnet12", False), ("loop", "mlp", False)],
)  # fmt: skip
def test_engine_of_convolutions_without_convolutions(engine: str, model: str, warned: bool) -> None:
    sizes: dict[str, Scalar] = {
        "task.ways": 2,
        "task.shots": 1,
        "task.queries": 1,
        "algorithm.meta_batch": 1,
        "compute.device": "cpu",
    }
    names: dict[str, Scalar] = {
        "task.source": "glyphs",
        "model.name": model,
        "model.filters": 2,
        "compute.engine": engine,
    }
    notices = set_up(change(Settings(), {**sizes, **names})).notices
    assert [f"compute.engine is '{engine}', which differs from" in notice for notice in notices] == [True] * warned


def test_auto_measures_native_only_with_a_compiler(empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "false")
    images = change(Settings(), {"task.source": "glyphs", "task.shots": 1, "model.filters": 16})
    assert "native" not in set_up(images).measured.ms
    monkeypatch.delenv("CC")
    native.library.cache_clear()
    if native.library(torch.float32) is not None:
        assert "native" in set_up(images).measured.ms


@needs_compiler
def test_library_is_compiled_once_and_must_be_private(empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", f"env {native.compiler()}")  # like ccache, a command with an argument
    assert native.library(torch.float64) is not None
    (made,) = empty_cache.glob("*.so")
    written = made.stat().st_mtime_ns
    native.library.cache_clear()
    assert native.library(torch.float64) is not None
    assert made.stat().st_mtime_ns == written
    torn = made.read_bytes()[:5000]
    made.unlink()  # it is in use here
    made.write_bytes(torn)
    native.library.cache_clear()
    assert native.library(torch.float64) is not None, "an incomplete library is compiled again"
    made.chmod(0o666)
    native.library.cache_clear()
    assert native.library(torch.float64) is None


def test_native_engine_is_refused_on_cuda() -> None:
    settings = change(Settings(), {"task.source": "glyphs", "task.shots": 1, "compute.engine": "native"})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("metatui.learning.experiment.resolve", lambda name: FakeDevice())
        with pytest.raises(SettingsError, match=r"compute\.engine is 'native', but must be another engine on cuda"):
            set_up(settings)


class FakeDevice:
    name = "cuda"
