"""Base classes of all dialogs."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.await_complete import AwaitComplete
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import ScreenResultType
from textual.widgets import Button, Input, Switch

from metatui.tui.screens.overlay import Overlay
from metatui.tui.widgets.static_text import StatusLine


class Dialog(Overlay[ScreenResultType]):
    """A dialog, shown as a box over the current screen."""

    def dismiss(self, result: ScreenResultType | None = None) -> AwaitComplete:
        """Close the dialog. If it is already closing, do nothing, because Textual would close the screen below it."""
        return super().dismiss(result) if self.is_active else AwaitComplete()


class InputDialog(Dialog[ScreenResultType | None]):
    """Dialog with fields, and buttons to accept and to cancel. The result is None if the user cancels."""

    BINDINGS: ClassVar[list[BindingType]] = [("escape", "dismiss", "Cancel")]

    def __init__(self, title: str, button: str) -> None:
        super().__init__()
        self._title = title
        self.accept_button = Button(f"{button} (enter)", id="accept", variant="primary", compact=True)

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as dialog:
            dialog.border_title = self._title
            yield from self.compose_fields()
            yield StatusLine(id="dialog-error", classes="field-error")
            with Horizontal(classes="dialog-buttons"):
                yield self.accept_button
                yield Button("Cancel (esc)", id="cancel", compact=True)

    def compose_fields(self) -> ComposeResult:
        raise NotImplementedError

    def accept(self) -> None:
        """Check the fields, and call `dismiss` or `show_error`."""
        raise NotImplementedError

    def text(self, selector: str | type[Input] = Input) -> str:
        """Return the text of a field."""
        return self.query(selector).first(Input).value.strip()

    def show_error(self, error: str) -> None:
        """Show `error`, and focus the first field."""
        self.query_one("#dialog-error", StatusLine).update(error)
        self.query(Input).first().focus()

    @on(Input.Changed)
    @on(Switch.Changed)
    def _forget_error(self) -> None:
        self.query_one("#dialog-error", StatusLine).update("")

    @on(Button.Pressed, "#accept")
    @on(Input.Submitted)
    def _accept(self) -> None:
        self.accept()

    @on(Button.Pressed, "#cancel")
    def _cancel(self) -> None:
        self.dismiss(None)
