"""Functions that fill tables and make each column as wide as its longest cell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.cells import cell_len
from rich.text import Text
from textual.widgets import DataTable


def fill(table: DataTable[Text], names: Sequence[str], rows: Mapping[str, Sequence[str | Text]]) -> None:
    """Replace the contents of `table` with `rows`, by row key.

    Widths are set here, because Textual measures cells only when its message queue is empty: on a busy machine the
    columns can stay as narrow as their headings.
    """
    table.clear(columns=True)
    for index, name in enumerate(names):
        texts = (name, *(str(cells[index]) for cells in rows.values()))
        table.add_column(name, width=max(map(cell_len, texts)))
    for key, cells in rows.items():
        table.add_row(*(cell if isinstance(cell, Text) else Text(cell) for cell in cells), key=key)
