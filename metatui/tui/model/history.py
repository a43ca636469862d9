"""History of a metric over a run of any length, in bounded memory, for the charts of a run, and its trend."""

from __future__ import annotations

import itertools
import math
import operator
from bisect import bisect_left
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from typing import Literal, NamedTuple

from metatui.events import Progress
from metatui.utils.smoothing import DECAYS

Averages = tuple[float, ...]
"""Exponential moving averages of a metric, one for each decay in DECAYS. Empty if they are unknown."""

Direction = Literal["falling", "rising", "flat"]

MIN_VALUES = 40
"""Smallest number of finite values for a trend. With fewer, an eighth of the run contains fewer than 5 values."""


class Point(NamedTuple):
    """Smallest, mean and largest value of a metric in the part of a run that ends at `x`. NaN if no value is finite."""

    x: float
    low: float
    mean: float
    high: float


class Step(NamedTuple):
    """A meta-step, with the moving averages of meta-loss and accuracy over all meta-steps up to this one."""

    progress: Progress
    meta_loss: Averages = ()
    accuracy: Averages = ()


class Trend(NamedTuple):
    direction: Direction
    change: float
    """Difference between the means of the last two windows, divided by the larger absolute value of the two means."""


@dataclass(slots=True)
class _Bucket:
    """Statistics of successive values. `count`, `mean`, `low` and `high` cover the finite values only."""

    iteration: int
    seconds: float
    added: int = 0
    """Number of values, finite or not."""
    count: int = 0
    mean: float = math.nan
    low: float = math.inf
    high: float = -math.inf
    averages: Averages = ()
    """Moving averages over all values of the run up to and including the last value of the bucket."""

    def add(self, iteration: int, seconds: float, value: float, averages: Averages) -> None:
        self.iteration, self.seconds, self.averages = iteration, seconds, averages
        self.added += 1
        if math.isfinite(value):
            # Divided before subtracting, as the difference of two finite numbers can be infinite.
            self.mean = (
                value if not self.count else self.mean + (value / (self.count + 1) - self.mean / (self.count + 1))
            )
            self.count += 1
            self.low, self.high = min(self.low, value), max(self.high, value)

    def extend(self, iteration: int, seconds: float, values: Sequence[float], averages: Averages) -> None:
        """Add several values. The last value belongs to meta-step `iteration`."""
        total = sum(values)
        if not math.isfinite(total):  # a value is not finite, or the sum overflows
            for value in values:
                self.add(iteration, seconds, value, averages)
            return
        self.iteration, self.seconds, self.averages = iteration, seconds, averages
        self.added += len(values)
        count = self.count + len(values)
        self.mean = total / count + (self.mean * (self.count / count) if self.count else 0.0)
        self.count = count
        self.low, self.high = min(self.low, *values), max(self.high, *values)

    def absorb(self, later: _Bucket) -> None:
        self.mean = _mean((self, later))
        self.iteration, self.seconds, self.averages = later.iteration, later.seconds, later.averages
        self.added += later.added
        self.count += later.count
        self.low, self.high = min(self.low, later.low), max(self.high, later.high)


def _mean(buckets: Sequence[_Bucket]) -> float:
    """Return the mean of all finite values in `buckets`, or NaN if there are none."""
    if len(buckets) == 1:
        return buckets[0].mean
    count = sum(bucket.count for bucket in buckets)
    return sum(bucket.mean * (bucket.count / count) for bucket in buckets if bucket.count) if count else math.nan


