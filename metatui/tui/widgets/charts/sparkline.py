"""Widget that shows a metric in one or two rows, with values as text and a sparkline."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.cells import cell_len
from rich.segment import Segment

from metatui.tui.colors import palette
from metatui.tui.formatting import number, percent
from metatui.tui.model.history import History, Trend
from metatui.tui.widgets.charts.chart_theme import ChartTheme
from metatui.tui.widgets.charts.row_widget import Row, RowsWidget, truncate, width_of


def bars(values: Sequence[float], height: int, levels: str) -> list[str]:
    """Draw `values` as bars up to `height` rows high, scaled from the smallest to the largest. NaN is drawn as a blank.

    If all values are equal, all bars have half the maximum height.
    """
    finite = [value for value in values if math.isfinite(value)]
    steps = len(levels) * height
    low, high = (min(finite), max(finite)) if finite else (0.0, 0.0)
    # Halved, because the difference of two finite numbers can be infinite.
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
    """Shows a metric: its name, last value, best value and trend, with a sparkline below or next to these texts.

    Each row of the sparkline is one segment in one colour, so that few bytes are sent to the terminal.
    """

    DEFAULT_CSS = "MetricSparkline { height: 2; min-height: 1; }"

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id)
        self._history = History()
        self._labels: Sequence[str] = ("",)
        self._percent = False

    def show(self, history: History, *names: str, percent: bool = False) -> None:
        """Show a metric.

        Args:
            names: Names of the metric, from the longest to the shortest. The first one that fits is shown.
            percent: Whether values are fractions from 0 to 1, shown as percentages.
        """
        self._history, self._labels, self._percent = history, names, percent
        self.redraw()

    def _value(self, value: float) -> str:
        return percent(value) if self._percent else number(value)

    def rows(self, width: int, height: int, theme: ChartTheme) -> list[Row]:
        if height < 1 or width < 1:
            return []
        if height > 1:
            head = self._head(width, theme)
            return [
                head,
                *([Segment(row, theme.colour(palette.TRAIN))] for row in self._bars(width, height - 1, theme)),
            ]
        # In a single row, the numbers get up to two thirds, and the sparkline gets the rest.
        head = self._head(max(width * 2 // 3, min(width, 24)), theme)
        used = width_of(head)
        beside = self._bars(width - used - 2, 1, theme) if width - used >= 10 else []
        return [
            [*head, *(part for row in beside for part in (Segment("  "), Segment(row, theme.colour(palette.TRAIN))))]
        ]

    def _bars(self, width: int, height: int, theme: ChartTheme) -> list[str]:
        return bars([point.mean for point in self._history.points(width)], height, theme.glyphs.levels)

    def _head(self, width: int, theme: ChartTheme) -> Row:
        last, best = self._history.last, self._history.best
        room = width if last is None else max(4, width - 8)
        names = [theme.printable(label) for label in self._labels]
        name = next((name for name in names if cell_len(name) <= room), names[-1])
        if last is None:
            return [Segment(truncate(f"{name}  no values yet", width, theme.glyphs.ellipsis), theme.muted)]
        row = [
            Segment(truncate(name, room, theme.glyphs.ellipsis), theme.text),
            Segment(f" {theme.printable(self._value(last))}", theme.title),
        ]
        texts = [f"best {self._value(best)}"] if best is not None else []
        if trend := self._history.trend():
            texts.append(trend_words(trend, theme))
        for text in texts:
            if width_of(row) + 2 + cell_len(theme.printable(text)) <= width:
                row.append(Segment(f"  {theme.printable(text)}", theme.muted))
        return row


def trend_words(trend: Trend, theme: ChartTheme) -> str:
    """Describe a trend with an arrow and words, such as `↘ falling 3 %`."""
    arrow = {"falling": theme.glyphs.down, "rising": theme.glyphs.up, "flat": theme.glyphs.flat}[trend.direction]
    if trend.direction == "flat":
        return f"{arrow} flat"
    return f"{arrow} {trend.direction} {max(1, round(100 * abs(trend.change)))} %"
