"""Tests of preparing text for display."""

from __future__ import annotations

import pytest

from metatui.utils.text import wrap_text


@pytest.mark.parametrize("value", ["(p < 0.0001)", "p = 0.012", "95.0 ± 0.4 %", "95.0 +/- 0.4 %", "α = 0.1"])
def test_values_are_not_broken(value: str) -> None:
    for width in range(len(value), 60):
        lines = wrap_text(f"The mean of the runs is {value} on all of the tasks", width)
        assert max(map(len, lines)) <= width
        assert any(value in line for line in lines)


def test_values_that_do_not_fit_are_broken_between_words() -> None:
    assert wrap_text("algorithm.inner_lr = 0.01", 20) == ["algorithm.inner_lr =", "0.01"]
