"""What happened in the run, newest last: validations, changes, checkpoints, warnings."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from metatui.tui.monitor import JournalLine
from metatui.tui.words import shown_in

TONES = {"plain": "", "good": "$text-success", "warning": "$text-warning", "error": "$text-error"}
INDENT = 9
"""Columns before the text: the meta-step, up to 999,999, and a gap."""

EMPTY = "Warnings, validations, checkpoints and changes of a run are listed here."


class JournalPane(VerticalScroll):
    """The journal of the run that is shown; each line begins with its meta-step."""

    BORDER_TITLE = "Journal"

    def __init__(self) -> None:
        super().__init__(id="journal", classes="pane in-journal")
        self._shown: tuple[JournalLine, ...] = ()
        self._end = 0
        """Where the end was when it was last scrolled to: who is above it has scrolled back to read."""

    def compose(self) -> ComposeResult:
        yield Static(EMPTY, id="journal-lines", classes="-empty", markup=False)

    def show(self, lines: Iterable[JournalLine]) -> None:
        """Show `lines`; stays at the end unless the user has scrolled back."""
        now = tuple(lines)
        if now != self._shown:
            self._shown = now
            self._write()

    def on_resize(self) -> None:
        self._write()

    def _write(self) -> None:
        width = max(20, self.scrollable_content_region.width - INDENT)
        entries = [_entry(shown_in(self, line.text), line, width) for line in self._shown]
        body = Content("\n").join(entries or [Content(EMPTY)])
        paper = self.query_one("#journal-lines", Static)
        paper.set_class(not self._shown, "-empty")
        paper.update(body)
        if self.scroll_offset.y >= self._end:
            self.call_after_refresh(self._follow)

    def _follow(self) -> None:
        self._end = self.max_scroll_y
        self.scroll_to(y=self._end, animate=False)


def _entry(text: str, line: JournalLine, width: int) -> Content:
    """A line of the journal, its text in a column of its own."""
    column = f"\n{' ' * INDENT}".join(textwrap.wrap(text, width))
    return Content.assemble((f"{line.iteration:>{INDENT - 2},}  ", "$text-muted"), (column, TONES[line.tone]))
