"""Pane with the journal of the run: validations, changes, checkpoints and warnings. The newest line comes last."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from rich.segment import Segment

from metatui.tui.model.run_model import JournalLine, Tone
from metatui.tui.widgets.charts.chart_theme import ChartTheme
from metatui.tui.widgets.charts.row_widget import Row, padded
from metatui.tui.widgets.scroll_view import ScrollingRows, scroll_bar
from metatui.utils.text import wrap_text

STEP_WIDTH = 7
"""Minimum width of the meta-step column, sufficient for 999,999 meta-steps."""
GAP = "  "

EMPTY = "The warnings, validations, checkpoints and setting changes of a run are listed here."


class Wrapped(NamedTuple):
    """A row of the journal: `step` in the column of meta-steps, and to its right `text` in the style of `tone`."""

    step: str
    text: str
    tone: Tone


class JournalPane(ScrollingRows):
    """Shows the newest lines, unless the user has scrolled back.

    The pane implements scrolling itself: in one of Textual's scrolling containers, every new line would cause a new
    layout of the whole screen.
    """

    BORDER_TITLE = "Journal"

    def __init__(self) -> None:
        super().__init__(id="journal", classes="pane in-journal")
        self._lines: tuple[JournalLine, ...] = ()
        self._wrapped: list[Wrapped] = []
        self._wrapped_for: tuple[object, ...] = ()
        self._top: int | None = None
        """Index of the first visible row, or None to keep the newest row visible."""

    def show(self, lines: Iterable[JournalLine]) -> None:
        """Show `lines`."""
        new = tuple(lines)
        if new != self._lines:
            self._lines = new
            self.redraw()

    def action_scroll_rows(self, by: int) -> None:
        last = max(0, len(self._wrapped) - self.content_size.height)
        top = max(0, min(last, (last if self._top is None else self._top) + by))
        self._top = None if top == last else top
        self.redraw()

    def rows(self, width: int, height: int, theme: ChartTheme) -> list[Row]:
        if not self._lines:
            return [[Segment(row, theme.muted)] for row in wrap_text(EMPTY, max(1, width))]
        # One column is reserved for the scroll bar, so that lines are not wrapped again when it appears.
        self._wrap(width - 1, theme)
        last = max(0, len(self._wrapped) - height)
        top = last if self._top is None else min(self._top, last)
        styles = {"plain": theme.text, "good": theme.good, "warning": theme.warning, "error": theme.error}
        bar = scroll_bar(top, height, len(self._wrapped), theme)
        return [
            [*padded([Segment(row.step, theme.muted), Segment(row.text, styles[row.tone])], width - 1), part]
            for row, part in zip(self._wrapped[top : top + height], bar, strict=False)
        ]

    def _wrap(self, width: int, theme: ChartTheme) -> None:
        key = self._lines, width, theme.symbols
        if key != self._wrapped_for:
            self._wrapped_for = key
            self._wrapped = wrapped_lines(self._lines, width, theme, least=STEP_WIDTH)


def wrapped_lines(lines: Sequence[JournalLine], width: int, theme: ChartTheme, *, least: int = 0) -> list[Wrapped]:
    """Wrap `lines` into rows of `width` columns.

    Args:
        least: minimum width of the column of meta-steps.
    """
    steps = [f"{line.iteration:,}" for line in lines]
    room = max([least, *map(len, steps)])
    return [
        row
        for line, step in zip(lines, steps, strict=True)
        for row in _wrapped(line, step.rjust(room) + GAP, width, theme)
    ]


def _wrapped(line: JournalLine, step: str, width: int, theme: ChartTheme) -> list[Wrapped]:
    """Wrap `line` into rows of `width` columns. The first row begins with `step`."""
    text = GAP.join(theme.printable(part) for part in line.text.split(GAP))
    texts = wrap_text(text, max(1, width - len(step)))
    steps = [step, *(" " * len(step) for _ in texts[1:])]
    return [Wrapped(step, text, line.tone) for step, text in zip(steps, texts, strict=False)]
