"""A comparison of runs as tables on the command line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from rich.console import Console

from metatui.cli.console.output import below, cell, console, spelled, table

if TYPE_CHECKING:
    from metatui.runs.analysis.comparison import Comparison
    from metatui.runs.analysis.comparison.tables import TextTable

PADDING = 3
"""Characters between two columns of a table."""

NARROWEST_NAME = 15
"""Characters that a column of names is wrapped to before the table is split."""


def show(comparison: Comparison) -> None:
    """Print protocol, tables, conclusions and warnings."""
    from metatui.runs.analysis.comparison.formatting import note_on_seeds, protocol_words
    from metatui.runs.analysis.comparison.tables import tables

    screen = console()
    _print(screen, f"{protocol_words(comparison)}; intervals are 95 %", "")
    for each in tables(comparison):
        for part in _fitting(each, screen.width):
            headings = (spelled(screen, word) for word in part.headings)
            rows = table(*headings, numbers=part.headings[part.names :], edge=False)
            for row in part.rows:
                rows.add_row(*(cell(spelled(screen, word)) for word in row))
            _print(screen, part.title)
            screen.print(rows)
            screen.line()
    _print(screen, *(f"{verdict}." for verdict in comparison.conclusions))
    if note := note_on_seeds(comparison):
        below(screen, [note])
    _print(screen, *(f"warning: {warning}" for warning in comparison.warnings))


def _print(screen: Console, *sentences: str) -> None:
    """Print a line for each sentence; they are wrapped only in a terminal."""
    for sentence in sentences:
        screen.print(cell(spelled(screen, sentence)), soft_wrap=not screen.is_terminal)


def _fitting(whole: TextTable, width: int) -> Iterator[TextTable]:
    """Split a table that is too wide into parts with fewer columns.

    If several columns hold names, they are first wrapped to at least `NARROWEST_NAME` characters.
    """
    widths = [max(map(len, column)) + PADDING for column in zip(whole.headings, *whole.rows, strict=True)]
    names, start = whole.names, whole.names
    if names > 1:
        widths[:names] = [min(width, NARROWEST_NAME + PADDING) for width in widths[:names]]
    room = max(width - sum(widths[:names]), 1)
    while start < len(widths):
        stop = start + 1
        while stop < len(widths) and sum(widths[start : stop + 1]) <= room:
            stop += 1
        columns = [*range(names), *range(start, stop)]
        yield replace(
            whole,
            headings=tuple(whole.headings[i] for i in columns),
            rows=tuple(tuple(row[i] for i in columns) for row in whole.rows),
        )
        start = stop
