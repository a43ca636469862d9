"""Dialog that asks for a line of text."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical
from textual.widgets import Button, Input

from metatui.tui.screens.dialogs.dialog import Dialog
from metatui.tui.widgets.static_text import StaticText
from metatui.tui.widgets.text_input import Entry
from metatui.utils.errors import BadInput


class AskScreen(Dialog[str | None]):
    """Asks until `check` accepts the answer. The result is the text, or None if cancelled."""

    BINDINGS: ClassVar[list[BindingType]] = [("escape", "dismiss", "Cancel")]

    def __init__(self, title: str, question: str, *, value: str = "", check: Callable[[str], object]) -> None:
        """`check` raises BadInput for an invalid answer; its message is shown."""
        super().__init__()
        self._title, self._question, self._value, self._check = title, question, value, check

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as dialog:
            dialog.border_title = self._title
            yield StaticText(self._question, classes="dialog-hint")
            yield Entry(self._value, id="ask-answer")
            yield StaticText("", id="ask-error", classes="field-error")
            with Horizontal(classes="dialog-buttons"):
                yield Button("OK (enter)", id="ok", variant="primary", compact=True)
                yield Button("Cancel (esc)", id="cancel", compact=True)

    def on_mount(self) -> None:
        self.query_one("#ask-error", StaticText).display = False

    @on(Button.Pressed, "#cancel")
    def _cancel(self) -> None:
        self.dismiss(None)

    @on(Button.Pressed, "#ok")
    @on(Input.Submitted)
    def _submit(self) -> None:
        answer = self.query_one("#ask-answer", Input).value.strip()
        try:
            self._check(answer)
        except BadInput as error:
            line = self.query_one("#ask-error", StaticText)
            line.update(f"{error}.")
            line.display = True
            self.query_one("#ask-answer", Input).focus()
        else:
            self.dismiss(answer)
