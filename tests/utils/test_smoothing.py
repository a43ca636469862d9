"""Tests that smoothed values are exponential moving averages."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metatui.utils.smoothing import DECAYS, ExponentialAverage, span_of


def definition(values: Sequence[float], decay: float) -> list[float]:
    """Compute the exponential moving average of `values` with bias correction, directly from its definition.

    The average is s_t / (1 - decay^t), where s_t = decay * s_(t-1) + (1 - decay) * x_t and s_0 = 0.
    """
    found, s = [], 0.0
    for t, value in enumerate(values, 1):
        s = decay * s + (1 - decay) * value
        found.append(s / (1 - decay**t))
    return found


VALUES = st.lists(st.floats(-1e6, 1e6), max_size=30)


@given(VALUES, VALUES, st.sampled_from(DECAYS))
def test_average_matches_definition(earlier: list[float], later: list[float], decay: float) -> None:
    average = ExponentialAverage(decay)
    found = average.extend(earlier) + average.extend(later)
    assert found == pytest.approx(definition(earlier + later, decay), rel=1e-9, abs=1e-6)


def test_nonfinite_values_have_no_weight() -> None:
    nan, inf = math.nan, math.inf
    found = ExponentialAverage(0.5).extend([nan, 1.0, inf, 4.0, *[nan] * 5000, 7.0])
    assert math.isnan(found[0])
    assert found[1:5] == pytest.approx([1.0, 1.0, (0.25 + 4) / 1.25, (0.25 + 4) / 1.25])
    assert found[-2] == found[4]
    assert found[-1] == pytest.approx(7.0)


@pytest.mark.parametrize("decay", [-0.1, 1.0, math.nan])
def test_decay_is_at_least_0_and_below_1(decay: float) -> None:
    with pytest.raises(ValueError, match="but must be at least 0 and below 1"):
        ExponentialAverage(decay)


def test_decay_of_0_does_not_smooth() -> None:
    values = [3.0, -1.0, sys.float_info.max, 0.5]
    assert ExponentialAverage(0).extend(values) == values


@pytest.mark.parametrize("decay", DECAYS)
def test_average_lags_as_far_as_a_window_of_its_span(decay: float) -> None:
    """Check that the average of a straight line lags by (span - 1) / 2, as does that of the last `span` values."""
    line = [float(step) for step in range(2000)]
    assert line[-1] - ExponentialAverage(decay).extend(line)[-1] == pytest.approx((span_of(decay) - 1) / 2)
