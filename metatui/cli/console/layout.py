"""Sentences and tables that fit the width of the terminal without breaking words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from itertools import compress

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from metatui.cli.console.encoding import replace_unencodable
from metatui.cli.console.output import UNLIMITED
from metatui.utils.text import sanitize, wrap_text

GAP = 2
"""Number of spaces between two columns."""

MAX_CELL_WIDTH = 52
"""Maximum width to which cells are padded in a table that is not wrapped. Wider cells are printed in full."""

MAX_RULE_WIDTH = 160
"""Maximum length of the line below the headings of a table that is not wrapped, if cells are wider than
`MAX_CELL_WIDTH`."""

MIN_COLUMN_WIDTH = 20
"""Minimum width of a wrapped column. If a column would be narrower, each row of the table is printed as a list of
values."""


def say(screen: Console, *sentences: str, style: str = "", indent: int = 0, hanging: int = 0) -> None:
    """Print each sentence on lines of its own, wrapped between words. Long words, such as paths, are not cut.

    Args:
        indent: number of spaces before each line.
        hanging: number of additional spaces before all lines except the first.
    """
    for sentence in sentences:
        for line in wrapped(plain(screen, sentence), screen.width, indent, indent + hanging):
            screen.print(Text(line, style=style), soft_wrap=True)


def heading(screen: Console, name: str, rest: str) -> None:
    """Print a name in bold and the text after it, wrapped between words."""
    for number, line in enumerate(wrapped(plain(screen, name + rest), screen.width, 0, 4)):
        text = Text(line)
        if number == 0:
            text.stylize("bold", 0, len(name))
        screen.print(text, soft_wrap=True)


def title(screen: Console, text: str) -> None:
    """Print the title of a table, after an empty line."""
    screen.line()
    say(screen, text, style="bold")


def show_properties(screen: Console, values: Mapping[str, object], *, indent: int = 0) -> None:
    """Print a line for each name and value, with the values in one column. Names with an empty value are left out."""
    texts = {plain(screen, name): plain(screen, value) for name, value in values.items()}
    width = max(map(len, texts), default=0)
    start = indent + width + GAP
    for name, text in texts.items():
        if text:
            first, *rest = wrapped(text, screen.width, start, start)
            for line in (f"{'':{indent}}{name:{width}}{'':{GAP}}{first.strip()}", *rest):
                screen.print(Text(line), soft_wrap=True)


def show_table(
    screen: Console,
    headings: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    numbers: Iterable[str] = (),
    names: int = 1,
) -> None:
    """Print a table without its empty columns.

    If the table is wider than `screen`, print the values of each row as a list.

    Args:
        numbers: headings of the right-aligned columns.
        names: number of leading columns that name a row.
    """
    cells = [[plain(screen, value) for value in row] for row in rows]
    filled = [any(column) for column in zip(*cells, strict=True)] or [True] * len(headings)
    heads = list(compress((plain(screen, heading) for heading in headings), filled))
    cells = [list(compress(row, filled)) for row in cells]
    right_aligned = {plain(screen, heading) for heading in numbers}
    if screen.width >= UNLIMITED:
        _show_unwrapped(screen, heads, cells, right_aligned)
        return
    widths = column_widths([heads, *cells], screen.width)
    if widths is None:
        for row in cells:
            say(screen, ", ".join(filter(None, row[:names])), style="bold")
            show_properties(screen, dict(zip(heads[names:], row[names:], strict=True)), indent=4)
        return
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for head, width in zip(heads, widths, strict=True):
        right = head in right_aligned
        table.add_column(_lines(head, width), justify="right" if right else "left", width=width, overflow="fold")
    for row in cells:
        table.add_row(*(_lines(text, width) for text, width in zip(row, widths, strict=True)))
    screen.print(table)


def _show_unwrapped(
    screen: Console, heads: Sequence[str], rows: Sequence[Sequence[str]], right_aligned: AbstractSet[str]
) -> None:
    """Print a table without wrapping its cells.

    A cell wider than `MAX_CELL_WIDTH` moves the rest of its row to the right.
    """
    widths = [min(MAX_CELL_WIDTH, max(map(cell_len, column))) for column in zip(heads, *rows, strict=True)]
    lines = []
    for row in (heads, *rows):
        cells = []
        for head, text, width in zip(heads, row, widths, strict=True):
            spaces = " " * (width - cell_len(text))
            cells.append(spaces + text if head in right_aligned else text + spaces)
        lines.append((" " * GAP).join(cells).rstrip())
    columns = sum(widths) + GAP * (len(widths) - 1)
    rule = plain(screen, "─" * max(columns, min(MAX_RULE_WIDTH, max(map(cell_len, lines)))))
    for line in (lines[0], rule, *lines[1:]):
        screen.print(Text(line), soft_wrap=True)


def column_widths(lines: Sequence[Sequence[str]], room: int) -> list[int] | None:
    """Return column widths that fit in `room`; None if a word would be split or a column would be too narrow."""
    columns = list(zip(*lines, strict=True))
    widths = [max(map(cell_len, column)) for column in columns]
    least = [
        max(min(width, MIN_COLUMN_WIDTH), *(cell_len(word) for text in column for word in text.split() or [""]))
        for width, column in zip(widths, columns, strict=True)
    ]
    for _ in range(sum(widths) + GAP * (len(widths) - 1) - room):
        widest = max((i for i, width in enumerate(widths) if width > least[i]), key=widths.__getitem__, default=None)
        if widest is None:
            return None
        widths[widest] -= 1
    return widths


def wrapped(text: str, width: int, indent: int = 0, hanging: int = 0) -> list[str]:
    """Wrap `text` to `width` between words. The first line is indented by `indent`, later lines by `hanging`.

    Returns at least one line.
    """
    lines = wrap_text(
        text,
        max(width, indent + MIN_COLUMN_WIDTH, hanging + MIN_COLUMN_WIDTH),
        initial_indent=" " * indent,
        subsequent_indent=" " * hanging,
        break_long_words=False,
        break_on_hyphens=False,
        replace_whitespace=False,
    )
    return lines or [""]


def plain(screen: Console, value: object) -> str:
    """Return a value as one line of text that `screen` can encode; return an empty string for None."""
    return "" if value is None else replace_unencodable(sanitize(str(value), limit=2000), screen.encoding)


def _lines(text: str, width: int) -> Text:
    return Text("\n".join(wrapped(text, width) if cell_len(text) > width else [text]))
