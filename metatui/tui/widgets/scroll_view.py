"""Text and drawings in rows that scroll: for pages that are longer than the room for them."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual.binding import BindingType
from textual.events import MouseScrollDown, MouseScrollUp

from metatui.tui.screens.main.journal import scroll_bar
from metatui.tui.widgets.charts.chart_theme import ChartTheme
from metatui.tui.widgets.charts.row_widget import Row, RowsWidget, padded

Page = Callable[[int, ChartTheme], list[Row]]
"""What a sheet shows, for a width in cells."""


class ScrollView(RowsWidget, can_focus=True):
    """Shows a page, with a bar at its right where it is longer than the sheet."""

    BINDINGS: ClassVar[list[BindingType]] = [
        ("up", "scroll_rows(-1)", "Up"),
        ("down", "scroll_rows(1)", "Down"),
        ("pageup", "scroll_pages(-1)", "Page up"),
        ("pagedown,space", "scroll_pages(1)", "Page down"),
        ("home", "scroll_rows(-1000000)", "Start"),
        ("end", "scroll_rows(1000000)", "End"),
    ]

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id, classes=classes)
        self._page: Page = lambda width, look: []
        self._top = 0
        self._length = 0

    def show(self, page: Page, *, from_start: bool = False) -> None:
        """Show `page`: where one was in the one before as far as it reaches, or from its start."""
        self._page = page
        self._top = 0 if from_start else self._top
        self.redraw()

    def action_scroll_rows(self, by: int) -> None:
        self._top = max(0, min(self._length - self.content_size.height, self._top + by))
        self.redraw()

    def action_scroll_pages(self, by: int) -> None:
        self.action_scroll_rows(by * max(1, self.content_size.height - 1))

    def on_mouse_scroll_up(self, event: MouseScrollUp) -> None:
        event.stop()
        self.action_scroll_rows(-3)

    def on_mouse_scroll_down(self, event: MouseScrollDown) -> None:
        event.stop()
        self.action_scroll_rows(3)

    def rows(self, width: int, height: int, look: ChartTheme) -> list[Row]:
        # The bar's column and one beside it are kept free, so that nothing is wrapped anew when it appears.
        page = self._page(max(1, width - 2), look)
        self._length = len(page)
        self._top = max(0, min(self._top, len(page) - height))
        bar = scroll_bar(self._top, height, len(page), look)
        shown = page[self._top : self._top + height]
        return [[*padded(row, width - 1), part] for row, part in zip(shown, bar, strict=False)]


def paragraph(text: str, width: int, look: ChartTheme, style: Style, *, hang: int = 0) -> list[Row]:
    """`text` wrapped between words, every row but the first indented by `hang` cells."""
    wrapped = textwrap.wrap(look.say(text), max(1, width), subsequent_indent=" " * min(hang, width // 2))
    return [[Segment(line, style)] for line in wrapped]
