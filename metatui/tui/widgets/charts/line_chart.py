"""Widget that shows a line chart. With its cursor, the user can read values, zoom and pan."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import ClassVar, Final

from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widget import Widget

from metatui.tui.widgets.charts.chart_theme import ChartTheme
from metatui.tui.widgets.charts.plot import ChartView, Plot, draw
from metatui.tui.widgets.charts.row_widget import Row, RowsWidget
from metatui.tui.widgets.charts.series import ChartData, drawable_series

MIN_POINTS: Final = 3
"""Minimum number of points that remain visible when the user zooms in."""


class LineChart(RowsWidget):
    """Shows curves on common axes or, if there is too little room for curves, the last values as text.

    `action_cursor` or a click shows a cursor, and the legend then shows the values under the cursor. While the cursor
    is visible, the chart has the focus, and the keys in `BINDINGS` work.
    """

    DEFAULT_CSS = "LineChart { min-height: 6; }"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left", "move(-1)", "Move the cursor left", show=False, id="chart.left"),
        Binding("right", "move(1)", "Move the cursor right", show=False, id="chart.right"),
        Binding("shift+left,pageup", "move(-10)", "Move left by 10 columns", show=False, id="chart.far_left"),
        Binding("shift+right,pagedown", "move(10)", "Move right by 10 columns", show=False, id="chart.far_right"),
        Binding("home", "move(-1_000_000)", "Move the cursor to the first value", show=False, id="chart.first"),
        Binding("end", "move(1_000_000)", "Move the cursor to the last value", show=False, id="chart.last"),
        Binding("plus,equals_sign,up", "zoom(0.5)", "Zoom in", show=False, id="chart.zoom_in"),
        Binding("minus,down", "zoom(2)", "Zoom out", show=False, id="chart.zoom_out"),
        Binding("0", "zoom(1_000_000)", "Show everything", show=False, id="chart.all"),
        Binding("escape,enter", "cursor", "Hide the cursor", show=False, id="chart.hide_cursor"),
    ]

    class CursorChanged(Message):
        """Posted when the cursor appears or disappears, because the keys of the chart then change."""

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id, classes=classes)
        self._data = ChartData()
        self._view = ChartView()
        self._plot: Plot | None = None
        """The plot that was drawn last."""
        self._dragged_from: tuple[int, tuple[float, float]] | None = None
        """Column in which the mouse button was pressed, and the part of the chart that was visible at that time."""
        self._previous: tuple[Widget | None, bool] = (None, False)
        """The widget that had the focus before the cursor appeared, and whether this chart could be focused at that
        time."""

    def show(self, data: ChartData) -> None:
        """Show a chart. The cursor and the visible part are kept, unless the x axis now shows a different quantity."""
        same = data.x_label == self._data.x_label
        self._view = replace(self._view, order=self._order(data))
        self._data = data
        if self.has_cursor:
            xs = self._xs()
            if not same or not xs:
                self._hide_cursor()
            else:
                window = self._view.window
                if window and not any(window[0] <= x <= window[1] for x in xs):  # the chart shows another run
                    window = None
                self._view = replace(self._view, window=window, cursor=_nearest(xs, self._view.cursor or 0.0))
        self.redraw()

    def _order(self, data: ChartData) -> dict[tuple[int, str], int]:
        """Return a number for each series. A series that changed later has a higher number.

        The number is 0 for a series that has never changed.
        """
        before = {(each.position, each.series.style): each.series for each in drawable_series(self._data)}
        order = self._view.order
        latest = max(order.values(), default=0) + 1
        return {
            key: latest if key in before and before[key].points != each.series.points else order.get(key, 0)
            for each in drawable_series(data)
            for key in ((each.position, each.series.style),)
            if before.get(key, each.series).name == each.series.name
        }

    def rows(self, width: int, height: int, theme: ChartTheme) -> list[Row]:
        drawing = draw(self._data, width, height, theme, self._view)
        self._plot = drawing.plot
        return drawing.rows

    @property
    def has_values(self) -> bool:
        return bool(drawable_series(self._data))

    @property
    def has_cursor(self) -> bool:
        return self._view.cursor is not None

    @property
    def view(self) -> ChartView:
        """The visible part and the cursor."""
        return self._view

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Disable the keys of the chart while it has no cursor, so that the screen can use these keys."""
        return self.has_cursor or action not in ("move", "zoom", "cursor")

    def action_cursor(self) -> None:
        """Show a cursor at the last value. If there is already a cursor, hide it and show everything."""
        if self.has_cursor:
            self._hide_cursor()
        elif xs := self._xs():
            self._put_cursor(xs[-1])

    def action_move(self, columns: int) -> None:
        """Move the cursor by about `columns` columns to the nearest value, and at least to the next value."""
        xs, cursor = self._xs(), self._view.cursor
        if cursor is None or self._plot is None:
            return
        target = _nearest(xs, cursor + columns / self._plot.width * (self._plot.x.high - self._plot.x.low))
        if (target - cursor) * columns <= 0:
            beyond = [x for x in xs if (x - cursor) * columns > 0]
            target = min(beyond, key=lambda x: abs(x - cursor), default=cursor)
        self._put_cursor(target)

    def action_zoom(self, factor: float) -> None:
        """Multiply the length of the visible part by `factor`. The cursor stays in its column."""
        xs, cursor = self._xs(), self._view.cursor
        if cursor is None or not xs:
            return
        low, high = self._view.window or (xs[0], xs[-1])
        length = (high - low) * factor
        share = (cursor - low) / (high - low) if high > low else 0.5
        self._show_window(cursor - share * length, length)

    def _show_window(self, low: float, length: float) -> None:
        xs = self._xs()
        low = max(xs[0], min(xs[-1] - length, low))
        window = (low, low + length) if length < xs[-1] - xs[0] else None
        if window is None or sum(window[0] <= x <= window[1] for x in xs) >= MIN_POINTS:
            self._view = replace(self._view, window=window)
            self.redraw()

    def _put_cursor(self, x: float) -> None:
        """Move the cursor, and move the visible part if it would not contain the cursor."""
        first = not self.has_cursor
        self._view = replace(self._view, cursor=x)
        if self._view.window and not self._view.window[0] <= x <= self._view.window[1]:
            low, high = self._view.window
            self._show_window(x - (high - low) / 2, high - low)
        if first:
            self._previous = self.screen.focused, self.can_focus
            self.can_focus = True
            self.post_message(self.CursorChanged())
        self.focus(scroll_visible=False)
        self.redraw()

    def _hide_cursor(self) -> None:
        self.on_mouse_up()  # otherwise, a drag would go on, and zoom in again
        before, could_focus = self._previous
        self._view = ChartView(order=self._view.order)
        if self.has_focus and before is not self:
            self.screen.set_focus(before if before is not None and before.is_attached else None)
        self.can_focus = could_focus
        self.post_message(self.CursorChanged())
        self.redraw()

    def _xs(self) -> list[float]:
        """Return the x coordinates of all values, in ascending order."""
        points = (point for each in drawable_series(self._data) for point in each.series.points)
        return sorted({x for x, y in points if math.isfinite(x) and math.isfinite(y)})

    def _x_at(self, event: events.MouseEvent) -> float | None:
        """Return the x coordinate under the mouse pointer, or None if the pointer is outside the plot."""
        offset = event.get_content_offset(self)
        if self._plot is None or offset is None or not 0 <= offset.x - self._plot.left < self._plot.width:
            return None
        return self._plot.x.value(offset.x - self._plot.left)

    def on_click(self, event: events.Click) -> None:
        if (x := self._x_at(event)) is not None and (xs := self._xs()):
            self._put_cursor(_nearest(xs, x))

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        self._zoom_at(event, 0.5)

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        self._zoom_at(event, 2.0)

    def _zoom_at(self, event: events.MouseEvent, factor: float) -> None:
        """Zoom around the mouse pointer if the chart has a cursor. Otherwise, let the mouse wheel scroll the screen."""
        if self.has_cursor and (x := self._x_at(event)) is not None:
            event.stop()
            self._view = replace(self._view, cursor=_nearest(self._xs(), x))
            self.action_zoom(factor)

    def on_mouse_down(self, event: events.MouseDown) -> None:
        if self._view.window:
            self._dragged_from = event.screen_x, self._view.window
            self.capture_mouse()

    def on_mouse_move(self, event: events.MouseMove) -> None:
        if self._dragged_from and self._plot:
            column, (low, high) = self._dragged_from
            moved = (event.screen_x - column) / self._plot.width * (self._plot.x.high - self._plot.x.low)
            self._show_window(low - moved, high - low)

    def on_mouse_up(self) -> None:
        if self._dragged_from:
            self._dragged_from = None
            self.release_mouse()


def _nearest(xs: list[float], x: float) -> float:
    return min(xs, key=lambda each: abs(each - x))
