"""Base class of widgets that draw rows of text and send only changed rows to the terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from itertools import takewhile

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from metatui.tui.widgets.charts.chart_theme import ChartTheme, symbols_of, theme_of

Row = list[Segment]


def width_of(row: Iterable[Segment]) -> int:
    return sum(segment.cell_length for segment in row)


def truncate(text: str, width: int, ellipsis: str) -> str:
    """Truncate `text` to at most `width` cells, with an ellipsis."""
    if cell_len(text) <= width:
        return text
    if width <= cell_len(ellipsis):
        return set_cell_size(text, max(0, width))
    return set_cell_size(text, width - cell_len(ellipsis)).rstrip() + ellipsis


def truncate_middle(text: str, width: int, ellipsis: str) -> str:
    """Truncate `text` to at most `width` cells, with an ellipsis that is nearer to the start than to the end."""
    room = width - cell_len(ellipsis)
    end = text[len(text) - 2 * room // 3 :] if room > 0 else ""
    if cell_len(text) <= width or not 0 < cell_len(end) < room:
        return truncate(text, width, ellipsis)
    return set_cell_size(text, room - cell_len(end)) + ellipsis + end


def truncate_words(text: str, width: int, ellipsis: str) -> str:
    """Truncate `text` to at most `width` cells, with an ellipsis and, if possible, between two words."""
    cut = truncate(text, width, ellipsis)
    if cut == text or not cut.endswith(ellipsis):
        return cut
    kept = cut.removesuffix(ellipsis)
    words = kept if text[len(kept) :].startswith(" ") else kept.rpartition(" ")[0]
    words = words.rstrip(" ,;:·")
    return words + ellipsis if words else cut


def padded(row: Row, width: int) -> Row:
    """Truncate or pad `row` to exactly `width` cells."""
    return list(Strip(row).adjust_cell_length(max(0, width)))


def block(rows: Sequence[Row], width: int, height: int) -> list[Row]:
    """Truncate or pad `rows` to exactly `height` rows of exactly `width` cells."""
    rows = [*rows[: max(0, height)], *([] for _ in range(height - len(rows)))]
    return [padded(row, width) for row in rows]


def merged(row: Row) -> Row:
    """Merge neighbouring segments that look the same, because each segment adds about 20 bytes of output."""
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
    """Return whether a blank with this style looks and acts like a blank without a style."""
    return not style or not (style.bgcolor or style.underline or style.reverse or style.strike or style.meta)


def spread(left: Row, right: Row, width: int) -> Row:
    """Return a row with `left` and `right` at its two ends."""
    gap = width - width_of(left) - width_of(right)
    return padded([*left, Segment(" " * max(1, gap)), *right], width)


def beside(blocks: Sequence[Sequence[Row]], gap: int) -> list[Row]:
    """Put blocks of the same height side by side."""
    joined = []
    for rows in zip(*blocks, strict=True):
        row: Row = []
        for index, part in enumerate(rows):
            row.extend(([Segment(" " * gap)] if index and gap else []) + part)
        joined.append(row)
    return joined


def columns(left: Sequence[Row], right: Sequence[Row], widths: tuple[int, int], gap: int) -> list[Row]:
    """Put two blocks of any heights side by side, each truncated or padded to its width."""
    height = max(len(left), len(right))
    return beside([block(rows, width, height) for rows, width in zip((left, right), widths, strict=True)], gap)


def centred(text: str, width: int, height: int, style: Style) -> list[Row]:
    """Wrap `text` and centre it in a block."""
    lines = textwrap.wrap(text, max(1, width - 2))[: max(0, height)]
    above = (height - len(lines)) // 2
    rows: list[Row] = [[] for _ in range(above)]
    rows += [[Segment(" " * ((width - cell_len(line)) // 2)), Segment(line, style)] for line in lines]
    return block(rows, width, height)


def difference(before: Strip, now: Strip) -> tuple[int, int]:
    """Return the first column in which two rows of the same width differ, and the column after the last such column."""

    def common(one: Iterable[Segment], other: Iterable[Segment]) -> int:
        return width_of(a for a, _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))

    start = common(before, now)
    return start, max(start, now.cell_length - common(reversed(list(before)), reversed(list(now))))


class RowsWidget(Widget):
    """Base class of widgets that draw rows. Subclasses implement `rows`, and call `redraw` when their data changes.

    Only rows that have changed are sent to the terminal. A widget that is not on the screen is drawn when it appears.
    """

    DEFAULT_CSS = "RowsWidget { height: 1fr; }"

    _strips: list[Strip] | None = None
    _drawn_for: tuple[object, ...] = ()
    """Value that `_key` returned when the strips were drawn."""
    _theme: ChartTheme | None = None
    """The theme, cached because looking up styles is slow."""

    def rows(self, width: int, height: int, theme: ChartTheme) -> list[Row]:
        """Return the rows from top to bottom. Missing rows are blank, and rows that are too long are truncated."""
        raise NotImplementedError

    def redraw(self) -> None:
        """Redraw, and send the rows that have changed to the terminal."""
        old = self._strips
        if old is None or not self.is_mounted or not self.is_on_screen or self._drawn_for != self._key():
            self._strips = None
            self.refresh()
            return
        new = self._draw()
        changed = [y for y, (before, now) in enumerate(zip(old, new, strict=True)) if before != now]
        # Only the part that differs is sent: a photograph next to a chart takes 40 bytes per cell.
        regions = [Region(start, y, end - start, 1) for y in changed for start, end in (difference(old[y], new[y]),)]
        # An unchanged row keeps its strip, which caches its rendering.
        for y in changed:
            old[y] = new[y]
        if regions:
            self.refresh(*regions)

    def render_line(self, y: int) -> Strip:
        key = self._key()
        if self._drawn_for != key:
            self._drawn_for = key
            self._strips = self._theme = None
        if self._strips is None:
            self._strips = self._draw()
        if y < len(self._strips):
            return self._strips[y]
        return Strip.blank(self.content_size.width, self.visual_style.rich_style)

    def notify_style_update(self) -> None:
        self._strips = self._theme = None
        super().notify_style_update()

    def _key(self) -> tuple[object, ...]:
        return self.content_size, symbols_of(self), self.app.theme, getattr(self.app, "pictures", None)

    def _draw(self) -> list[Strip]:
        width, height = self.content_size
        base = self.visual_style.rich_style
        self._theme = self._theme or theme_of(self)
        rows = self.rows(width, height, self._theme)
        return [Strip(merged(row), width).apply_style(base) for row in block(rows, width, height)]
