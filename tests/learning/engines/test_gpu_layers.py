"""CPU tests of the layers for GPUs: their results are correct, and they never wait for the device."""

from __future__ import annotations

from collections import Counter
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils._python_dispatch import TorchDispatchMode

from metatui.learning.engines.layers.convolution import GroupedConvolutions
from metatui.learning.engines.layers.im2col import UnfoldedConv2d, columns_by_slices
from metatui.learning.engines.layers.rewrite import fuse_pooling
from metatui.learning.models.conv4 import conv4

pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))


@pytest.mark.parametrize("native_code", [False, True])
def test_fused_layers_read_no_values_on_gpu(native_code: bool) -> None:
    # Tensors on the meta device have no values: reading one raises.
    model = fuse_pooling(deepcopy(conv4(5)), native_code=native_code).to("meta")
    images = torch.empty(300, 1, 28, 28, device="meta")
    assert 300 * 64 * 14 * 14 > 2**21  # the second layer, and so the first, is large enough to be fused on a CPU
    assert model(images).shape == (300, 5)


@given(kernel=pairs, dilation=pairs, padding=pairs, stride=pairs, seed=st.integers(0, 9))
def test_columns_by_slices_match_unfold(
    kernel: tuple[int, int], dilation: tuple[int, int], padding: tuple[int, int], stride: tuple[int, int], seed: int
) -> None:
    x = torch.randn(2, 3, 9, 8, generator=torch.Generator().manual_seed(seed))
    expected = F.unfold(x, kernel, dilation, padding, stride)
    assert torch.equal(columns_by_slices(x, kernel, dilation, padding, stride), expected)


def test_unfolded_convolution_uses_slices_on_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def unfold(*_: object) -> None:
        raise AssertionError("one kernel for every image")

    monkeypatch.setattr(F, "unfold", unfold)
    layer = nn.Conv2d(2, 3, 3, stride=2, padding=1, device="meta")
    assert UnfoldedConv2d(layer)(torch.empty(4, 2, 9, 9, device="meta")).shape == (4, 3, 5, 5)


class Convolutions(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the calls of convolution kernels, including the kernels for derivatives."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if "convolution" in func.name():
            self.count[func.name()] += 1
        return func(*args, **(kwargs or {}))


LAYERS: dict[str, nn.Module] = {
    "plain": nn.Conv2d(2, 3, 3, padding=1, bias=False),
    "bias, stride and dilation": nn.Conv2d(2, 3, (3, 2), stride=(2, 1), padding=(2, 1), dilation=(1, 2)),
    "groups": nn.Conv2d(2, 4, 3, groups=2),
    "padding by name": nn.Conv2d(2, 3, 3, padding="same"),
    "two": nn.Sequential(nn.Conv2d(2, 3, 3), nn.Conv2d(3, 2, 3)),
}


def second_order(layer: nn.Module, tasks: int, mode: AbstractContextManager[Any]) -> tuple[Tensor, Counter[str]]:
    """Differentiate through a gradient step of `layer` in float64, for each of `tasks` tasks.

    Returns the gradient, which contains second derivatives, and the number of calls of each convolution kernel.
    """
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(tasks, 4, 2, 7, 6, dtype=torch.float64, generator=generator)
    start = {
        name: torch.randn(tasks, *p.shape, dtype=torch.float64, generator=generator).requires_grad_()
        for name, p in layer.named_parameters()
    }

    def predict(params: dict[str, Tensor], x: Tensor) -> Tensor:
        y: Tensor = functional_call(layer, params, (x,))
        return y

    with Convolutions() as counted, mode:
        each = torch.vmap(predict)
        inner = torch.autograd.grad(each(start, x).sin().sum(), list(start.values()), create_graph=True)
        fast = {name: p - 0.1 * g for (name, p), g in zip(start.items(), inner, strict=True)}
        outer = torch.autograd.grad(each(fast, x.flip(1)).cos().sum(), list(start.values()))
    return torch.cat([g.flatten() for g in outer]), counted.count


@pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS)
def test_grouped_convolutions_agree_with_torch(layer: nn.Module) -> None:
    expected, _ = second_order(layer, 3, nullcontext())
    found, _ = second_order(layer, 3, GroupedConvolutions())
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


def test_number_of_grouped_convolutions_is_constant() -> None:
    few, many = (second_order(LAYERS["two"], tasks, GroupedConvolutions())[1] for tasks in (2, 6))
    assert few == many
    few, many = (second_order(LAYERS["two"], tasks, nullcontext())[1] for tasks in (2, 6))
    assert few.total() + 4 <= many.total()


def test_other_convolutions_are_unchanged() -> None:
    x, layer = torch.randn(2, 2, 7, 6), LAYERS["plain"]
    expected = layer(x)
    with GroupedConvolutions():
        assert torch.equal(layer(x), expected)
        assert layer(x[0]).shape == (3, 7, 6)
