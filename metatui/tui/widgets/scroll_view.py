"""Scrolling page of text and drawings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual.binding import BindingType
from textual.events import MouseScrollDown, MouseScrollUp

from metatui.tui.widgets.charts.chart_theme import ChartTheme
from metatui.tui.widgets.charts.row_widget import Row, RowsWidget, padded
from metatui.utils.text import wrap_text

Page = Callable[[int, ChartTheme], list[Row]]
"""Function that takes a width in cells and a theme, and returns the rows of a page."""


class ScrollingRows(RowsWidget, can_focus=True):
    """Widget with rows that the user can scroll with keys and the mouse wheel."""

    BINDINGS: ClassVar[list[BindingType]] = [
        ("up", "scroll_rows(-1)", "Up"),
        ("down", "scroll_rows(1)", "Down"),
        ("pageup", "scroll_pages(-1)", "Page up"),
        ("pagedown,space", "scroll_pages(1)", "Page down"),
        ("home", "scroll_rows(-1000000)", "Start"),
        ("end", "scroll_rows(1000000)", "End"),
    ]

    def action_scroll_rows(self, by: int) -> None:
        raise NotImplementedError

    def action_scroll_pages(self, by: int) -> None:
        self.action_scroll_rows(by * max(1, self.content_size.height - 1))

    def on_mouse_scroll_up(self, event: MouseScrollUp) -> None:
        event.stop()
        self.action_scroll_rows(-3)

    def on_mouse_scroll_down(self, event: MouseScrollDown) -> None:
        event.stop()
        self.action_scroll_rows(3)


class ScrollView(ScrollingRows):
    """Shows a page, with a scroll bar if the page is longer than the view."""

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id, classes=classes)
        self._page: Page = lambda width, theme: []
        self._top = 0
        self._length = 0

    def show(self, page: Page, *, from_start: bool = False) -> None:
        """Show `page`, at the current position or from its start."""
        self._page = page
        self._top = 0 if from_start else self._top
        self.redraw()

    def action_scroll_rows(self, by: int) -> None:
        self._top = max(0, min(self._length - self.content_size.height, self._top + by))
        self.redraw()

    def page(self, width: int, theme: ChartTheme) -> list[Row]:
        """Return all rows of the page in a view of this width."""
        # Two columns stay free for the bar, so that its appearance does not change the wrapping.
        return self._page(max(1, width - 2), theme)

    def rows(self, width: int, height: int, theme: ChartTheme) -> list[Row]:
        page = self.page(width, theme)
        self._length = len(page)
        self._top = max(0, min(self._top, len(page) - height))
        bar = scroll_bar(self._top, height, len(page), theme)
        shown = page[self._top : self._top + height]
        return [[*padded(row, width - 1), part] for row, part in zip(shown, bar, strict=False)]


def paragraph(text: str, width: int, theme: ChartTheme, style: Style, *, hang: int = 0) -> list[Row]:
    """Wrap `text` between words. All rows except for the first are indented by `hang` cells."""
    lines = wrap_text(theme.printable(text), max(1, width), subsequent_indent=" " * min(hang, width // 2))
    return [[Segment(line, style)] for line in lines]


def scroll_bar(top: int, height: int, count: int, theme: ChartTheme) -> Sequence[Segment]:
    """Return the cells of a vertical scroll bar, from top to bottom. They are blank if all rows are visible.

    Args:
        top: index of the first visible row.
        height: number of visible rows.
        count: total number of rows.
    """
    if count <= height:
        return [Segment(" ")] * height
    size = max(1, height * height // count)
    start = round(top / (count - height) * (height - size))
    thumb, track = Segment(theme.glyphs.thumb, theme.text), Segment(theme.glyphs.vertical, theme.muted)
    return [thumb if start <= row < start + size else track for row in range(height)]
