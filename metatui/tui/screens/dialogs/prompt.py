"""Dialog that asks for a line of text."""

from __future__ import annotations

from collections.abc import Callable

from textual.app import ComposeResult

from metatui.tui.screens.dialogs.dialog import InputDialog
from metatui.tui.widgets.static_text import StaticText
from metatui.tui.widgets.text_input import Entry
from metatui.utils.errors import BadInput


class AskScreen(InputDialog[str]):
    """Asks `question` until `check` accepts the answer, and returns the answer as the result of the screen."""

    def __init__(self, title: str, question: str, *, value: str = "", check: Callable[[str], object]) -> None:
        """Create the dialog.

        Args:
            check: function that raises BadInput for an invalid answer. The dialog shows the message of the exception.
        """
        super().__init__(title, "OK")
        self._question, self._value, self._check = question, value, check

    def compose_fields(self) -> ComposeResult:
        yield StaticText(self._question, classes="dialog-hint")
        yield Entry(self._value, id="ask-answer")

    def accept(self) -> None:
        try:
            self._check(self.text())
        except BadInput as error:
            self.show_error(f"{error}.")
        else:
            self.dismiss(self.text())
