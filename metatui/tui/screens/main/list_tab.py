"""Base class of tabs with a list and a preview of the selected row."""

from __future__ import annotations

from textual import on
from textual.containers import Vertical
from textual.events import DescendantBlur, DescendantFocus

from metatui.tui.screens.main.header_footer import ContextChanged
from metatui.tui.widgets.scroll_view import ScrollView
from metatui.tui.widgets.table import Table

WIDE = 120
"""Minimum width of the terminal to show the preview next to the list. In a narrower one, it is below the list."""


class ListTab(Vertical):
    """Arranges a list and a preview. In a narrow terminal, the preview replaces the list while it has the focus.

    A subclass yields `table` and `preview` in a container with the CSS class `list-and-preview`, and implements
    `show_preview`.
    """

    DEFAULT_CSS = """
    ListTab {
        & > .list-and-preview { height: 1fr; layout: vertical; }
        & > .list-and-preview.-wide { layout: horizontal; }
        & Table { height: 3fr; padding: 0 1; }
        & Table.-wide { width: 3fr; height: 1fr; }
        & > .list-and-preview > ScrollView {  /* not the filter: Textual's Input has a base class of the same name */
            height: 2fr; padding: 0 1; border-top: solid $foreground 30%;
            &:ansi { border-top: solid ansi_bright_black; }
            &.-wide { width: 2fr; height: 1fr; }
            &.-alone { border-top: none; }
        }
    }
    """

    table: Table
    preview: ScrollView

    def leave(self) -> bool:
        """Go from the preview back to the list.

        Returns:
            Whether the preview had the focus.
        """
        if self.screen.focused is not self.preview:
            return False
        self.focus_list()
        return True

    def focus_list(self) -> None:
        self.table.display = True  # otherwise it could not take the focus
        self.table.focus()

    def switch_pane(self) -> None:
        """Go to the preview, or back to the list."""
        if not self.leave():
            self.preview.focus()

    def show_preview(self) -> None:
        """Show the selected row in the preview."""
        raise NotImplementedError

    def on_mount(self) -> None:
        self._lay_out()

    def on_resize(self) -> None:
        self._lay_out()

    @on(DescendantFocus)
    @on(DescendantBlur)
    def _lay_out(self) -> None:
        wide = self.app.size.width >= WIDE
        reading = self.screen.focused is self.preview
        self.table.display = wide or not reading
        for widget in (*self.query(".list-and-preview"), self.table, self.preview):
            widget.set_class(wide, "-wide")
            widget.set_class(wide and widget in (self.table, self.preview), "pane")
        self.table.set_class(wide and self.table.has_focus, "-focused")
        self.preview.set_class(wide and reading, "-focused")
        self.preview.set_class(not wide and reading, "-alone")

    @on(Table.Highlighted)
    def _highlighted(self) -> None:
        self.show_preview()
        self.post_message(ContextChanged())
