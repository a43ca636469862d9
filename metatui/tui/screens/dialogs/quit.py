"""Dialog that asks whether the run should continue or stop when the app ends."""

from __future__ import annotations

from typing import ClassVar, Literal, cast

from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.widgets import Button

from metatui.tui.screens.dialogs.dialog import Dialog
from metatui.tui.widgets.static_text import StaticText

Answer = Literal["keep", "stop", "cancel"]


class QuitScreen(Dialog[Answer]):
    """Asks whether a run should continue when the app ends. Enter lets the run continue.

    `state` is a clause about the run, such as "NAME is training".
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        ("escape,c", "answer('cancel')", "Cancel"),
        ("k", "answer('keep')", "Keep"),
        ("s", "answer('stop')", "Stop"),
        ("down,right", "app.focus_next", "Next"),
        ("up,left", "app.focus_previous", "Previous"),
    ]

    def __init__(self, state: str) -> None:
        super().__init__()
        self._state = state

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as dialog:
            dialog.border_title = "Quit"
            yield StaticText(
                f"{self._state}. The run can continue in the background: use 'metatui attach' to follow it "
                "again. Or you can stop and save the run after this meta-step, and resume it later."
            )
            with Vertical(classes="dialog-choices"):
                yield Button("Continue in the background (k)", id="keep", variant="primary", compact=True)
                yield Button("Stop, save and quit (s)", id="stop", compact=True)
                yield Button("Cancel (esc)", id="cancel", compact=True)

    def action_answer(self, answer: Answer) -> None:
        self.dismiss(answer)

    @on(Button.Pressed)
    def _pressed(self, event: Button.Pressed) -> None:
        self.dismiss(cast("Answer", event.button.id))
