"""The question under which name the form is saved as a preset."""

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
    """What the user wants the preset to be called, and what it is for."""

    name: str
    title: str
    overwrite: bool = False


class SavePresetScreen(Dialog[PresetName | None]):
    """Asks for a name; `save` is tried here, so that what is wrong with the name is said beside it."""

    BINDINGS: ClassVar[list[BindingType]] = [("escape", "dismiss", "Cancel")]

    def __init__(self, name: str, summary: str, save: Callable[[PresetName], object]) -> None:
        super().__init__()
        self._name_now, self._summary, self._save = name, summary, save

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as dialog:
            dialog.border_title = "Save preset"
            yield StaticText(self._summary)
            yield Label("Name: letters, digits, '-' and '_'")
            yield Entry(self._name_now, id="preset-name")
            yield Label("What it is for, in one line")
            yield Entry(id="preset-title")
            with Horizontal(classes="field-row"):
                yield Label("Replace one of the same name  ")
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
    def _try(self) -> None:
        wanted = PresetName(
            self.query_one("#preset-name", Input).value.strip(),
            self.query_one("#preset-title", Input).value.strip(),
            self.query_one("#preset-overwrite", Toggle).value,
        )
        try:
            self._save(wanted)
        except MetatuiError as error:
            line = self.query_one("#preset-error", StaticText)
            line.say(f"{error}.")
            line.display = True
            self.query_one("#preset-name", Input).focus()
        else:
            self.dismiss(wanted)
