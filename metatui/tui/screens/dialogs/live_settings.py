"""Dialog to change the live settings of a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.widgets import Button

from metatui.config.declarations import Scalar
from metatui.config.fields import FIELDS, fixed_because, text_of
from metatui.config.settings import Settings
from metatui.tui.screens.dialogs.dialog import Dialog
from metatui.tui.widgets.form.fields import FormField
from metatui.tui.widgets.form.model import assess, texts_of
from metatui.tui.widgets.static_text import StaticText

Changes = Mapping[str, Scalar]


class LiveScreen(Dialog[Changes]):
    """Shows fields for the live settings. The result is the changed values by path."""

    BINDINGS: ClassVar[list[BindingType]] = [("escape", "cancel", "Cancel")]

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self._settings = settings
        self._texts = texts_of(settings)

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as dialog:
            dialog.border_title = "Change settings"
            yield StaticText(
                "Changes apply from the next meta-step and are recorded in the journal.", classes="dialog-hint"
            )
            with VerticalScroll(can_focus=False, classes="dialog-fields"):
                for path, field in FIELDS.items():
                    if field.live and not fixed_because(path, self._settings):
                        yield FormField(field, self._texts[path])
            with Horizontal(classes="dialog-buttons"):
                yield Button("Apply (enter)", id="apply", variant="primary", compact=True)
                yield Button("Cancel (esc)", id="cancel", compact=True)

    def on_mount(self) -> None:
        for field in self.query(FormField):
            field.show_problem("")

    def action_cancel(self) -> None:
        self.dismiss({})

    @on(FormField.Edited)
    def _edited(self, event: FormField.Edited) -> None:
        self._texts[event.field.setting.path] = event.field.text
        problems = assess(self._texts).problems
        for field in self.query(FormField):
            old = text_of(self._settings.value(field.setting.path))
            field.show_problem(problems.get(field.setting.path, ""), "" if field.text == old else f"It was {old}.")

    @on(Button.Pressed, "#cancel")
    def _cancelled(self) -> None:
        self.dismiss({})

    @on(Button.Pressed, "#apply")
    @on(FormField.Applied)
    def _apply(self) -> None:
        assessment = assess(self._texts)
        if assessment.settings is None:
            invalid = next(
                (field for field in self.query(FormField) if field.setting.path in assessment.problems), None
            )
            if invalid:
                invalid.control.focus()
            return
        values = {field.setting.path: assessment.settings.value(field.setting.path) for field in self.query(FormField)}
        self.dismiss({path: value for path, value in values.items() if value != self._settings.value(path)})
