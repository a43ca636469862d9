"""A picture as a widget that can have the focus."""

from __future__ import annotations

from metatui.tui.widgets.charts.canvas import Canvas
from metatui.tui.widgets.charts.chart_renderer import Picture, paint
from metatui.tui.widgets.charts.chart_theme import ChartTheme
from metatui.tui.widgets.charts.row_widget import Row, RowsWidget


class PictureChart(RowsWidget, can_focus=True):
    """Draws a `Picture`, whatever stands in it."""

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id, classes=classes)
        self._picture = Picture()
        self._canvas = Canvas()

    def show(self, picture: Picture) -> None:
        self._picture = picture
        self.redraw()

    def rows(self, width: int, height: int, look: ChartTheme) -> list[Row]:
        return paint(self._picture, width, height, look, self._canvas)
