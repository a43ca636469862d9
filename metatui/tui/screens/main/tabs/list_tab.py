"""Base class of tabs with a list, a filter, and a preview of the selected row."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.containers import Vertical
from textual.events import DescendantBlur, DescendantFocus
from textual.widgets import Input

from metatui.tui.keyboard.actions import with_keys
from metatui.tui.screens.main.header_footer import ContextChanged
from metatui.tui.widgets.scroll_view import ScrollView
from metatui.tui.widgets.table import Table
from metatui.tui.widgets.text_input import Entry

WIDE = 120
"""Minimum width of the terminal at which list and preview have frames, and a long list is left of the preview."""

MIN_ROWS = 4
"""Minimum height of the list."""


class ListTab(Vertical):
    """Base class of tabs with a list and a preview.

    In a wide terminal, the list is to the left of the preview. In a narrow terminal, the list is above the preview, and
    is hidden while the preview has the focus.

    The `compose` method of a subclass yields `filter`, then `table` and `preview` in a container with the CSS class
    `list-and-preview`. The subclass implements `fill` and `show_preview`.
    """

    DEFAULT_CSS = """
    ListTab {
        & > .list-and-preview { height: 1fr; layout: vertical; }
        & > .list-and-preview.-beside { layout: horizontal; }
        & Table { height: 3fr; padding: 0 1; }
        & Table.-beside { width: 3fr; height: 1fr; }
        & > .list-and-preview > ScrollView {  /* not the filter: Textual's Input is also a ScrollView */
            height: 2fr; padding: 0 1; border-top: solid $foreground 30%;
            &:ansi { border-top: solid ansi_bright_black; }
            &.-beside { width: 2fr; height: 1fr; }
            &.-alone { border-top: none; }
        }
    }
    """

    SHORT_LIST_ABOVE: ClassVar[bool] = False
    """Whether a list that needs at most half of the height is placed above the preview even in a wide terminal. This
    is useful if the preview can use the full width of the terminal."""

    table: Table
    preview: ScrollView

    def __init__(self, *, id: str, row: str) -> None:  # noqa: A002 - Textual's name
        """Create the tab, with an empty list and no filter.

        Args:
            row: what each row of the list represents, with an article, such as `a run`.
        """
        super().__init__(id=id)
        hint = with_keys(f"Words that {row} must contain (enter: go to the list, {{leave}}: clear the words)")
        self.filter = Entry(placeholder=hint, id="filter")
        self._unfiltered_rows = 0
        """Number of rows that the list needs without a filter."""

    @property
    def words(self) -> list[str]:
        """The words that a row must contain, in lower case."""
        return self.filter.value.lower().split()

    def show_filter(self) -> None:
        self.filter.display = True
        self.filter.focus()

    def clear_filter(self) -> None:
        self.filter.value = ""
        self.filter.display = False
        self.focus_list()

    def leave(self) -> bool:
        """Go from the preview back to the list, or clear the filter.

        Returns:
            True if the preview was left or the filter was cleared, False if there was nothing to do.
        """
        if self.screen.focused is self.preview:
            self.focus_list()
        elif self.filter.display:
            self.clear_filter()
        else:
            return False
        return True

    def focus_list(self) -> None:
        self.table.display = True  # otherwise it could not take the focus
        self.table.focus()

    def switch_pane(self) -> None:
        """Go to the preview, or back to the list."""
        if self.screen.focused is self.preview:
            self.focus_list()
        else:
            self.preview.focus()

    def fill(self) -> None:
        """Show the rows that contain the words of the filter."""
        raise NotImplementedError

    def show_preview(self) -> None:
        """Show the selected row in the preview."""
        raise NotImplementedError

    def on_mount(self) -> None:
        self.filter.display = False
        self.lay_out()

    def on_resize(self) -> None:
        self.lay_out()

    @on(DescendantFocus)
    @on(DescendantBlur)
    def lay_out(self) -> None:
        """Adapt the layout to the terminal, the focus and the number of rows."""
        wide = self.app.size.width >= WIDE
        reading = self.screen.focused is self.preview
        rows, frame = self.table.needed_rows, 2 if wide else 0
        if not self.words:  # otherwise, the list would move while a filter is typed
            self._unfiltered_rows = rows
        is_long = self._unfiltered_rows + frame > self.size.height // 2
        beside = wide and (is_long or not self.SHORT_LIST_ABOVE)
        is_empty = self._unfiltered_rows <= 1
        self.preview.display = not is_empty
        self.table.display = is_empty or wide or not reading
        # If the list needs fewer rows than its share, the preview gets the remaining rows.
        height = max(MIN_ROWS, rows) + frame
        is_short = not is_empty and not beside and height < 3 * self.size.height // 5
        self.table.styles.height = height if is_short else None
        for widget in (*self.query(".list-and-preview"), self.table, self.preview):
            widget.set_class(beside, "-beside")
            widget.set_class(wide and widget in (self.table, self.preview), "pane")
        self.table.set_class(wide and self.table.has_focus, "-focused")
        self.preview.set_class(wide and reading, "-focused")
        self.preview.set_class(not wide and reading, "-alone")

    @on(Input.Changed, "#filter")
    def _filtered(self) -> None:
        self.fill()

    @on(Input.Submitted, "#filter")
    def _to_list(self) -> None:
        self.focus_list()

    @on(Table.Highlighted)
    def _highlighted(self) -> None:
        self.show_preview()
        self.post_message(ContextChanged())
