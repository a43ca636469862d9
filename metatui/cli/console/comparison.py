"""Output of a comparison of runs on the command line: conclusions, followed by tables."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from metatui.cli.console.layout import GAP, say, show_table, title
from metatui.cli.console.output import console

if TYPE_CHECKING:
    from metatui.runs.analysis.comparison import Comparison
    from metatui.runs.analysis.comparison.tables import TextTable


def show(comparison: Comparison) -> None:
    """Print the conclusions, warnings, protocol and tables of a comparison."""
    from metatui.runs.analysis.comparison.formatting import intervals, main_results, note_on_seeds, protocol_words
    from metatui.runs.analysis.comparison.tables import tables

    screen = console()
    say(screen, *(f"{result}." for result in main_results(comparison)))
    if note := note_on_seeds(comparison):
        say(screen, note, style="dim", indent=4)
    say(screen, *(f"warning: {warning}" for warning in comparison.warnings), style="yellow")
    say(screen, f"Protocol: {protocol_words(comparison)}; {intervals(comparison)}")
    for each in tables(comparison):
        for part in _fitting(each, screen.width):
            title(screen, part.title)
            show_table(screen, part.headings, part.rows, numbers=part.headings[part.names :], names=part.names)


def _fitting(whole: TextTable, width: int) -> Iterator[TextTable]:
    """Yield the table. If it is too wide and has one column of names, yield several narrower tables instead."""
    widths = [max(map(len, column)) + GAP for column in zip(whole.headings, *whole.rows, strict=True)]
    start, columns = whole.names, len(whole.headings)
    if whole.names > 1:
        yield whole
        return
    while start < columns:
        stop = start + 1
        while stop < columns and widths[0] + sum(widths[start : stop + 1]) - GAP <= width:
            stop += 1
        chosen = [0, *range(start, stop)]
        yield replace(
            whole,
            headings=tuple(whole.headings[i] for i in chosen),
            rows=tuple(tuple(row[i] for i in chosen) for row in whole.rows),
        )
        start = stop
