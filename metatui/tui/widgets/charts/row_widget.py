"""A widget made of rows: each is drawn once, kept, and sent again only when it has changed."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from typing import ClassVar

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from metatui.tui.widgets.charts.chart_theme import ChartTheme, look_of, symbols_of

Row = list[Segment]


def width_of(row: Iterable[Segment]) -> int:
    return sum(segment.cell_length for segment in row)


def fitted(text: str, width: int, ellipsis: str) -> str:
    """`text` in at most `width` cells, with an ellipsis where it was cut."""
    if cell_len(text) <= width:
        return text
    if width <= cell_len(ellipsis):
        return set_cell_size(text, max(0, width))
    return set_cell_size(text, width - cell_len(ellipsis)).rstrip() + ellipsis


def padded(row: Row, width: int) -> Row:
    """`row` in exactly `width` cells."""
    return list(Strip(row).adjust_cell_length(max(0, width)))


def block(rows: Sequence[Row], width: int, height: int) -> list[Row]:
    """`rows` cut or filled up with blanks to exactly `height` rows of exactly `width` cells."""
    rows = [*rows[: max(0, height)], *([] for _ in range(height - len(rows)))]
    return [padded(row, width) for row in rows]


def merged(row: Row) -> Row:
    """`row` in as few segments as look the same: blanks go with what is beside them, as each segment costs some 20
    bytes on the wire."""
    kept: Row = []
    for segment in row:
        if kept and (segment.style == kept[-1].style or (_invisible(segment) and _plain(kept[-1].style))):
            kept[-1] = Segment(kept[-1].text + segment.text, kept[-1].style)
        elif kept and _invisible(kept[-1]) and _plain(segment.style):
            kept[-1] = Segment(kept[-1].text + segment.text, segment.style)
        else:
            kept.append(segment)
    return kept


def _invisible(segment: Segment) -> bool:
    return not segment.text.strip() and _plain(segment.style)


def _plain(style: Style | None) -> bool:
    """Whether a blank looks and acts the same in this style as without one."""
    return not style or not (style.bgcolor or style.underline or style.reverse or style.strike or style.meta)


def spread(left: Row, right: Row, width: int) -> Row:
    """`left` and `right` at the two ends of a row."""
    gap = width - width_of(left) - width_of(right)
    return padded([*left, Segment(" " * max(1, gap)), *right], width)


def beside(blocks: Sequence[Sequence[Row]], gap: int) -> list[Row]:
    """Blocks of equally many rows, each block of one width, side by side."""
    joined = []
    for rows in zip(*blocks, strict=True):
        row: Row = []
        for index, part in enumerate(rows):
            row.extend(([Segment(" " * gap)] if index and gap else []) + part)
        joined.append(row)
    return joined


def centred(text: str, width: int, height: int, style: Style) -> list[Row]:
    """`text`, wrapped, in the middle of a block."""
    lines = textwrap.wrap(text, max(1, width - 2))[: max(0, height)]
    above = (height - len(lines)) // 2
    rows: list[Row] = [[] for _ in range(above)]
    rows += [[Segment(" " * ((width - cell_len(line)) // 2)), Segment(line, style)] for line in lines]
    return block(rows, width, height)


class RowsWidget(Widget):
    """Subclasses say what their rows are; calling `redraw` after a change sends the rows that differ.

    Nothing is drawn while the widget is not displayed: it is done when it is.
    """

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "chart--text",
        "chart--title",
        "chart--muted",
        "chart--key",
        "chart--warning",
    }
    DEFAULT_CSS = """
    RowsWidget {
        height: 1fr;
        & > .chart--text { color: $foreground; }
        & > .chart--title { color: $foreground; text-style: bold; }
        & > .chart--muted { color: $text-muted; }
        & > .chart--key { color: $footer-key-foreground; text-style: bold; }
        & > .chart--warning { color: $text-warning; }
    }
    """

    _strips: list[Strip] | None = None
    _drawn_for: tuple[object, ...] = ()
    """What the strips were drawn for. Whenever anything about the style changes, they are dropped."""
    _look: ChartTheme | None = None
    """The same for the look, which takes some time to find out."""

    def rows(self, width: int, height: int, look: ChartTheme) -> list[Row]:
        """What the widget shows, from top to bottom; rows that are missing are blank, longer ones are cut."""
        raise NotImplementedError

    def redraw(self) -> None:
        """Show what `rows` says now."""
        old = self._strips
        if old is None or not self.is_mounted or not self.is_on_screen or self._drawn_for != self._situation():
            self._strips = None
            self.refresh()
            return
        new = self._draw()
        changed = [y for y, (before, now) in enumerate(zip(old, new, strict=True)) if before != now]
        # What did not change keeps its strip, which keeps its rendering.
        for y in changed:
            old[y] = new[y]
        if changed:
            self.refresh(*(Region(0, y, self.content_size.width, 1) for y in changed))

    def render_line(self, y: int) -> Strip:
        situation = self._situation()
        if self._drawn_for != situation:
            self._drawn_for = situation
            self._strips = self._look = None
        if self._strips is None:
            self._strips = self._draw()
        if y < len(self._strips):
            return self._strips[y]
        return Strip.blank(self.content_size.width, self.visual_style.rich_style)

    def notify_style_update(self) -> None:
        self._strips = self._look = None
        super().notify_style_update()

    def _situation(self) -> tuple[object, ...]:
        return self.content_size, symbols_of(self), self.app.theme

    def _draw(self) -> list[Strip]:
        width, height = self.content_size
        base = self.visual_style.rich_style
        self._look = self._look or look_of(self)
        rows = self.rows(width, height, self._look)
        return [Strip(merged(row), width).apply_style(base) for row in block(rows, width, height)]
