"""A table that sends only the cells that differ from what it shows."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len
from rich.text import Text
from textual.coordinate import Coordinate
from textual.widgets import DataTable

from metatui.tui.screens.main.tables import fill
from metatui.tui.terminal.symbols import GLYPHS
from metatui.tui.widgets.charts.chart_theme import symbols_of
from metatui.tui.widgets.charts.row_widget import fitted
from metatui.tui.widgets.static_text import shown_in

Rows = Sequence[tuple[str, Sequence[str]]]
"""Keys and cells."""


class LiveTable(DataTable[Text]):
    """Its rows are given whole, as often as one likes; the cursor stays on the row with its key."""

    def __init__(self, headings: Sequence[str], *, id: str) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id, cursor_type="row", zebra_stripes=False)
        self.styles.overflow_x = "hidden"
        self._headings = tuple(headings)
        self._given: list[tuple[str, tuple[str, ...]]] = []

    @property
    def chosen(self) -> str | None:
        """The key of the row under the cursor."""
        return self._given[self.cursor_row][0] if 0 <= self.cursor_row < len(self._given) else None

    def show(self, rows: Rows, *, columns: int) -> None:
        """Show `rows`, the first `columns` of their cells."""
        headings = self._headings[:columns]
        given = self._fitted([(key, tuple(shown_in(self, cell) for cell in cells[:columns])) for key, cells in rows])
        before, self._given = self._given, given
        if [key for key, _ in before] == [key for key, _ in given] and len(self.columns) == columns:
            widths = [column.width for column in self.ordered_columns]
            if all(cell_len(cell) <= width for _, cells in given for cell, width in zip(cells, widths, strict=True)):
                self._update(before)
                return
        chosen = before[self.cursor_row][0] if 0 <= self.cursor_row < len(before) else None
        fill(self, headings, dict(given))
        keys = [key for key, _ in given]
        if chosen in keys:
            self.move_cursor(row=keys.index(chosen))

    def _fitted(self, rows: list[tuple[str, tuple[str, ...]]]) -> list[tuple[str, tuple[str, ...]]]:
        """`rows` with the last cells as wide as there is room beside the others, and an ellipsis where they are cut."""
        if not rows or not self.size.width:
            return rows
        others = list(zip(*(cells[:-1] for _, cells in rows), strict=True))
        headings = self._headings[: len(others)]
        used = sum(max(map(cell_len, (name, *cells))) for name, cells in zip(headings, others, strict=True))
        room = self.size.width - used - 2 * self.cell_padding * (len(others) + 1)
        ellipsis = GLYPHS[symbols_of(self)].ellipsis
        return [(key, (*cells[:-1], fitted(cells[-1], max(room, cell_len(ellipsis)), ellipsis))) for key, cells in rows]

    def _update(self, before: Rows) -> None:
        for row, ((_, old), (_, new)) in enumerate(zip(before, self._given, strict=True)):
            for column, (was, now) in enumerate(zip(old, new, strict=True)):
                if was != now:
                    self.update_cell_at(Coordinate(row, column), Text(now))
