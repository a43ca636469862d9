"""Axes, lines, bands and bars as SVG text: what a figure of a few curves needs, and no more."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
"""Told apart by colour-blind eyes too (Okabe and Ito 2008)."""

DASHES = ("", "6 3", "2 2", "8 3 2 3")
"""For those beyond the colours, and for print without any."""

INK, GRID = "#333333", "#dddddd"
SIZE = 12
"""Of the letters, in pixels."""

LEFT, RIGHT, TOP, BOTTOM = 62, 14, 30, 42
"""Room around the axes of a panel."""

MARK_ROWS = 4
"""Rows for the labels of marks, used in turn so that labels of adjacent marks do not overlap."""


@dataclass(frozen=True)
class Scale:
    """Values from `low` to `high`, on the pixels from `start` to `end`."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def at(self, value: float) -> float:
        low, high = self._of(self.low), self._of(self.high)
        return self.start + (self._of(value) - low) / (high - low) * (self.end - self.start)

    def _of(self, value: float) -> float:
        return math.log10(value) if self.log else value

    def ticks(self) -> list[float]:
        """Three to about ten round values."""
        if self.log:
            decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            for factors in ((1,), (1, 3), (1, 2, 5)):
                found = [f * 10.0**d for d in decades for f in factors if self.low <= f * 10.0**d <= self.high]
                if len(found) >= 3:
                    return found
        rough = (self.high - self.low) / 5
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(f * power for f in (1, 2, 5, 10) if f * power >= rough * 0.999)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [i * step for i in range(first, last + 1)]


def scale_of(values: Iterable[float], start: float, end: float, *, log: bool = False) -> Scale:
    """From the least to the largest finite value, with a little room; `log` only where all are above zero."""
    finite = [value for value in values if math.isfinite(value)]
    log = log and bool(finite) and min(finite) > 0
    low, high = (min(finite), max(finite)) if finite else (0.0, 1.0)
    if log:
        return Scale(low / 1.1, high * 1.1, start, end, log=True)
    room = 0.04 * (high - low) or abs(high) * 0.1 or 1.0
    return Scale(low - room, high + room, start, end)


@dataclass(frozen=True)
class Series:
    """A line with, or without, a band around it. What is not finite is a gap."""

    x: Sequence[float]
    y: Sequence[float]
    half: Sequence[float] | None = None
    """Half-width of the band at each point."""


@dataclass(frozen=True)
class Mark:
    """A point on the x axis at which something changed in the series `number`."""

    x: float
    words: str
    number: int


def style(number: int) -> tuple[str, str]:
    """Colour and dash of the series `number`."""
    return COLOURS[number % len(COLOURS)], DASHES[number // len(COLOURS) % len(DASHES)]


def text(x: float, y: float, words: str, *, anchor: str = "start", size: int = SIZE, bold: bool = False) -> str:
    weight = ' font-weight="600"' if bold else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}"{weight}>{escape(words)}</text>'


def line(points: Iterable[tuple[float, float]], colour: str, dash: str = "", width: float = 1.8) -> str:
    drawn = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    dashes = f' stroke-dasharray="{dash}"' if dash else ""
    return f'<polyline points="{drawn}" fill="none" stroke="{colour}" stroke-width="{width}"{dashes}/>'


def lines(
    series: Sequence[Series], *, title: str, x_label: str, y_label: str, width: int, height: int, log: bool = False,
    marks: Sequence[Mark] = (),
) -> list[str]:  # fmt: skip
    """A panel of curves over each other, its top left corner at (0, 0), and vertical lines for `marks`."""
    x = scale_of((v for s in series for v in s.x), LEFT, width - RIGHT)
    edges = (v for s in series for i, m in enumerate(s.y) for h in (_half(s, i),) for v in (m - h, m, m + h))
    values = list(edges)
    log = log and _spans_decades([v for s in series for v in s.y])
    if log:  # a band may reach below zero, where a logarithm has no place for it
        values = [v for v in values if v > 0]
    y = scale_of(values, height - BOTTOM, TOP, log=log)
    drawn = _axes(x, y, title, x_label, y_label, width, height)
    for row, mark in enumerate(mark for mark in marks if x.low <= mark.x <= x.high):
        drawn += _marked(mark, x.at(mark.x), TOP + SIZE * (1 + row % MARK_ROWS), width, height)
    for number, s in enumerate(series):
        colour, dash = style(number)
        for part in _parts(s):
            points = [(x.at(s.x[i]), y.at(max(s.y[i], y.low))) for i in part]
            if s.half is not None:
                upper = [(x.at(s.x[i]), y.at(min(s.y[i] + _half(s, i), y.high))) for i in part]
                lower = [(x.at(s.x[i]), y.at(max(s.y[i] - _half(s, i), y.low))) for i in reversed(part)]
                around = " ".join(f"{a:.1f},{b:.1f}" for a, b in upper + lower)
                drawn.append(f'<polygon points="{around}" fill="{colour}" fill-opacity="0.15" stroke="none"/>')
            drawn.append(line(points, colour, dash))
            drawn += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="2.2" fill="{colour}"/>' for a, b in points
                      if len(s.x) <= 25]  # fmt: skip
    return drawn


