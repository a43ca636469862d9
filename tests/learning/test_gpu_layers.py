"""Layers off the CPU, which need no GPU to be tested: what they compute, and that they never wait for the device."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from metatui.learning.engines.pooled_norm import fuse_pooling
from metatui.learning.engines.unfolded import UnfoldedConv2d, columns_by_slices
from metatui.learning.models import conv4

pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))


@pytest.mark.parametrize("native_code", [False, True])
def test_fused_layers_read_no_value_off_the_cpu(native_code: bool) -> None:
    # Tensors on the meta device have no values: a look at one raises.
    model = fuse_pooling(deepcopy(conv4(5)), native_code=native_code).to("meta")
    images = torch.empty(300, 1, 28, 28, device="meta")
    assert 300 * 64 * 14 * 14 > 2**21  # the second layer, and so the first, is large enough to be fused on a CPU
    model(images).sum().backward()
    assert all(p.grad is not None for p in model.parameters())


@given(kernel=pairs, dilation=pairs, padding=pairs, stride=pairs, seed=st.integers(0, 9))
def test_columns_by_slices_are_those_of_unfold(
    kernel: tuple[int, int], dilation: tuple[int, int], padding: tuple[int, int], stride: tuple[int, int], seed: int
) -> None:
    x = torch.randn(2, 3, 9, 8, generator=torch.Generator().manual_seed(seed))
    expected = F.unfold(x, kernel, dilation, padding, stride)
    assert torch.equal(columns_by_slices(x, kernel, dilation, padding, stride), expected)


def test_unfolded_convolution_makes_its_columns_by_slices_off_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def unfold(*_: object) -> None:
        raise AssertionError("one kernel for every image")

    monkeypatch.setattr(F, "unfold", unfold)
    layer = nn.Conv2d(2, 3, 3, stride=2, padding=1, device="meta")
    assert UnfoldedConv2d(layer)(torch.empty(4, 2, 9, 9, device="meta")).shape == (4, 3, 5, 5)
