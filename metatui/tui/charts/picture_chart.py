"""A picture as a widget that can have the focus."""

from __future__ import annotations

from metatui.tui.charts.canvas import Canvas
from metatui.tui.charts.look import Look
from metatui.tui.charts.picture import Picture, paint
from metatui.tui.charts.rows import Row, RowsWidget


class PictureChart(RowsWidget, can_focus=True):
    """Draws a `Picture`, whatever stands in it."""

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id, classes=classes)
        self._picture = Picture()
        self._canvas = Canvas()

    def show(self, picture: Picture) -> None:
        self._picture = picture
        self.redraw()

    def rows(self, width: int, height: int, look: Look) -> list[Row]:
        return paint(self._picture, width, height, look, self._canvas)
