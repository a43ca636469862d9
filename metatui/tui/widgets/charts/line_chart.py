"""Widget that shows a line chart."""

from __future__ import annotations

from metatui.tui.widgets.charts.canvas import Canvas
from metatui.tui.widgets.charts.chart_theme import ChartTheme
from metatui.tui.widgets.charts.plot import paint
from metatui.tui.widgets.charts.row_widget import Row, RowsWidget
from metatui.tui.widgets.charts.series import ChartData


class LineChart(RowsWidget):
    """Curves on common axes. A chart smaller than 20x6 cells shows the last values as text."""

    DEFAULT_CSS = "LineChart { min-height: 6; }"
    ALLOW_MAXIMIZE = True

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id, classes=classes)
        self._data = ChartData()
        self._canvas = Canvas()

    def show(self, data: ChartData) -> None:
        self._data = data
        self.redraw()

    def rows(self, width: int, height: int, theme: ChartTheme) -> list[Row]:
        return paint(self._data, width, height, theme, self._canvas)
