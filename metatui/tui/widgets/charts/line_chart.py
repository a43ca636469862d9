"""The line chart as a widget."""

from __future__ import annotations

from collections.abc import Sequence

from metatui.tui.widgets.charts.canvas import Canvas
from metatui.tui.widgets.charts.chart_renderer import Picture, paint
from metatui.tui.widgets.charts.chart_theme import ChartTheme
from metatui.tui.widgets.charts.row_widget import Row, RowsWidget
from metatui.tui.widgets.charts.series import Mark, Series


class LineChart(RowsWidget):
    """Curves over a common axis. From 20x6 cells upwards; below, the last values are given in words."""

    DEFAULT_CSS = """
    LineChart { min-height: 6; }
    """

    ALLOW_MAXIMIZE = True

    def __init__(self, *, name: str | None = None, id: str | None = None, classes: str | None = None) -> None:  # noqa: A002
        super().__init__(name=name, id=id, classes=classes)
        self._picture = Picture()
        self._canvas = Canvas()

    def draw(
        self,
        series: Sequence[Series],
        *,
        title: str,
        x_label: str,
        y_label: str,
        log_y: bool = False,
        y_limits: tuple[float, float] | None = None,
        legend: bool = True,
        empty: str = "",
        marks: Sequence[Mark] = (),
        faults: Sequence[float] = (),
    ) -> None:
        """Show these curves; later ones lie on top of earlier ones.

        Args:
            title: What is seen.
            x_label: What the x axis counts, with its unit.
            y_label: The same for the y axis.
            log_y: A logarithmic y axis; values that are not above 0 are gaps there.
            y_limits: Exact ends of the y axis; without, round numbers around the values.
            legend: Whether the header names the curves.
            empty: A sentence for a chart without anything to draw: what to do next.
            marks: Vertical lines with labels.
            faults: Positions of values that are not finite, drawn as crosses on the x axis.
        """
        self._picture = Picture(
            tuple(series),
            tuple(marks),
            tuple(faults),
            title=title,
            x_label=x_label,
            y_label=y_label,
            log_y=log_y,
            y_limits=y_limits,
            legend=legend,
            empty=empty,
        )
        self.redraw()

    def rows(self, width: int, height: int, look: ChartTheme) -> list[Row]:
        return paint(self._picture, width, height, look, self._canvas)
