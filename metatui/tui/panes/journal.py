"""What happened in the run, newest last: validations, changes, checkpoints, warnings."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual.geometry import Size
from textual.scroll_view import ScrollView
from textual.strip import Strip

from metatui.tui.monitor import JournalLine, Tone
from metatui.tui.words import shown_in

INDENT = 9
"""Columns before the text: the meta-step, up to 999,999, and a gap."""

EMPTY = "Warnings, validations, checkpoints and changes of a run are listed here."


class JournalPane(ScrollView, can_focus=True):
    """The journal of the run that is shown; each line begins with its meta-step.

    It draws its lines itself: a scrolling container of Textual's sends the whole screen again with every new line.
    """

    BORDER_TITLE = "Journal"
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "journal--plain",
        "journal--good",
        "journal--warning",
        "journal--error",
        "journal--step",
    }
    DEFAULT_CSS = """
    JournalPane {
        overflow-x: hidden;
        & > .journal--good { color: $text-success; }
        & > .journal--warning { color: $text-warning; }
        & > .journal--error { color: $text-error; }
        & > .journal--step { color: $text-muted; }
    }
    """

    def __init__(self) -> None:
        super().__init__(id="journal", classes="pane in-journal")
        self._shown: tuple[JournalLine, ...] = ()
        self._rows: list[tuple[str, str, Tone | None]] = []
        """Rows as wrapped: the meta-step's column, the text, and its tone; none for the words of an empty journal."""
        self._wrapped_to = 0

    def show(self, lines: Iterable[JournalLine]) -> None:
        """Show `lines`; stays at the end unless the user has scrolled back."""
        now = tuple(lines)
        if now != self._shown:
            self._shown = now
            self._wrap()

    def on_resize(self) -> None:
        if self._wrapped_to != self._text_width:
            self._wrap()

    @property
    def _text_width(self) -> int:
        # The scrollbar's column is kept free, so that nothing is wrapped anew when it appears.
        return max(10, self.content_size.width - self.styles.scrollbar_size_vertical)

    def _wrap(self) -> None:
        following = self.is_vertical_scroll_end
        width = self._wrapped_to = self._text_width
        self._rows = [row for line in self._shown for row in self._wrapped(line, width - INDENT)]
        if not self._shown:
            self._rows = [("", row, None) for row in textwrap.wrap(EMPTY, width)]
        # An empty journal has no size that the layout would have to be done again for.
        self.virtual_size = Size(width, len(self._rows)) if self._shown else Size(0, 0)
        if following:
            self.scroll_end(animate=False)
        self.refresh()

    def _wrapped(self, line: JournalLine, width: int) -> Iterable[tuple[str, str, Tone | None]]:
        step = f"{line.iteration:>{INDENT - 2},}  "
        for text in textwrap.wrap(shown_in(self, line.text), max(1, width)):
            yield step, text, line.tone
            step = " " * INDENT

    def render_line(self, y: int) -> Strip:
        number = self.scroll_offset.y + y
        width = self.scrollable_content_region.width
        base = self.rich_style
        if number >= len(self._rows):
            return Strip.blank(width, base)
        step, text, tone = self._rows[number]
        return Strip([Segment(step, self._ink("step")), Segment(text, self._ink(tone or "step"))]).adjust_cell_length(
            width, base
        )

    def _ink(self, name: str) -> Style:
        # Not the part's own rules alone: a colour such as $text-muted is known only on the background it lies on.
        return self.get_component_rich_style(f"journal--{name}")
