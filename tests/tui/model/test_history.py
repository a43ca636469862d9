from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metatui.tui.model.history import History
from metatui.utils.smoothing import DECAYS, ExponentialAverage

ANY_FLOAT = st.floats(allow_nan=True, allow_infinity=True)


def history_of(values: list[float], *, largest_is_best: bool = False, capacity: int = 1024) -> History:
    history = History(largest_is_best=largest_is_best, capacity=capacity)
    averages = zip(*(ExponentialAverage(decay).extend(values) for decay in DECAYS), strict=True)
    for index, (value, averaged) in enumerate(zip(values, averages, strict=True), 1):
        history.add(index, index / 10, value, averaged)
    return history


def test_empty() -> None:
    history = History()
    assert (history.last, history.best, history.points(10), history.trend()) == (None, None, [], None)


def test_size_is_bounded() -> None:
    history = History()
    for index in range(100_000):
        history.add(index, float(index), float(index % 1000))
    assert len(history) <= 1024
    assert history.last == 999
    assert history.best == 0
    points = history.points(100)
    assert len(points) <= 100
    assert points[-1].x == 99_999
    assert all(point.low >= 0 and point.high <= 999 for point in points)
    assert sum(point.mean for point in points) / len(points) == pytest.approx(499.5, abs=10)


@given(st.lists(ANY_FLOAT, max_size=200), st.integers(1, 50), st.sampled_from((0.0, *DECAYS)), st.integers(2, 30))
def test_nonfinite_values_affect_no_others(values: list[float], width: int, smoothing: float, capacity: int) -> None:
    history = history_of(values, capacity=capacity)
    finite = [value for value in values if math.isfinite(value)]
    assert len(history) <= capacity
    assert history.best == (min(finite) if finite else None)
    points = history.points(width, smoothing=smoothing)
    assert len(points) <= width
    for point in points:
        if math.isnan(point.mean):
            assert math.isnan(point.low)
            assert math.isnan(point.high)
        else:
            assert math.isfinite(point.mean)
            assert min(finite) <= point.low <= point.high <= max(finite)
    assert [point.x for point in points] == sorted(point.x for point in points)
    trend = history.trend()
    assert trend is None or math.isfinite(trend.change)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=300), st.integers(2, 20))
def test_joined_buckets_keep_the_mean(values: list[float], capacity: int) -> None:
    (point,) = history_of(values, capacity=capacity).points(1)
    assert point.mean == pytest.approx(sum(values) / len(values), abs=1e-6 * max(1, *map(abs, values)))
    assert (point.low, point.high) == (min(values), max(values))


def test_nonfinite_value_is_a_gap() -> None:
    history = history_of([1.0, math.nan, 3.0, math.inf])
    assert [math.isnan(point.mean) for point in history.points(10)] == [False, True, False, True]
    assert history.last == math.inf
    assert history.best == 1.0


def test_largest_is_best() -> None:
    assert history_of([0.2, 0.9, 0.5], largest_is_best=True).best == 0.9


def test_points_against_meta_steps_and_seconds() -> None:
    history = history_of([5.0, 4.0])
    assert [point.x for point in history.points(5)] == [1, 2]
    assert [point.x for point in history.points(5, "seconds")] == [0.1, 0.2]


def test_smoothing_is_unbiased_and_keeps_the_bounds() -> None:
    points = history_of([2.0, 2.0, 2.0, 10.0]).points(10, smoothing=0.9)
    assert [point.mean for point in points[:3]] == pytest.approx([2.0] * 3)
    assert 2 < points[3].mean < 10
    assert points[3].high == 10


@pytest.mark.parametrize(
    ("values", "direction", "sign"),
    [
        ([10.0 - index / 20 for index in range(160)], "falling", -1),
        ([index / 20 for index in range(160)], "rising", 1),
        ([3.0] * 160, "flat", 0),
        ([3.0 + (-1) ** index for index in range(160)], "flat", 0),
        ([1.35 - index / 200 + 0.1 * (-1) ** (index // 3) for index in range(64)], "falling", -1),  # slow and noisy
        ([0.0] * 40, "flat", 0),
    ],
)
def test_trend(values: list[float], direction: str, sign: int) -> None:
    trend = history_of(values).trend()
    assert trend is not None
    assert trend.direction == direction
    assert trend.change * sign > 0 or sign == 0


@pytest.mark.parametrize("values", [[3.0] * 39, [10.0 - index for index in range(18)], [math.nan] * 40])
def test_few_values_have_no_trend(values: list[float]) -> None:
    assert history_of(values).trend() is None


def test_values_per_point() -> None:
    history = history_of([1.0] * 40, capacity=16)
    assert (history.values_per_point(100), history.values_per_point(5)) == (4, 8)
    assert [point.x for point in history.points(5)] == [8, 16, 24, 32, 40]


def test_earlier_meta_step_removes_later_values() -> None:
    history = history_of([5.0, 4.0, 3.0, 2.0])
    history.add(3, 0.9, 3.5)
    assert [point.x for point in history.points(10)] == [1, 2, 3]
    assert history.best == 3.5


@pytest.mark.parametrize(("width", "smoothing"), [(0, 0.0), (10, 1.0), (10, -0.1), (10, 0.5), (10, math.nan)])
def test_invalid_arguments(width: int, smoothing: float) -> None:
    with pytest.raises(ValueError, match="must be"):
        history_of([1.0]).points(width, smoothing=smoothing)
