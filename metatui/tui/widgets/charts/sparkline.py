"""A metric in one or two rows: its numbers in words, and how it got there."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.cells import cell_len
from rich.segment import Segment

from metatui.tui import palette
from metatui.tui.controllers.history import History, Trend
from metatui.tui.widgets.charts.chart_theme import ChartTheme
from metatui.tui.widgets.charts.format import number, percent
from metatui.tui.widgets.charts.row_widget import Row, RowsWidget, fitted, width_of


def bars(values: Sequence[float], height: int, levels: str) -> list[str]:
    """`values` as bars over `height` rows, from the smallest to the largest of them; NaN is a blank.

    All the same: half as high.
    """
    finite = [value for value in values if math.isfinite(value)]
    steps = len(levels) * height
    low, high = (min(finite), max(finite)) if finite else (0.0, 0.0)
    # Halved, as the difference of two finite numbers can be infinite.
    span = high / 2 - low / 2
    filled = []
    for value in values:
        share = 0.5 if span <= 0 else (value / 2 - low / 2) / span
        filled.append(1 + round(share * (steps - 1)) if math.isfinite(value) else 0)
    rows = []
    for row in range(height - 1, -1, -1):
        parts = (count - row * len(levels) for count in filled)
        rows.append("".join(" " if part < 1 else levels[min(part, len(levels)) - 1] for part in parts))
    return rows


class MetricSparkline(RowsWidget):
    """A metric's name, last and best value and trend, with a sparkline under or beside them.

    A row is sent as one piece of text in one colour, so that it costs little on a slow line.
    """

    DEFAULT_CSS = """
    MetricSparkline { height: 2; min-height: 1; }
    """

    def __init__(self, *, name: str | None = None, id: str | None = None, classes: str | None = None) -> None:  # noqa: A002
        super().__init__(name=name, id=id, classes=classes)
        self._history = History()
        self._label = ""
        self._unit = ""
        self._percent = False

    def show(self, history: History, *, name: str, unit: str = "", percent: bool = False) -> None:
        """Show a metric.

        Args:
            name: What it is.
            unit: After each number.
            percent: Whether values are fractions from 0 to 1, shown as percentages.
        """
        self._history, self._label, self._unit, self._percent = history, name, unit, percent
        self.redraw()

    def _value(self, value: float) -> str:
        if self._percent:
            return percent(value)
        return f"{number(value)} {self._unit}" if self._unit else number(value)

    def rows(self, width: int, height: int, look: ChartTheme) -> list[Row]:
        if height < 1 or width < 1:
            return []
        if height > 1:
            head = self._head(width, look)
            return [head, *([Segment(row, look.colour(palette.TRAIN))] for row in self._bars(width, height - 1, look))]
        # In a single row the numbers get two thirds, and what they leave is the sparkline's.
        head = self._head(max(width * 2 // 3, min(width, 24)), look)
        used = width_of(head)
        beside = self._bars(width - used - 2, 1, look) if width - used >= 10 else []
        return [
            [*head, *(part for row in beside for part in (Segment("  "), Segment(row, look.colour(palette.TRAIN))))]
        ]

    def _bars(self, width: int, height: int, look: ChartTheme) -> list[str]:
        return bars([point.mean for point in self._history.points(width)], height, look.glyphs.levels)

    def _head(self, width: int, look: ChartTheme) -> Row:
        name, last, best = look.say(self._label), self._history.last, self._history.best
        if last is None:
            return [Segment(fitted(f"{name}  no values yet", width, look.glyphs.ellipsis), look.muted)]
        row = [
            Segment(fitted(name, max(4, width - 8), look.glyphs.ellipsis), look.text),
            Segment(f" {look.say(self._value(last))}", look.title),
        ]
        said = [f"best {self._value(best)}"] if best is not None else []
        said.append(trend_words(self._history.trend(), look))
        for text in said:
            if width_of(row) + 2 + cell_len(look.say(text)) <= width:
                row.append(Segment(f"  {look.say(text)}", look.muted))
        return row


def trend_words(trend: Trend, look: ChartTheme) -> str:
    """An arrow and words: `↘ falling 3 %`."""
    arrow = {"falling": look.glyphs.down, "rising": look.glyphs.up, "flat": look.glyphs.flat}[trend.direction]
    if trend.direction == "flat":
        return f"{arrow} flat"
    return f"{arrow} {trend.direction} {max(1, round(100 * abs(trend.change)))} %"
