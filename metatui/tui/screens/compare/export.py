"""The question where a comparison is to be written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical
from textual.widgets import Button, Input, Label

from metatui.runs.analysis.exports import EXPORTS, check
from metatui.tui.screens.dialogs.dialog import Dialog
from metatui.tui.widgets.form.toggle import Toggle
from metatui.tui.widgets.static_text import StaticText
from metatui.tui.widgets.text_input import Entry
from metatui.utils import paths
from metatui.utils.errors import MetatuiError, quote


class ExportScreen(Dialog[Path | None]):
    """Asks for a file and writes it with `write`, so that what is wrong is said beside the name."""

    BINDINGS: ClassVar[list[BindingType]] = [("escape", "dismiss", "Cancel")]

    def __init__(self, path: Path, write: Callable[[Path], object]) -> None:
        super().__init__()
        self._path, self._write = path, write

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as dialog:
            dialog.border_title = "Export"
            yield StaticText(f"The ending says what is written: {', '.join(EXPORTS)}.")
            yield Label("File")
            yield Entry(str(self._path), id="export-path")
            with Horizontal(classes="field-row"):
                yield Label("Replace a file of this name  ")
                yield Toggle(animate=False, id="export-overwrite")
            yield StaticText("", id="export-error", classes="field-error")
            with Horizontal(classes="dialog-buttons"):
                yield Button("Write (enter)", id="write", variant="primary", compact=True)
                yield Button("Cancel (esc)", id="cancel", compact=True)

    def on_mount(self) -> None:
        self.query_one("#export-error", StaticText).display = False

    @on(Button.Pressed, "#cancel")
    def _cancel(self) -> None:
        self.dismiss(None)

    @on(Button.Pressed, "#write")
    @on(Input.Submitted)
    def _try(self) -> None:
        try:
            path = paths.expanded(self.query_one("#export-path", Input).value.strip())
            check(path)
            if path.is_file() and not self.query_one("#export-overwrite", Toggle).value:
                self._say(f"{quote(str(path), 200)} is there already: turn on Replace, or give another name")
                return
            self._write(path)
        except MetatuiError as error:
            self._say(str(error))
        else:
            self.dismiss(path)

    def _say(self, problem: str) -> None:
        line = self.query_one("#export-error", StaticText)
        line.say(f"{problem}.")
        line.display = True
        self.query_one("#export-path", Input).focus()
