"""Tests of formatting means and intervals."""

from __future__ import annotations

import math

import pytest

from metatui.utils.numbers import format_diverged, interval, with_minus


@pytest.mark.parametrize(
    ("mean", "half", "text"),
    [
        (1.2096, 0.3, "1.21 ± 0.30"),
        (98.04, 1.234, "98.0 ± 1.2"),
        (50.4, 12.3, "50 ± 12"),
        (0.5, 0.0996, "0.50 ± 0.10"),
        (0.012341, 0.00067, "0.01234 ± 0.00067"),
        (0.5, 0.00012, "0.50000 ± 0.00012"),
        (0.5, 0.000012, "5.00000e-01 ± 1.2e-05"),
        (1.5e-7, 2.5e-9, "1.500e-07 ± 2.5e-09"),
        (5.0, 2.5e-9, "5.000000e+00 ± 2.5e-09"),
        (0.5, 0.0, "0.5 ± 0"),
        (0.5, math.inf, "0.5 ± unknown"),
        (1234.56, math.nan, "1235 ± unknown"),
        (math.nan, 0.1, "diverged"),
        (-math.inf, 0.1, "diverged"),
        (4.4e38, 1.2e37, "4.40e+38 ± 1.2e+37"),
        (3.5, 2.5e7, "3.50e+00 ± 2.5e+07"),
        (-4e7, 2.5e5, "-4.000e+07 ± 2.5e+05"),
        (1e6, 0.0, "1.00e+06 ± 0.0e+00"),
        (123456.7, 1234.0, "123457 ± 1234"),
        (999999.0, 1.5, "999999.0 ± 1.5"),
    ],
)
def test_mean_has_the_decimals_of_its_interval(mean: float, half: float, text: str) -> None:
    assert interval(mean, half) == text


@pytest.mark.parametrize(
    ("mean", "half", "decimals", "text"),
    [
        (98.04, 1.26, 1, "98.0 ± 1.3"),
        (98.04, 0.0, 2, "98.04 ± 0.00"),
        (98.04, 0.00001, 0, "98 ± 0"),
        (2e6, 0.3, 1, "2.000000e+06 ± 3.0e-01"),
    ],
)
def test_given_decimals_are_used_below_a_million(mean: float, half: float, decimals: int, text: str) -> None:
    assert interval(mean, half, decimals=decimals) == text


@pytest.mark.parametrize(
    ("text", "shown"), [("-1.5", "−1.5"), ("-", "-"), ("-inf", "-inf"), ("1.5e-07", "1.5e-07"), ("2-3", "2-3")]
)
def test_only_the_sign_of_a_number_becomes_a_minus(text: str, shown: str) -> None:
    assert with_minus(text) == shown


def test_number_of_diverged_tasks() -> None:
    assert format_diverged(1200, 6000) == "1,200 of 6,000 tasks diverged"
