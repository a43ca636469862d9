"""Filling a table whose columns are as wide as what stands in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.cells import cell_len
from rich.text import Text
from textual.widgets import DataTable


def fill(table: DataTable[Text], names: Sequence[str], rows: Mapping[str, Sequence[str]]) -> None:
    """Replace everything in `table` by `rows`, cells by key.

    Widths are given outright: Textual measures new cells when its message queue is empty, and beside a training thread
    a table was seen that stayed as wide as its headings.
    """
    table.clear(columns=True)
    for index, name in enumerate(names):
        table.add_column(name, width=max(cell_len(text) for text in (name, *(cells[index] for cells in rows.values()))))
    for key, cells in rows.items():
        table.add_row(*map(Text, cells), key=key)
