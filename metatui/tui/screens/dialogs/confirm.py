"""Dialog with a yes-or-no question."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.cells import cell_len
from rich.segment import Segment
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.geometry import Size
from textual.widgets import Button

from metatui.tui.screens.dialogs.dialog import Dialog
from metatui.tui.widgets.charts.chart_theme import ChartTheme, theme_of
from metatui.tui.widgets.charts.row_widget import Row
from metatui.tui.widgets.scroll_view import ScrollView, paragraph
from metatui.tui.widgets.static_text import StaticText


class _Details(ScrollView):
    """A page that is as high as its text, including the rows of wrapped lines."""

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        return len(self.page(width, theme_of(self)))


class ConfirmScreen(Dialog[bool]):
    """Asks `question`, with details below it. Escape and the second button mean no."""

    BINDINGS: ClassVar[list[BindingType]] = [
        ("escape", "answer(False)", "No"),
        ("y", "answer(True)", "Yes"),
        ("n", "answer(False)", "No"),
        Binding("up", "scroll(-1)", "Up", show=False),
        Binding("down", "scroll(1)", "Down", show=False),
        Binding("pageup", "scroll_pages(-1)", "Page up", show=False),
        Binding("pagedown", "scroll_pages(1)", "Page down", show=False),
        ("left,right", "app.focus_next", "Other"),
    ]
    DEFAULT_CSS = """
    ConfirmScreen {
        & > .dialog.-detailed { width: 72; }
        & #confirm-details { height: auto; margin-top: 1; max-height: 50vh; }
        & #confirm-note { margin-top: 1; }
    }
    """

    def __init__(self, title: str, question: str, *, yes: str, details: Sequence[str] = (), note: str = "") -> None:
        """Create the dialog.

        Args:
            details: lines below the question, which can be indented. If there are many, they scroll.
            note: sentence below the details. `show_note` replaces this sentence.
        """
        super().__init__()
        self._title, self._question, self._yes, self._details = title, question, yes, details
        self._note = StaticText(note, id="confirm-note")
        self._note.display = bool(note)

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog -detailed" if self._details else "dialog") as dialog:
            dialog.border_title = self._title
            yield StaticText(self._question)
            if self._details:
                yield self._list()
            yield self._note
            with Horizontal(classes="dialog-buttons"):
                yield Button(f"{self._yes} (y)", id="yes", variant="primary", compact=True)
                yield Button("Cancel (n)", id="no", compact=True)

    def _list(self) -> ScrollView:
        view = _Details(id="confirm-details")
        view.can_focus = False  # the keys of this screen scroll it, so that enter always presses a button
        view.show(self._page)
        return view

    def _page(self, width: int, theme: ChartTheme) -> list[Row]:
        rows: list[Row] = []
        for detail in self._details:
            indent = " " * (len(detail) - len(detail.lstrip()))
            line, room = theme.printable(detail), width - len(indent)
            fits = cell_len(line) <= room  # most lines do; wrapping hundreds of them would take long
            wrapped = [[Segment(line, theme.text)]] if fits else paragraph(line, room, theme, theme.text, hang=2)
            rows += [[Segment(indent), *row] for row in wrapped]
        return rows

    def show_note(self, note: str) -> None:
        self._note.update(note)

    def action_scroll(self, by: int) -> None:
        for view in self.query(ScrollView):
            view.action_scroll_rows(by)

    def action_scroll_pages(self, by: int) -> None:
        for view in self.query(ScrollView):
            view.action_scroll_pages(by)

    def action_answer(self, answer: bool) -> None:
        self.dismiss(answer)

    @on(Button.Pressed)
    def _pressed(self, event: Button.Pressed) -> None:
        self.dismiss(event.button.id == "yes")
