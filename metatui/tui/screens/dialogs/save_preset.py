"""Dialog to save the settings in the form as a preset."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical
from textual.widgets import Button, Input, Label

from metatui.tui.screens.dialogs.dialog import Dialog
from metatui.tui.widgets.form.controls import Toggle
from metatui.tui.widgets.static_text import StaticText
from metatui.tui.widgets.text_input import Entry
from metatui.utils.errors import MetatuiError


@dataclass(frozen=True)
class PresetName:
    """Name and title of a preset."""

    name: str
    title: str
    overwrite: bool = False


class SavePresetScreen(Dialog[PresetName | None]):
    """Asks for a name until the preset can be saved. The result is the name, or None if cancelled."""

    BINDINGS: ClassVar[list[BindingType]] = [("escape", "dismiss", "Cancel")]

    def __init__(self, name: str, summary: str, save: Callable[[PresetName], object]) -> None:
        """`save` raises MetatuiError for an invalid name; its message is shown."""
        super().__init__()
        self._default_name, self._summary, self._save = name, summary, save

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as dialog:
            dialog.border_title = "Save preset"
            yield StaticText(self._summary)
            yield Label("Name: letters, digits, '-' and '_'")
            yield Entry(self._default_name, id="preset-name")
            yield Label("Title, in one line")
            yield Entry(id="preset-title")
            with Horizontal(classes="field-row"):
                yield Label("Replace a preset with this name  ")
                yield Toggle(animate=False, id="preset-overwrite")
            yield StaticText("", id="preset-error", classes="field-error")
            with Horizontal(classes="dialog-buttons"):
                yield Button("Save (enter)", id="save", variant="primary", compact=True)
                yield Button("Cancel (esc)", id="cancel", compact=True)

    @on(Button.Pressed, "#cancel")
    def _cancel(self) -> None:
        self.dismiss(None)

    @on(Button.Pressed, "#save")
    @on(Input.Submitted)
    def _submit(self) -> None:
        chosen = PresetName(
            self.query_one("#preset-name", Input).value.strip(),
            self.query_one("#preset-title", Input).value.strip(),
            self.query_one("#preset-overwrite", Toggle).value,
        )
        try:
            self._save(chosen)
        except MetatuiError as error:
            line = self.query_one("#preset-error", StaticText)
            line.update(f"{error}.")
            line.display = True
            self.query_one("#preset-name", Input).focus()
        else:
            self.dismiss(chosen)
