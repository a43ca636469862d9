"""Tests that smoothed values are exponential moving averages."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metatui.utils.smoothing import DECAYS, ExponentialAverage


def definition(values: Sequence[float], decay: float) -> list[float]:
    """Compute the exponential moving average of `values` with bias correction, directly from its definition.

    The average is s_t / (1 - decay^t), where s_t = decay * s_(t-1) + (1 - decay) * x_t and s_0 = 0.
    """
    found, s = [], 0.0
    for t, value in enumerate(values, 1):
        s = decay * s + (1 - decay) * value
        found.append(s / (1 - decay**t))
    return found


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60), st.sampled_from(DECAYS), st.integers(0, 60))
def test_average_matches_definition(values: list[float], decay: float, cut: int) -> None:
    average = ExponentialAverage(decay)
    found = average.extend(values[:cut]) + average.extend(values[cut:])
    assert found == pytest.approx(definition(values, decay), rel=1e-9, abs=1e-6)


def test_nonfinite_values_have_no_weight() -> None:
    nan, inf = math.nan, math.inf
    found = ExponentialAverage(0.5).extend([nan, 1.0, inf, 4.0, *[nan] * 5000, 7.0])
    assert math.isnan(found[0])
    assert found[1:5] == pytest.approx([1.0, 1.0, (0.25 + 4) / 1.25, (0.25 + 4) / 1.25])
    assert found[-2] == found[4]
    assert found[-1] == pytest.approx(7.0)
