"""Table for any number of rows. Only the visible rows are drawn.

Textual's DataTable draws and measures all rows. With a thousand runs, each change to a cell or to the order would take
a tenth of a second or more.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import ClassVar, Literal, NamedTuple

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual.binding import BindingType
from textual.events import Blur, Click, Focus, MouseScrollDown, MouseScrollUp
from textual.message import Message

from metatui.tui.terminal import symbols
from metatui.tui.terminal.symbols import Symbols
from metatui.tui.widgets.charts.chart_theme import ChartTheme, symbols_of
from metatui.tui.widgets.charts.row_widget import Row, RowsWidget, centred, padded, truncate, truncate_middle
from metatui.tui.widgets.scroll_view import scroll_bar

GAP = 2
"""Number of blank cells between columns."""

Tone = Literal["text", "title", "muted", "warning"]
"""Name of a style of ChartTheme."""


class Column(NamedTuple):
    title: str
    right: bool = False
    """True to align the column to the right, for example if it contains numbers."""
    least: int = 0
    """Minimum width to which the cells may be truncated. If it is 0, a column that does not fit in full is omitted."""
    sortable: bool = False
    needs: int = 0
    """Desired width of this column. If all its cells are narrower, the width of the longest cell is enough.

    To make room for this width, the columns to the left are truncated, but not below their `least` width.
    """
    keeps_end: bool = False
    """True to truncate cells in the middle, so that their ends remain visible."""
    optional: bool = False
    """True if the column is omitted while all its cells are empty."""


class Cell(NamedTuple):
    text: str
    tone: Tone = "text"
    colour: str = ""
    """Name of a colour in the palette. If it is empty, the colour of `tone` is used."""
    short: str = ""
    """Text to show instead of `text` if `text` does not fit. If `short` is empty, `text` is truncated."""


class Item(NamedTuple):
    """A row that can be selected."""

    key: str
    """Unique name of the row. The cursor stays on the row with this name when the rows change."""
    cells: tuple[Cell, ...]


class Heading(NamedTuple):
    """A row above a group of items. The items are indented, and the cursor skips the heading."""

    text: str
    note: str = ""


class Table(RowsWidget, can_focus=True):
    """Table that shows as many columns as fit, starting with the first one. Cells and titles can be clicked.

    A cursor selects a row. To make room for the column by which the rows are sorted, columns before it are truncated.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        ("up", "move(-1)", "Up"),
        ("down", "move(1)", "Down"),
        ("pageup", "move_pages(-1)", "Page up"),
        ("pagedown", "move_pages(1)", "Page down"),
        ("home,ctrl+home", "move(-1000000)", "First"),
        ("end,ctrl+end", "move(1000000)", "Last"),
    ]
    COMPONENT_CLASSES: ClassVar[set[str]] = {"table--cursor", "table--cursor-blurred"}
    DEFAULT_CSS = """
    Table {
        & > .table--cursor {
            color: $block-cursor-foreground; background: $block-cursor-background;
            text-style: $block-cursor-text-style;
        }
        & > .table--cursor-blurred {
            color: $block-cursor-blurred-foreground; background: $block-cursor-blurred-background;
            text-style: $block-cursor-blurred-text-style;
        }
    }
    """

    @dataclass
    class Event(Message):
        """Base class of the messages of a table."""

        table: Table

        @property
        def control(self) -> Table:
            return self.table

    @dataclass
    class Highlighted(Event):
        """The cursor has moved to another row."""

    @dataclass
    class Clicked(Event):
        """A cell was clicked."""

        column: int
        again: bool
        """True if the cursor was already on the row of the cell."""

    @dataclass
    class TitleClicked(Event):
        """The title of a column was clicked."""

        column: int

    def __init__(self, columns: Sequence[Column], *, id: str) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id)
        self._columns = tuple(columns)
        self._rows: Sequence[Item | Heading] = ()
        self._items: Sequence[int] = ()
        """Positions of the items in `_rows`."""
        self._empty = ""
        self._order: tuple[int, bool] | None = None
        self._cursor = 0
        """Position of the cursor in `_items`."""
        self._top = 0
        self._height = 1
        """Number of visible rows, not counting the titles of the columns."""
        self._natural: tuple[Symbols, Sequence[int]] | None = None
        """The glyph set, and the width of the longest cell of each column with this glyph set."""
        self._shown: Sequence[tuple[int, int, int]] = ()
        """Index, first cell and width of each visible column."""

    @property
    def keys(self) -> list[str]:
        """Keys of the items, in order."""
        return [row.key for row in self._rows if isinstance(row, Item)]

    @property
    def selected(self) -> str | None:
        """Key of the item under the cursor."""
        item = self._item()
        return item.key if item else None

    @property
    def needed_rows(self) -> int:
        """Number of rows that are needed to show everything, including the titles of the columns."""
        return len(self._rows) + 1

    @property
    def visible_columns(self) -> Sequence[int]:
        return [column for column, _, _ in self._shown]

    def show(
        self,
        rows: Sequence[Item | Heading],
        *,
        empty: str = "",
        order: tuple[int, bool] | None = None,
        in_place: bool = False,
    ) -> None:
        """Show `rows`. The cursor stays on its item, or at its position if the item is gone.

        Args:
            empty: text to show if there are no items.
            order: column by which the rows are sorted, and whether the order is descending.
            in_place: whether to keep the scroll position relative to the item under the cursor, even if this item is
                out of sight. If false, the table scrolls to the cursor.
        """
        before = self.selected
        row = self._items[self._cursor] if self._items else 0
        was_visible = self._top <= row < self._top + self._height
        self._rows, self._empty, self._order, self._natural = rows, empty, order, None
        self._items = [at for at, row in enumerate(rows) if isinstance(row, Item)]
        keys = self.keys
        if before in keys:
            self._cursor = keys.index(before)
        self._cursor = max(0, min(self._cursor, len(keys) - 1))
        if in_place and self._top and before in keys:
            self._top += self._items[self._cursor] - row
        if was_visible or not in_place:
            self._scroll_to_cursor()
        self.redraw()
        if self.selected != before:
            self.post_message(self.Highlighted(self))

    def select(self, key: str) -> None:
        """Move the cursor to an item."""
        keys = self.keys
        if key in keys:
            self._move_to(keys.index(key))

    def action_move(self, by: int) -> None:
        self._move_to(self._cursor + by)

    def action_move_pages(self, by: int) -> None:
        self._move_to(self._cursor + by * max(1, self._height - 1))

    def on_mouse_scroll_up(self, event: MouseScrollUp) -> None:
        event.stop()
        self._scroll(-3)

    def on_mouse_scroll_down(self, event: MouseScrollDown) -> None:
        event.stop()
        self._scroll(3)

    def on_focus(self, event: Focus) -> None:
        self.redraw()

    def on_blur(self, event: Blur) -> None:
        self.redraw()

    def on_click(self, event: Click) -> None:
        offset = event.get_content_offset(self)
        column = next(
            (n for n, start, width in self._shown if offset and start <= offset.x < start + width + GAP), None
        )
        if offset is None or column is None:
            return
        if offset.y == 0:
            self.post_message(self.TitleClicked(self, column))
            return
        row = self._top + offset.y - 1
        if row in self._items:
            again = self._items[self._cursor] == row
            self._move_to(bisect_left(self._items, row))
            self.post_message(self.Clicked(self, column, again))

    def rows(self, width: int, height: int, theme: ChartTheme) -> list[Row]:
        if not self._items:
            return centred(theme.printable(self._empty), width, height, theme.muted)
        # One column is reserved for the scroll bar, so that columns do not move when it appears.
        self._shown = self._placed(width - 1)
        if self._height != max(1, height - 1):
            self._height = max(1, height - 1)
            self._scroll_to_cursor()
        self._top = max(0, min(self._top, len(self._rows) - self._height))
        bar = scroll_bar(self._top, self._height, len(self._rows), theme)
        cursor = self.get_component_rich_style("table--cursor" if self.has_focus else "table--cursor-blurred")
        drawn = [self._titles(theme)]
        for row, part in zip(range(self._top, min(self._top + self._height, len(self._rows))), bar, strict=False):
            at_cursor = row == self._items[self._cursor]
            drawn.append([*self._row(self._rows[row], width - 1, theme, cursor if at_cursor else None), part])
        return drawn

    @property
    def _indent(self) -> int:
        return GAP if len(self._items) < len(self._rows) else 0

    def _item(self) -> Item | None:
        row = self._rows[self._items[self._cursor]] if self._items else None
        return row if isinstance(row, Item) else None

    def _move_to(self, position: int) -> None:
        position = max(0, min(position, len(self._items) - 1))
        if position != self._cursor:
            self._cursor = position
            self._scroll_to_cursor()
            self.redraw()
            self.post_message(self.Highlighted(self))

    def _scroll(self, by: int) -> None:
        self._top = max(0, min(self._top + by, len(self._rows) - self._height))
        self.redraw()

    def _scroll_to_cursor(self) -> None:
        if not self._items:
            return
        row = self._items[self._cursor]
        first = row - 1 if row and self._height > 1 and isinstance(self._rows[row - 1], Heading) else row
        self._top = min(max(self._top, row - self._height + 1), first)

    def _placed(self, width: int) -> list[tuple[int, int, int]]:
        """Return the index, first cell and width of each column that fits in `width` cells."""
        widths: dict[int, int] = {}
        room = width - self._indent
        for number, (column, natural) in enumerate(zip(self._columns, self._widths(), strict=True)):
            if column.optional and not natural:
                continue
            is_sorted = self._order is not None and self._order[0] == number
            spare = {before: self._spare(before, widths[before], keep_needs=is_sorted) for before in widths}
            wanted = min(natural, column.needs)
            if is_sorted and natural <= room + sum(spare.values()):
                wanted = natural
            for before in sorted(widths, key=lambda each: self._columns[each].needs > 0):
                taken = min(spare[before], max(0, wanted - room)) if wanted else 0
                widths[before] -= taken
                room += taken
            if natural > room and (not column.least or column.least > room):
                break
            widths[number] = min(natural, room)
            room -= widths[number] + GAP
        starts = accumulate((size + GAP for size in widths.values()), initial=self._indent)
        return [(number, start, size) for (number, size), start in zip(widths.items(), starts, strict=False)]

    def _spare(self, number: int, width: int, *, keep_needs: bool) -> int:
        """Return the number of cells by which column `number`, which has the width `width`, may be truncated.

        Args:
            keep_needs: whether the column keeps the width that it needs (`Column.needs`).
        """
        column = self._columns[number]
        least = max(column.least, column.needs) if keep_needs else column.least
        return max(0, width - (least or width))

    def _widths(self) -> Sequence[int]:
        """Return the width of the longest cell of each column."""
        glyphs = symbols_of(self)
        if self._natural is None or self._natural[0] is not glyphs:
            plain = symbols.ascii if glyphs is Symbols.ASCII else str
            # Space for the mark of the sorted column, so that columns do not move when the order changes.
            widths = [len(column.title) + (2 if column.sortable else 0) for column in self._columns]
            cells = zip(*(row.cells for row in self._rows if isinstance(row, Item)), strict=True)
            for number, column in enumerate(cells):
                texts = {cell.text for cell in column}
                widest = max(len(text) if text.isascii() else cell_len(plain(text)) for text in texts)
                widths[number] = max(widths[number], widest) if widest or not self._columns[number].optional else 0
            self._natural = glyphs, widths
        return self._natural[1]

    def _titles(self, theme: ChartTheme) -> Row:
        row: Row = [Segment(" " * self._indent)]
        for number, _, width in self._shown:
            title, style = self._columns[number].title, theme.muted
            if self._order and self._order[0] == number:
                title, style = f"{title} {theme.printable('▼' if self._order[1] else '▲')}", theme.title
            row += _aligned(truncate(title, width, theme.glyphs.ellipsis), width, self._columns[number].right, style)
        return row

    def _row(self, row: Item | Heading, width: int, theme: ChartTheme, cursor: Style | None) -> Row:
        if isinstance(row, Heading):
            text, note = theme.printable(row.text), theme.printable(row.note)
            parts = [Segment(text, theme.title), Segment(f"  {note}" if note else "", theme.muted)]
            return padded(parts, width)
        parts = [Segment(" " * self._indent, cursor)]
        for number, _, cells in self._shown:
            cell = row.cells[number]
            coloured = theme.colour(cell.colour, bold=cell.tone == "title") if cell.colour else None
            style = cursor or coloured or getattr(theme, cell.tone)
            fit = truncate_middle if self._columns[number].keeps_end else truncate
            text = theme.printable(cell.text)
            if cell.short and cell_len(text) > cells:
                text = theme.printable(cell.short)
            text = fit(text, cells, theme.glyphs.ellipsis)
            parts += _aligned(text, cells, self._columns[number].right, style)
        if cursor is None:
            return padded(parts, width)
        return padded([*parts, Segment(" " * width, cursor)], width)


def _aligned(text: str, width: int, right: bool, style: Style) -> Row:
    """Return `text` in a column of `width` cells, followed by the gap."""
    blank = " " * (width - cell_len(text))
    return [Segment(f"{blank if right else ''}{text}{'' if right else blank}{' ' * GAP}", style)]
