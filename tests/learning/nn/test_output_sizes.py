"""Tests of counting the elements in the outputs of layers."""

from __future__ import annotations

import torch
from torch import nn

from metatui.learning.models.mlp import mlp
from metatui.learning.nn.output_sizes import output_sizes


def test_elements_are_counted_for_one_example() -> None:
    assert [size for _, size in output_sizes(mlp((40, 40)), (1,))] == [40, 40, 40, 40, 1]


def test_outputs_may_be_tuples_and_the_model_is_unchanged() -> None:
    model = nn.Sequential(nn.BatchNorm1d(3), nn.Dropout(), nn.GRU(3, 5, batch_first=True))
    mean, *_ = model.buffers()
    before, state = mean.clone(), torch.get_rng_state()
    assert [size for _, size in output_sizes(model[2:], (7, 3))] == [7 * 5 + 5]
    assert [size for _, size in output_sizes(model[:2], (3,))] == [3, 3]
    assert torch.equal(mean, before)
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training
