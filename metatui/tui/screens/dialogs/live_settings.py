"""Dialog to change the live settings of a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from textual import on
from textual.app import ComposeResult, RenderResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.events import DescendantFocus

from metatui.config.declarations import Scalar
from metatui.config.fields import FIELDS, fixed_reason, text_of
from metatui.config.settings import Settings
from metatui.tui.screens.dialogs.dialog import InputDialog
from metatui.tui.widgets.form.fields import LABEL_WIDTH, FormField
from metatui.tui.widgets.form.model import Assessment, assess, texts_of
from metatui.tui.widgets.static_text import StaticText, StatusLine
from metatui.utils.text import as_sentence

Changes = Mapping[str, Scalar]


APPLIES = "Changes apply from the next meta-step and are recorded in the journal."
ENDED = "The run has ended, so its settings can no longer change. The changes can be applied to the form instead."


class LimitedField(FormField):
    """A field for a number. The allowed range of the number is shown to the right of the field if there is room."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"field--limits"}
    CONTROL_WIDTH: ClassVar = 16

    def render(self) -> RenderResult:
        label = str(super().render()).ljust(LABEL_WIDTH + self.CONTROL_WIDTH + 2)
        limits = self.setting.limits if self.has_room else ""
        return Content.assemble(label, (limits, self.get_visual_style("field--limits")))

    @property
    def has_room(self) -> bool:
        """True if there is room for the allowed range."""
        return LABEL_WIDTH + self.CONTROL_WIDTH + 2 + len(self.setting.limits) <= self.content_size.width


class LiveScreen(InputDialog[Changes]):
    """Shows a field for each setting that can change during a run. The result maps changed settings to new values."""

    def __init__(self, settings: Settings) -> None:
        super().__init__("Change settings", "Apply")
        self._settings = settings
        self._typed: dict[str, str] = {}
        """Text of each edited field, keyed by the path of the setting."""
        self._hint = StaticText(APPLIES, classes="dialog-hint")
        self._help = StaticText(id="live-help")
        """Widget that shows help on the focused setting."""

    def compose_fields(self) -> ComposeResult:
        yield self._hint
        with VerticalScroll(can_focus=False, classes="dialog-fields"):
            for path, field in FIELDS.items():
                if field.live and not fixed_reason(path, self._settings):
                    yield LimitedField(field, text_of(self._settings.value(path)))
        yield self._help

    def on_mount(self) -> None:
        for field in self.query(FormField):
            field.show_problem("")

    @on(DescendantFocus)
    def _explain(self, event: DescendantFocus) -> None:
        if isinstance(field := event.widget.parent, LimitedField):
            limits = "" if field.has_room else field.setting.limits
            self._help.update(f"{as_sentence(limits)}. {field.setting.help}" if limits else field.setting.help)

    def run_ended(self) -> None:
        """Say that the run has ended. The dialog stays open, because the user may be typing."""
        self._hint.update(ENDED)
        self.accept_button.label = "Apply to form (enter)"

    def _assess(self) -> Assessment:
        return assess(texts_of(self._settings) | self._typed)

    @on(FormField.Edited)
    def _edited(self, event: FormField.Edited) -> None:
        self._typed[event.field.setting.path] = event.field.text
        problems = self._assess().problems
        for field in self.query(FormField):
            old = text_of(self._settings.value(field.setting.path))
            field.show_problem(
                problems.get(field.setting.path, ""), "" if field.text == old else f"The current value is {old}."
            )

    @on(FormField.Applied)
    def accept(self) -> None:
        assessment = self._assess()
        if assessment.settings is None:
            for field in self.query(FormField):
                if field.setting.path in assessment.problems:
                    field.control.focus()
                    return
            # For example, a final learning rate that cannot be changed is larger than the new learning rate.
            self.query_one("#dialog-error", StatusLine).update(next(iter(assessment.problems.values())))
            return
        values = {field.setting.path: assessment.settings.value(field.setting.path) for field in self.query(FormField)}
        self.dismiss({path: value for path, value in values.items() if value != self._settings.value(path)})
