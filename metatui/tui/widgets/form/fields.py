"""One setting of the form: its label, the widget that fits its kind, and the sentence when it is wrong."""

from __future__ import annotations

from textual import on
from textual.app import ComposeResult, RenderResult
from textual.content import Content
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Input, Switch

from metatui.config.fields import SettingField
from metatui.tui.widgets.form.choice import Choice
from metatui.tui.widgets.form.toggle import Toggle
from metatui.tui.widgets.static_text import StaticText
from metatui.tui.widgets.text_input import Entry

LABEL_WIDTH = 21
"""Columns of the label and the gap after it; the stylesheet keeps the widget out of them."""


class KnobField(Widget):
    """One setting. `text` is what stands in it, whatever widget shows it.

    The label is drawn by the field itself: of a form of them, every widget less is seen in how fast the app opens.
    """

    DEFAULT_CSS = "KnobField { layout: vertical; height: auto; width: 1fr; }"

    class Edited(Message):
        """The user changed what stands in the field."""

        def __init__(self, field: KnobField) -> None:
            super().__init__()
            self.field = field

    class Applied(Message):
        """The user pressed enter in a text field, or chose."""

        def __init__(self, field: KnobField) -> None:
            super().__init__()
            self.field = field

    def __init__(self, knob: SettingField, text: str) -> None:
        super().__init__(id=field_id(knob.path), classes="field")
        self.knob = knob
        self._text = text
        self._line: StaticText | None = None
        """Where it is said what is wrong, once something has been."""
        self.control = self._control()
        """The widget that takes the focus."""

    @property
    def text(self) -> str:
        return self._text

    def render(self) -> RenderResult:
        return Content(self.knob.label[: LABEL_WIDTH - 1])

    def compose(self) -> ComposeResult:
        yield self.control

    def _control(self) -> Widget:
        match self.knob.kind:
            case "choice":
                return Choice(self.knob.choices, self._text, classes="control")
            case "bool":
                return Toggle(self._text == "true", animate=False, classes="control")
            case _:
                # Textual's own number types drop what does not fit without a word, so the text is free and judged.
                return Entry(self._text, classes="control")

    def show(self, text: str) -> None:
        """Put `text` into the field, without a message."""
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

    def say(self, problem: str, note: str = "") -> None:
        """Show what is wrong under the field, or a note where nothing is."""
        if self._line is None and (problem or note):
            self._line = StaticText(classes="field-error")
            self.mount(self._line)
        if self._line is not None:
            self._line.say(problem or note)
            self._line.display = bool(problem or note)
            self._line.set_class(not problem, "-note")
        self.set_class(bool(problem), "-wrong")

    @on(Input.Changed)
    @on(Choice.Changed)
    @on(Switch.Changed)
    def _changed(self, event: Input.Changed | Choice.Changed | Switch.Changed) -> None:
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


def field_id(path: str) -> str:
    return "field-" + path.replace(".", "-")


def explained(knob: SettingField) -> str:
    """What a setting means, in which unit, and what is allowed."""
    unit = f" ({knob.unit})" if knob.unit else ""
    limits = "" if knob.kind in ("choice", "bool") else f" {knob.allowed[0].upper()}{knob.allowed[1:]}."
    live = " Can change during a run." if knob.live else ""
    return f"{knob.label}{unit}: {knob.help}{limits}{live}"
