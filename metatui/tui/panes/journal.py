"""What happened in the run, newest last: validations, changes, checkpoints, warnings."""

from __future__ import annotations

from collections.abc import Iterable

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from metatui.tui.monitor import JournalLine

TONES = {"plain": "", "good": "$text-success", "warning": "$text-warning", "error": "$text-error"}
EMPTY = "Warnings, validations, checkpoints and changes of a run are listed here."


class JournalPane(VerticalScroll):
    """The journal of the run that is shown; each line begins with its meta-step."""

    BORDER_TITLE = "Journal"

    def __init__(self) -> None:
        super().__init__(id="journal", classes="pane in-journal")
        self._shown: tuple[JournalLine, ...] = ()

    def compose(self) -> ComposeResult:
        yield Static(EMPTY, id="journal-lines", markup=False)

    def show(self, lines: Iterable[JournalLine]) -> None:
        """Show `lines`; stays at the end unless the user has scrolled back."""
        now = tuple(lines)
        if now == self._shown:
            return
        following = self.is_vertical_scroll_end
        self._shown = now
        body = Content("\n").join(self._line(line) for line in now) if now else Content(EMPTY)
        self.query_one("#journal-lines", Static).update(body)
        if following:
            self.scroll_end(animate=False)

    @staticmethod
    def _line(line: JournalLine) -> Content:
        step = Content(f"{line.iteration:>7,}  ").stylize("$text-muted")
        return step + Content(line.text).stylize(TONES[line.tone])
