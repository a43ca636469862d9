"""Dialog to save the settings in the form as a preset."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.widgets import Label

from metatui.tui.screens.dialogs.dialog import InputDialog
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


class SavePresetScreen(InputDialog[PresetName]):
    """Asks for a name and a title until the preset can be saved. The result is the name and title."""

    def __init__(self, name: str, summary: str, save: Callable[[PresetName], object]) -> None:
        """Create the dialog.

        Args:
            save: function that raises MetatuiError for an invalid name. The dialog shows the message of the exception.
        """
        super().__init__("Save preset", "Save")
        self._default_name, self._summary, self._save = name, summary, save

    def compose_fields(self) -> ComposeResult:
        yield StaticText(self._summary)
        yield Label("Name: letters, digits, '-' and '_'")
        yield Entry(self._default_name, id="preset-name")
        yield Label("Title (one line)")
        yield Entry(id="preset-title")
        with Horizontal(classes="field-row"):
            yield Label("Replace an existing preset  ")
            yield Toggle(animate=False, id="preset-overwrite")

    def accept(self) -> None:
        overwrite = self.query_one("#preset-overwrite", Toggle).value
        chosen = PresetName(self.text("#preset-name"), self.text("#preset-title"), overwrite)
        try:
            self._save(chosen)
        except MetatuiError as error:
            self.show_error(f"{error}.")
        else:
            self.dismiss(chosen)
