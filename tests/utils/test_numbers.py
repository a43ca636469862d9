"""Tests of formatting means and intervals."""

from __future__ import annotations

import math

import pytest

from metatui.utils.numbers import interval


@pytest.mark.parametrize(
    ("mean", "half", "text"),
    [
        (1.2096, 0.3, "1.21 ± 0.30"),
        (98.04, 1.234, "98.0 ± 1.2"),
        (50.4, 12.3, "50 ± 12"),
        (0.5, 0.0996, "0.50 ± 0.10"),
        (0.012341, 0.00067, "0.01234 ± 0.00067"),
        (1.5e-7, 2.5e-9, "1.500e-07 ± 2.5e-09"),
        (0.5, 0.0, "0.5 ± 0"),
        (0.5, math.inf, "0.5 ± unknown"),
        (math.nan, 0.1, "diverged"),
        (4.4e38, 1.2e37, "4.40e+38 ± 1.2e+37"),
        (3.5, 2.5e7, "3.50e+00 ± 2.5e+07"),
        (123456.7, 1234.0, "123457 ± 1234"),
    ],
)
def test_mean_has_the_decimals_of_its_interval(mean: float, half: float, text: str) -> None:
    assert interval(mean, half) == text