def bars(
    values: Sequence[tuple[str, float, float, str]], *, title: str, x_label: str, width: int, height: int
) -> list[str]:
    """A panel of horizontal bars from zero.

    Args:
        values: name, value, half-width of its interval (0 for none) and the words at its end, a tuple a bar.
    """
    left = LEFT + 70
    room = max(len(words) for *_, words in values) * SIZE * 0.56 + 8
    reach = [v + h if math.isfinite(h) else v for _, v, h, _ in values if math.isfinite(v)]
    x = Scale(0.0, max([*reach, 0.0]) or 1.0, left, width - RIGHT - room)
    drawn = [text(left, 18, title, bold=True), text((x.start + x.end) / 2, height - 8, x_label, anchor="middle")]
    for tick in x.ticks():
        at = x.at(tick)
        drawn.append(line([(at, TOP), (at, height - BOTTOM)], GRID, width=1))
        drawn.append(text(at, height - BOTTOM + 16, label(tick), anchor="middle"))
    step = (height - BOTTOM - TOP) / len(values)
    for number, (name, value, half, words) in enumerate(values):
        colour, _ = style(number)
        middle = TOP + (number + 0.5) * step
        thick = min(22.0, 0.7 * step)
        end = x.at(value) if math.isfinite(value) else left
        drawn.append(
            f'<rect x="{left}" y="{middle - thick / 2:.1f}" width="{max(0.0, end - left):.1f}" height="{thick:.1f}" '
            f'fill="{colour}" fill-opacity="0.75"/>'
        )
        if half and math.isfinite(half) and math.isfinite(value):
            low, high = x.at(max(0.0, value - half)), x.at(value + half)
            drawn.append(line([(low, middle), (high, middle)], INK, width=1.4))
            drawn += [line([(at, middle - 4), (at, middle + 4)], INK, width=1.4) for at in (low, high)]
            end = high
        drawn.append(text(left - 6, middle + 4, fitted(name, left - 8), anchor="end"))
        drawn.append(text(end + 6, middle + 4, words))
    return drawn


def fitted(words: str, pixels: float) -> str:
    """`words`, cut where they are too long for so many pixels."""
    most = max(1, int(pixels / (SIZE * 0.56)))
    return words if len(words) <= most else words[: most - 1] + "…"


def label(value: float) -> str:
    """A tick in as few signs as tell it."""
    size = abs(value)
    if size >= 1e12:
        return f"{value:.3g}"
    for least, suffix in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if size >= least:
            return f"{value / (1e3 if suffix == 'k' else least):.6g}{suffix}"
    return f"{round(value, 10):.6g}"


def _axes(x: Scale, y: Scale, title: str, x_label: str, y_label: str, width: int, height: int) -> list[str]:
    drawn = [text(LEFT, 18, title, bold=True), text((x.start + x.end) / 2, height - 8, x_label, anchor="middle")]
    middle = (y.start + y.end) / 2
    drawn.append(
        f'<text transform="translate(14 {middle:.1f}) rotate(-90)" text-anchor="middle" font-size="{SIZE}">'
        f"{escape(y_label)}</text>"
    )
    for tick in y.ticks():
        drawn.append(line([(LEFT, y.at(tick)), (width - RIGHT, y.at(tick))], GRID, width=1))
        drawn.append(text(LEFT - 6, y.at(tick) + 4, label(tick), anchor="end"))
    for tick in x.ticks():
        drawn.append(line([(x.at(tick), height - BOTTOM), (x.at(tick), height - BOTTOM + 4)], INK, width=1))
        drawn.append(text(x.at(tick), height - BOTTOM + 17, label(tick), anchor="middle"))
    drawn.append(line([(LEFT, TOP), (LEFT, height - BOTTOM), (width - RIGHT, height - BOTTOM)], INK, width=1))
    return drawn


def _marked(mark: Mark, at: float, baseline: float, width: int, height: int) -> list[str]:
    """A vertical line with its label, on the side with more room."""
    colour, _ = style(mark.number)
    after = at < width / 2
    words = text(at + 4 if after else at - 4, baseline, mark.words, anchor="start" if after else "end", size=SIZE - 2)
    return [line([(at, TOP), (at, height - BOTTOM)], colour, "3 3", width=1), words]


def _half(series: Series, i: int) -> float:
    half = series.half[i] if series.half is not None else 0.0
    return half if math.isfinite(half) else 0.0


def _spans_decades(values: Sequence[float]) -> bool:
    finite = [value for value in values if math.isfinite(value)]
    return bool(finite) and min(finite) > 0 and max(finite) / min(finite) > 10


def _parts(series: Series) -> list[list[int]]:
    """Indices of the points, cut where one is not finite."""
    parts: list[list[int]] = [[]]
    for i, value in enumerate(series.y):
        if math.isfinite(value):
            parts[-1].append(i)
        elif parts[-1]:
            parts.append([])
    return [part for part in parts if part]
