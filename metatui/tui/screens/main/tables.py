"""Filling a table whose columns are as wide as what stands in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.cells import cell_len
from rich.text import Text
from textual.widgets import DataTable


def fill(table: DataTable[Text], names: Sequence[str], rows: Mapping[str, Sequence[str | Text]]) -> None:
    """Replace everything in `table` by `rows`, cells by key.

    Widths are given outright: Textual measures new cells when its message queue is empty, and beside a training thread
    a table was seen that stayed as wide as its headings.
    """
    table.clear(columns=True)
    for index, name in enumerate(names):
        texts = (name, *(str(cells[index]) for cells in rows.values()))
        table.add_column(name, width=max(map(cell_len, texts)))
    for key, cells in rows.items():
        table.add_row(*(cell if isinstance(cell, Text) else Text(cell) for cell in cells), key=key)
