"""Table that updates only changed cells."""

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
"""Key and cells of each row."""


class LiveTable(DataTable[Text]):
    """A table that receives all of its rows at each update. The cursor stays on the row with the same key."""

    def __init__(self, headings: Sequence[str], *, id: str) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id, cursor_type="row", zebra_stripes=False)
        self.styles.overflow_x = "hidden"
        self._headings = tuple(headings)
        self._shown: list[tuple[str, tuple[str, ...]]] = []

    @property
    def selected_key(self) -> str | None:
        """The key of the row under the cursor."""
        return self._shown[self.cursor_row][0] if 0 <= self.cursor_row < len(self._shown) else None

    def show(self, rows: Rows, *, columns: int) -> None:
        """Show the first `columns` cells of `rows`."""
        now = self._fit([(key, tuple(shown_in(self, cell) for cell in cells[:columns])) for key, cells in rows])
        before, selected = self._shown, self.selected_key
        self._shown = now
        keys = [key for key, _ in now]
        if [key for key, _ in before] == keys and len(self.columns) == columns:
            widths = [column.width for column in self.ordered_columns]
            if all(cell_len(cell) <= width for _, cells in now for cell, width in zip(cells, widths, strict=True)):
                self._update(before)
                return
        fill(self, self._headings[:columns], dict(now))
        if selected in keys:
            self.move_cursor(row=keys.index(selected))

    def _fit(self, rows: list[tuple[str, tuple[str, ...]]]) -> list[tuple[str, tuple[str, ...]]]:
        """Truncate the last column to the width that the other columns leave."""
        if not rows or not self.size.width:
            return rows
        others = list(zip(*(cells[:-1] for _, cells in rows), strict=True))
        headings = self._headings[: len(others)]
        used = sum(max(map(cell_len, (name, *cells))) for name, cells in zip(headings, others, strict=True))
        room = self.size.width - used - 2 * self.cell_padding * (len(others) + 1)
        ellipsis = GLYPHS[symbols_of(self)].ellipsis
        return [(key, (*cells[:-1], fitted(cells[-1], max(room, cell_len(ellipsis)), ellipsis))) for key, cells in rows]

    def _update(self, before: Rows) -> None:
        for row, ((_, old), (_, new)) in enumerate(zip(before, self._shown, strict=True)):
            for column, (old_cell, new_cell) in enumerate(zip(old, new, strict=True)):
                if old_cell != new_cell:
                    self.update_cell_at(Coordinate(row, column), Text(new_cell))
