"""Axes with ticks at round numbers. An axis maps floating-point values to positions on a row or column of cells.

A position is 0 at the outer edge of the first cell and 1 at the outer edge of the last one. The scale is chosen so that
ticks are at the centres of cells: on a linear axis, neighbouring ticks are always the same whole number of cells apart.
Therefore, a tick marks its value exactly, although it can only be drawn at the centre of a cell.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from metatui.tui.formatting import number, tick_labels

MAX_MAGNITUDE: Final = 1e300
"""Values farther from 0 than this are clamped to this distance, so that differences and steps stay finite."""
MIN_MAGNITUDE: Final = 1e-290
"""Values closer to 0 than this are treated as 0, and ranges shorter than this are treated as empty."""

TOLERANCE: Final = 0.25
"""Maximum distance, in cells, between a tick of a logarithmic axis and the centre of its cell. It equals the height of
a braille dot."""
MAX_TICKS: Final = 9
POWER_STEPS: Final = (1, 2, 3, 5, 10, 20, 30, 50, 100, 200, 300)
"""Possible distances between the ticks of a logarithmic axis that has ticks only at powers of ten. A distance of 2
means that there is a tick at every second power."""
LABELLED_FROM: Final = 4
"""Minimum number of cells per power of ten at which 2 and 5 get labels. With 3 cells, every cell would have a tick."""


@dataclass(frozen=True)
class Axis:
    """An axis from `low` to `high`, the values at its outer edges. Both are above 0 if the axis is logarithmic."""

    cells: int
    low: float
    high: float
    ticks: tuple[float, ...]
    labels: tuple[str, ...]
    """The label of each tick. It is empty for a tick without a label."""
    log: bool = False

    def at(self, value: float) -> float:
        """Return the position of a value, or NaN if it cannot be drawn.

        The position is 0 at `low` and 1 at `high`. Values beyond the limits have positions outside this range.
        """
        return self.positions((value,))[0]

    def positions(self, values: Iterable[float]) -> list[float]:
        """Return the position of each value (see `at`)."""
        if self.log:
            low, span = math.log10(self.low), math.log10(self.high) - math.log10(self.low)
            return [
                (math.log10(min(value, MAX_MAGNITUDE)) - low) / span if drawable(value, log=True) else math.nan
                for value in values
            ]
        low, span = self.low, self.high - self.low
        return [
            ((value if -MAX_MAGNITUDE <= value <= MAX_MAGNITUDE else clamped(value)) - low) / span
            if math.isfinite(value)
            else math.nan
            for value in values
        ]

    def cell(self, value: float) -> int | None:
        """Return the index of the cell that contains a value, or None if the value is beyond the limits of the axis."""
        position = self.at(value)
        return None if math.isnan(position) or not 0 <= position <= 1 else dot(position, self.cells)

    def value(self, cell: int) -> float:
        """Return the value at the centre of a cell of a linear axis."""
        return self.low + (cell + 0.5) / self.cells * (self.high - self.low)


def dot(position: float, count: int) -> int:
    """Return the index of the cell or dot that contains a position (0 to 1), on an axis of `count` cells or dots."""
    # A tick is on the edge between two braille dots; rounding errors must not decide between them.
    return min(count - 1, math.floor(position * count + 1e-7))


def clamped(value: float) -> float:
    return 0.0 if abs(value) < MIN_MAGNITUDE else max(-MAX_MAGNITUDE, min(MAX_MAGNITUDE, value))


def drawable(value: float, log: bool) -> bool:
    """Return whether `value` can be drawn. It must be finite and, on a logarithmic axis, above 0."""
    return math.isfinite(value) and (not log or value >= MIN_MAGNITUDE)


def value_axis(values: Iterable[float], cells: int, *, log: bool = False) -> Axis | None:
    """Return a vertical axis that contains all drawable values, or None if no value is drawable.

    A linear axis also contains 0 if the values are near 0. Even if `log` is true, the axis is linear when the values
    are so close together that a logarithmic axis would have no ticks.
    """
    kept = [clamped(value) for value in values if drawable(value, log)]
    if not kept:
        return None
    low, high = min(kept), max(kept)
    axis = _log_axis(low, high, cells) if log else None
    if axis is None and 0 < low < high / 4:
        low = 0.0
    elif axis is None and low / 4 < high < 0:
        high = 0.0
    return axis or _linear_axis(low, high, cells, 2)


def range_axis(low: float, high: float, cells: int, *, wide: bool = False, whole: bool = False) -> Axis:
    """Return a linear axis from `low` to `high`. Its ends are extended only as far as the ticks require.

    Args:
        wide: Whether labels are next to each other (below a horizontal axis) and not one above the other.
        whole: Whether ticks are at whole numbers only.
    """
    low, high = sorted(clamped(end) if math.isfinite(end) else 0.0 for end in (low, high))
    if whole and high < low + 1:  # room for two ticks
        high = low + max(1.0, 0.1 * abs(low))
    return _linear_axis(low, high, cells, 2, wide=wide, whole=whole)


def _widened(low: float, high: float) -> tuple[float, float]:
    """Move the ends apart if floating-point numbers cannot distinguish positions between them."""
    size = max(abs(low), abs(high))
    if high - low > max(1e-9 * size, MIN_MAGNITUDE):
        return low, high
    pad = 0.1 * size if size else 1.0
    return low - pad, high + pad


@dataclass(frozen=True)
class _Layout:
    """Positions of ticks at multiples of `step`. The ticks are `spacing` cells apart."""

    step: float
    spacing: int
    first: int
    """The first tick, as a multiple of `step`."""
    cell: int
    """Index of the cell that contains the first tick."""
    used: float
    """Fraction of the cells that lie between the smallest and the largest value."""

    def count(self, cells: int) -> int:
        """Return the number of ticks."""
        return (cells - 1 - self.cell) // self.spacing + 1

    def score(self, cells: int, wide: bool) -> float:
        """Return a score that is high if most cells are used and the number of ticks is moderate."""
        count, preferred = self.count(cells), max(3, min(7, cells // (12 if wide else 3)))
        return self.used - 0.08 * abs(count - preferred) - (0.1 if count < 3 else 0.0)

    def axis(self, cells: int) -> Axis:
        low = (self.first - (self.cell + 0.5) / self.spacing) * self.step
        ticks = [(self.first + index) * self.step for index in range(self.count(cells))]
        ticks = [tick for tick in ticks if abs(tick) <= MAX_MAGNITUDE]
        return Axis(
            cells, low, low + cells / self.spacing * self.step, tuple(ticks), tuple(tick_labels(ticks, self.step))
        )


def _steps(span: float, cells: int) -> Iterator[float]:
    """Yield possible tick spacings in ascending order: 1, 2 and 5 times powers of ten.

    The first is smaller than the part of `span` that one cell covers, and the last is larger than `span`.
    """
    for power in range(math.floor(math.log10(span / cells)), math.ceil(math.log10(span)) + 2):
        yield from (factor * 10.0**power for factor in (1, 2, 5))


def _linear_axis(low: float, high: float, cells: int, spacing: int, *, wide: bool = False, whole: bool = False) -> Axis:
    """Return the linear axis whose ticks have the best score.

    Args:
        spacing: Minimum number of cells between ticks.
    """
    low, high = _widened(low, high)
    steps = [step for step in _steps(high - low, cells) if step >= 1 or not whole]
    layouts = [layout for step in steps if (layout := _layout(low, high, cells, step)) and layout.spacing >= spacing]
    for layout in sorted(layouts, key=lambda layout: layout.score(cells, wide), reverse=True):
        axis = layout.axis(cells)
        if not wide or max(map(len, axis.labels), default=0) < layout.spacing:
            return axis
    # There are few cells: every cell has a tick, or there are no ticks.
    return _linear_axis(low, high, cells, 1, whole=whole) if spacing > 1 else Axis(cells, low, high, (), ())


def _layout(low: float, high: float, cells: int, step: float) -> _Layout | None:
    """Return the layout with ticks at multiples of `step`, spaced as far apart as the cells allow.

    The result is None if there would be too few or too many ticks.
    """
    # `low` is at most half a cell from the centre of the first cell, and `high` is before the end of the last cell.
    spacing = math.floor((cells - 1) * step / (high - low) + 1e-6)
    if spacing < 1:
        return None
    first = math.ceil(low / step - 1e-6)
    cell = math.ceil((first - low / step) * spacing - 0.5 - 1e-6)
    first, cell = first - cell // spacing, cell % spacing
    layout = _Layout(step, spacing, first, cell, (high - low) / step * spacing / cells)
    return layout if 2 <= layout.count(cells) <= MAX_TICKS else None


def _log_axis(low: float, high: float, cells: int) -> Axis | None:
    """Return an axis with ticks at 1, 2 and 5 times powers of ten, or only at powers of ten if there is no room.

    The result is None if the range is too narrow for such ticks.
    """
    start, end = math.log10(low), math.log10(high)
    largest = math.floor((cells - 1) / (end - start) + 1e-6) if end - start > 1e-9 else 0
    spacing = next((spacing for spacing in range(largest, 2, -1) if _fits_two_and_five(spacing)), 0)
    if not spacing:
        return _powers_axis(low, high, cells)
    power = math.ceil(start - 1e-6)
    bottom = power - (math.ceil((power - start) * spacing - 0.5 - 1e-6) + 0.5) / spacing
    top = bottom + cells / spacing
    multiples = (factor * 10.0**power for power in range(math.floor(bottom), math.ceil(top)) for factor in (1, 2, 5))
    ticks = [tick for tick in multiples if tick >= MIN_MAGNITUDE and bottom <= math.log10(tick) <= top]
    if len(ticks) < 2 or (end - start) * spacing < cells / 2:
        return None
    powers = [tick for tick in ticks if f"{tick:e}".startswith("1.0")]
    labelled = ticks if spacing >= LABELLED_FROM or len(powers) < 2 else powers
    labels = tuple(_power_label(tick) if tick in labelled else "" for tick in ticks)
    return Axis(cells, 10.0**bottom, 10.0**top, tuple(ticks), labels, log=True)


def _fits_two_and_five(spacing: int) -> bool:
    """Return whether ticks at 2 and 5 are near the centres of cells if ticks at 1 and 10 are `spacing` cells apart."""
    places = (spacing * math.log10(2), spacing * math.log10(5))
    return all(abs(place - math.floor(place + 0.5)) <= TOLERANCE for place in places)


def _powers_axis(low: float, high: float, cells: int) -> Axis | None:
    """Return a logarithmic axis with a tick at every power of ten or, if there is no room, at every second or third."""
    start = math.log10(low)
    end = max(math.log10(high), start + 1)
    layouts = (_layout(start, end, cells, step) for step in POWER_STEPS)
    fitting = (each for each in layouts if each and each.spacing >= 2 and each.used >= 0.5)
    layout = next(fitting, None)
    exponents = layout.axis(cells) if layout else _linear_axis(start, end, cells, 2, whole=True)
    if not (exponents.low > -307 and exponents.high < 307 and exponents.ticks):
        return None
    ticks = tuple(10.0**tick for tick in exponents.ticks)
    labels = tuple(map(_power_label, ticks))
    return Axis(cells, 10.0**exponents.low, 10.0**exponents.high, ticks, labels, log=True)


def _power_label(tick: float) -> str:
    """Format a tick that is 1, 2 or 5 times a power of ten. It needs only one significant digit."""
    if 1e-3 <= tick < 1e4:
        return f"{tick:g}"
    if 1e4 <= tick < 1e15:
        return number(tick).replace(".00", "").replace(".0", "")
    mantissa, exponent = f"{tick:.0e}".split("e")
    return f"{mantissa}e{int(exponent)}"
