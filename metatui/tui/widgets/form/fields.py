"""Fields of the form, and groups of fields that can be collapsed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from textual import on
from textual.app import ComposeResult, RenderResult
from textual.binding import BindingType
from textual.content import Content
from textual.events import Click
from textual.message import Message
from textual.reactive import reactive
from textual.widget import Widget
from textual.widgets import Input, Switch

from metatui.config.declarations import SettingField
from metatui.config.registry import components_with_options
from metatui.tui.widgets.form.controls import Choice, Toggle
from metatui.tui.widgets.static_text import StatusLine
from metatui.tui.widgets.text_input import Entry

LABEL_WIDTH = 21
"""Width of a field's label and the gap after it. The style sheet indents the control by the same width."""


class FormField(Widget):
    """Field for a setting, which consists of a label, a control, and a line for error messages.

    The field draws the label itself, because every additional widget delays the first frame.
    """

    DEFAULT_CSS = "FormField { layout: vertical; height: auto; width: 1fr; }"

    class Edited(Message):
        """The user edited the value."""

        def __init__(self, field: FormField) -> None:
            super().__init__()
            self.field = field

    class Applied(Message):
        """The user pressed enter in a text field."""

        def __init__(self, field: FormField) -> None:
            super().__init__()
            self.field = field

    def __init__(self, setting: SettingField, text: str) -> None:
        super().__init__(id=field_id(setting.path), classes="field")
        self.setting = setting
        self._text = text
        self._note: StatusLine | None = None
        """Line below the control, created for the first problem or note."""
        self.control = self._make_control()

    @property
    def text(self) -> str:
        """The value of the setting as text, whatever kind of control the field has."""
        return self._text

    def render(self) -> RenderResult:
        return Content(self.setting.label[: LABEL_WIDTH - 1])

    def compose(self) -> ComposeResult:
        yield self.control
        if self._note is not None:
            yield self._note

    def _make_control(self) -> Widget:
        match self.setting.kind:
            case "choice":
                return Choice(self.setting.choices, self._text, classes="control")
            case "bool":
                return Toggle(self._text == "true", animate=False, classes="control")
            case _:
                # Textual's number inputs silently drop characters, so any text is allowed and validated by the form.
                return Entry(self._text, classes="control")

    def show(self, text: str) -> None:
        """Replace the text without posting a message."""
        if text == self._text:
            return
        self._text = text
        match self.control:
            case Choice() as choice:
                with choice.prevent(Choice.Changed):
                    choice.value = text
            case Switch() as switch:
                with switch.prevent(Switch.Changed):
                    switch.value = text == "true"
            case Input() as field:
                with field.prevent(Input.Changed):
                    field.value = text

    def show_problem(self, problem: str, note: str = "") -> None:
        """Show a problem below the control, or a note if there is no problem."""
        if self._note is None and (problem or note):
            self._note = StatusLine(classes="field-error")
            if self.control.is_attached:  # otherwise, `compose` adds the note below the control
                self.mount(self._note)
        if self._note is not None:
            self._note.update(problem or note)
            self._note.set_class(not problem, "-note")
        self.set_class(bool(problem), "-wrong")

    @on(Input.Changed)
    @on(Choice.Changed)
    @on(Switch.Changed)
    def _control_changed(self, event: Input.Changed | Choice.Changed | Switch.Changed) -> None:
        event.stop()
        value = event.value
        text = str(value).lower() if isinstance(value, bool) else str(value)
        if text != self._text:
            self._text = text
            self.post_message(self.Edited(self))

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.post_message(self.Applied(self))


class FieldGroup(Widget, can_focus=True):
    """A row that collapses and expands a group of rarely used settings. The fields of the group follow the row.

    The fields are created later by `fill`, because fifty fields would double the time until the first frame.
    """

    ALLOW_SELECT = False
    BINDINGS: ClassVar[list[BindingType]] = [("enter,space", "fold", "Toggle group")]
    DEFAULT_CSS = """
    FieldGroup { height: 1; width: 1fr; }
    FieldGroup:focus { text-style: bold reverse; }
    """

    folded: reactive[bool] = reactive(True)
    wrong: reactive[int] = reactive(0)
    """Number of invalid settings in the group."""

    class Toggled(Message):
        """The user collapsed or expanded the group."""

        def __init__(self, group: FieldGroup) -> None:
            super().__init__()
            self.group = group

    def __init__(self, settings: Sequence[SettingField], marks: tuple[str, str]) -> None:
        """Create the row, without the fields of the group.

        Args:
            marks: Characters to show before the title of a collapsed and of an expanded group.
        """
        super().__init__(classes="group")
        self.settings = settings
        self._marks = marks
        self._filled = False

    @property
    def title(self) -> str:
        name = self.settings[0].group
        component = components_with_options().get(name)
        title = f"{component.title} options" if component else f"{name.capitalize()} details"
        return f"{title}: {self.wrong} invalid" if self.wrong else title

    def render(self) -> RenderResult:
        return Content(f"{self._marks[not self.folded]} {self.title}")

    async def fill(self, texts: Mapping[str, str]) -> None:
        """Create the fields, unless they exist already. They are hidden until the form shows those that apply."""
        if not self._filled and isinstance(self.parent, Widget):
            self._filled = True
            fields = [FormField(setting, texts[setting.path]) for setting in self.settings]
            for field in fields:
                field.display = False
            await self.parent.mount_all(fields, after=self)

    def judge(self, visible: frozenset[str], problems: Mapping[str, str]) -> None:
        """Hide the group if none of its settings are relevant, and count its invalid settings."""
        self.display = any(setting.path in visible for setting in self.settings)
        self.wrong = sum(setting.path in problems for setting in self.settings)
        self.set_class(bool(self.wrong), "-wrong")

    def action_fold(self) -> None:
        self.folded = not self.folded
        self.post_message(self.Toggled(self))

    def on_click(self, event: Click) -> None:
        event.stop()
        self.action_fold()


def field_id(path: str) -> str:
    return "field-" + path.replace(".", "-")


def explained(setting: SettingField) -> str:
    """Describe a setting: its meaning, its unit and its allowed values."""
    unit = f" ({setting.unit})" if setting.unit and setting.unit not in setting.label.lower().split() else ""
    limits = "" if setting.kind in ("choice", "bool") else f" {setting.allowed[0].upper()}{setting.allowed[1:]}."
    live = " Can be changed during a run." if setting.live else ""
    return f"{setting.label}{unit}: {setting.help}{limits}{live}"