class History:
    """The values of one metric, summarised in at most `capacity` buckets, each with the same number of values.

    When all buckets are full, pairs of neighbours are joined, so a million values need no more memory than a thousand.
    Values that are not finite are treated as gaps, which do not affect means and bounds.
    """

    def __init__(self, *, largest_is_best: bool = False, capacity: int = 1024) -> None:
        if capacity < 2:
            raise ValueError(f"capacity is {capacity}, but must be at least 2")
        self._largest_is_best = largest_is_best
        self._capacity = capacity
        self._per_bucket = 1
        self._buckets: list[_Bucket] = []
        self.last: float | None = None
        """The value that was added last, even if it is not finite, or None if there are no values."""

    def __len__(self) -> int:
        """Return the number of buckets."""
        return len(self._buckets)

    def add(self, iteration: int, seconds: float, value: float, averages: Averages = ()) -> None:
        """Add the value at a meta-step, `seconds` after training started, and the averages up to that meta-step.

        If the meta-step is not after the last one, the run went back to a checkpoint, so later values are removed.
        """
        self.forget_after(iteration - 1)
        buckets = self._buckets
        self.last = value
        if not buckets or buckets[-1].added >= self._per_bucket:
            if len(buckets) == self._capacity:
                self._halve()
            if not buckets or buckets[-1].added >= self._per_bucket:
                buckets.append(_Bucket(iteration, seconds))
        buckets[-1].add(iteration, seconds, value, averages)

    def extend(
        self,
        iterations: Sequence[int],
        seconds: Sequence[float],
        values: Sequence[float],
        averages: Sequence[Averages] = (),
    ) -> None:
        """Add several values, one bucket at a time. Equivalent to calling `add` for each value."""
        averages = averages or [()] * len(values)
        rising = all(map(operator.lt, iterations, itertools.islice(iterations, 1, None)))
        if not iterations or not rising or (self._buckets and self._buckets[-1].iteration >= iterations[0]):
            for one in zip(iterations, seconds, values, averages, strict=True):
                self.add(*one)
            return
        start = 0
        while start < len(values):
            if not self._buckets or self._buckets[-1].added >= self._per_bucket:
                self.add(iterations[start], seconds[start], values[start], averages[start])
                start += 1
                continue
            end = min(len(values), start + self._per_bucket - self._buckets[-1].added)
            self._buckets[-1].extend(iterations[end - 1], seconds[end - 1], values[start:end], averages[end - 1])
            start = end
        self.last = values[-1]

    def forget_after(self, iteration: int) -> None:
        """Remove the values after a meta-step. A bucket that contains such values is removed as a whole."""
        while self._buckets and self._buckets[-1].iteration > iteration:
            self._buckets.pop()

    def seconds_at(self, iteration: int) -> float | None:
        """Return the training time in seconds at a meta-step, or None if it is not known.

        Between the ends of buckets, the time is interpolated.
        """
        if not self._buckets:
            return None
        index = bisect_left(self._buckets, iteration, key=lambda bucket: bucket.iteration)
        end = self._buckets[min(index, len(self._buckets) - 1)]
        if not 0 < index < len(self._buckets):
            return end.seconds
        start = self._buckets[index - 1]
        share = (iteration - start.iteration) / (end.iteration - start.iteration)
        return start.seconds + share * (end.seconds - start.seconds)

    def copy(self) -> History:
        """Return an independent copy."""
        other = History(largest_is_best=self._largest_is_best, capacity=self._capacity)
        other._per_bucket, other.last = self._per_bucket, self.last
        other._buckets = [copy(bucket) for bucket in self._buckets]
        return other

    def _halve(self) -> None:
        joined = self._buckets[::2]
        for first, second in zip(joined, self._buckets[1::2], strict=False):
            first.absorb(second)
        self._buckets[:] = joined
        self._per_bucket *= 2

    @property
    def best(self) -> float | None:
        """The smallest finite value or, if larger is better, the largest one. None if there are no finite values."""
        buckets = [bucket for bucket in self._buckets if bucket.count]
        if self._largest_is_best:
            return max((bucket.high for bucket in buckets), default=None)
        return min((bucket.low for bucket in buckets), default=None)

    def trend(self) -> Trend | None:
        """Return how the metric changed between the last two windows, each an eighth of the run.

        The result is None if there are fewer finite values than MIN_VALUES.

        The trend is flat if the means of the windows differ by less than 1 % or by less than the standard error of the
        difference, so that noise is not mistaken for a trend. In such short windows, noise can hide a slow change.
        Therefore, if the trend is flat, windows of a quarter of the run are compared, with twice the standard error as
        the threshold.
        """
        known = [bucket for bucket in self._buckets if bucket.count]
        if sum(bucket.count for bucket in known) < MIN_VALUES:
            return None
        trend = _trend(known, max(1, len(known) // 8))
        return _trend(known, len(known) // 4, errors=2) if trend.direction == "flat" and len(known) >= 8 else trend

    def values_per_point(self, width: int) -> int:
        """Return how many values are summarised in each point of `points(width)`, except for the last point."""
        return self._per_bucket * max(1, -(-len(self._buckets) // width))

    def points(
        self, width: int, against: Literal["iteration", "seconds"] = "iteration", smoothing: float = 0.0
    ) -> list[Point]:
        """Return at most `width` points of the run, in order.

        Each point combines the same number of values, except for the last one, which combines 0.5 to 1.5 times as many.

        Args:
            against: unit of `Point.x`, which is meta-steps or seconds of training.
            smoothing: 0 for no smoothing, or one of DECAYS. With smoothing, `mean` is the exponential moving average
                after the point's last meta-step (`metatui.utils.smoothing`). `low` and `high` are not smoothed.
        """
        if width < 1 or smoothing not in (0, *DECAYS):
            raise ValueError(
                f"width is {width} and smoothing is {smoothing}, but width must be at least 1 and smoothing must be "
                f"one of {(0, *DECAYS)}"
            )
        buckets = self._buckets
        # Joined by index, so that points do not change while the run continues.
        size = max(1, -(-len(buckets) // width))
        parts = [buckets[start : start + size] for start in range(0, len(buckets), size)]
        # A mean of few values is noisy. It would move the end of the curve, and often the whole y axis.
        if len(parts) > 1 and 2 * sum(bucket.added for bucket in parts[-1]) < size * self._per_bucket:
            newest = parts.pop()
            parts[-1] = [*parts[-1], *newest]
        points = []
        for part in parts:
            end, mean = part[-1], _mean(part)
            if smoothing and not end.averages:
                continue  # earlier meta-steps are not known yet
            if smoothing and not math.isnan(mean):
                mean = end.averages[DECAYS.index(smoothing)]
            x = float(end.iteration) if against == "iteration" else end.seconds
            if math.isnan(mean):
                points.append(Point(x, math.nan, math.nan, math.nan))
            else:
                points.append(Point(x, min(b.low for b in part), mean, max(b.high for b in part)))
        return points


def _trend(buckets: Sequence[_Bucket], window: int, *, errors: float = 1.0) -> Trend:
    """Return the change between the last two windows of `window` buckets each. Each bucket must have finite values.

    Args:
        errors: the trend is flat if the change is at most this number of standard errors.
    """
    before, after = buckets[-2 * window : -window], buckets[-window:]
    if not before:
        return Trend("flat", 0.0)
    old, new = _mean(before), _mean(after)
    scale = max(abs(old), abs(new))
    if scale == 0:
        return Trend("flat", 0.0)
    change = new / scale - old / scale
    error = math.hypot(_relative_error(before, old, scale), _relative_error(after, new, scale))
    if abs(change) <= max(0.01, errors * error):
        return Trend("flat", change)
    return Trend("rising" if change > 0 else "falling", change)


def _relative_error(buckets: Sequence[_Bucket], mean: float, scale: float) -> float:
    """Return the standard error of the mean of `buckets`, as a multiple of `scale`, or 0 for fewer than two buckets."""
    if len(buckets) < 2:
        return 0.0
    squares = sum((bucket.mean / scale - mean / scale) ** 2 for bucket in buckets)
    return math.sqrt(squares / (len(buckets) - 1) / len(buckets))
