"""The form of all settings: what matters is shown, what is wrong is said, what is right can be started."""

from __future__ import annotations

from collections.abc import Iterable

from textual import on
from textual.app import ComposeResult
from textual.containers import Vertical, VerticalScroll
from textual.events import DescendantBlur, DescendantFocus
from textual.message import Message

from metatui.config.fields import FIELDS, text_of
from metatui.config.settings import Scalar, Settings
from metatui.tui.terminal.symbols import Symbols
from metatui.tui.widgets.form.fields import KnobField, explained, field_id
from metatui.tui.widgets.form.group import KnobGroup
from metatui.tui.widgets.form.model import Assessment, assess, texts_of
from metatui.tui.widgets.static_text import StaticText

WHILE_HELD = "A run is going on: what can change during it is bright, and enter applies it."
ASK_FOR_FIELD = "Tab moves through the fields. F5 starts."


class SettingsForm(Vertical):
    """The pane on the left. While a run goes on, only what may change during it can be edited."""

    BORDER_TITLE = "Settings"

    class Changed(Message):
        """Something in the form changed; `assessment` is what it amounts to now."""

        def __init__(self, assessment: Assessment) -> None:
            super().__init__()
            self.assessment = assessment

    class LiveChange(Message):
        """A live setting was given another value while a run goes on."""

        def __init__(self, path: str, value: Scalar) -> None:
            super().__init__()
            self.path = path
            self.value = value

    def __init__(self, settings: Settings, symbols: Symbols) -> None:
        super().__init__(id="form", classes="pane -focused")  # which it is when it is first seen
        self._texts = texts_of(settings)
        self._symbols = symbols
        self._held: Settings | None = None
        self.assessment = assess(self._texts)
        # The first field has the focus when the form is first seen.
        self.hint = StaticText(explained(next(knob for knob in FIELDS.values() if knob.main)), id="form-hint")
        """What the field with the focus means."""

    def compose(self) -> ComposeResult:
        marks = (">", "v") if self._symbols is Symbols.ASCII else ("▶", "▼")
        with VerticalScroll(id="fields", can_focus=False):
            for knob in FIELDS.values():
                if knob.main:
                    field = KnobField(knob, self._texts[knob.path])
                    field.display = knob.path in self.assessment.visible
                    yield field
            for name in dict.fromkeys(knob.group for knob in FIELDS.values()):
                rest = [knob for knob in FIELDS.values() if knob.group == name and not knob.main]
                if rest:
                    group = KnobGroup(rest, marks)
                    group.judge(self.assessment.visible, self.assessment.problems)
                    yield group
        yield self.hint

    @property
    def fields(self) -> Iterable[KnobField]:
        return self.query(KnobField)

    async def reveal(self, path: str) -> KnobField:
        """The field of a setting, its group opened if it is in one."""
        for group in self.query(KnobGroup):
            if any(knob.path == path for knob in group.knobs):
                await group.fill(self._texts)
                group.folded = False
                self._judge()
        return self.query_one(f"#{field_id(path)}", KnobField)

    def load(self, settings: Settings) -> None:
        """Put `settings` into every field."""
        self._texts = texts_of(settings)
        for field in self.fields:
            field.show(self._texts[field.knob.path])
        self._judge()

    def hold(self, running: Settings | None) -> None:
        """Show what a run that goes on has, and only let live settings be edited; None lets all be edited."""
        self._held = running
        if running:
            self.load(running)
        else:
            self._judge()
        self.hint.say(self._hint)

    def tweaked(self, settings: Settings, path: str) -> None:
        """One live setting of the running run has another value now."""
        self._held = settings
        self._texts[path] = text_of(settings.value(path))
        for field in self.fields:
            field.show(self._texts[field.knob.path])
        self._judge()

    def focus_first(self) -> None:
        next(field for field in self.fields if field.display).control.focus()

    async def go_to_first_problem(self) -> str:
        """Put the cursor into the first field that is wrong; what is wrong with it is returned."""
        problems = self.assessment.problems
        knob = next(knob for knob in sorted(FIELDS.values(), key=lambda knob: not knob.main) if knob.path in problems)
        field = await self.reveal(knob.path)
        self.call_after_refresh(field.control.focus)
        return f"{knob.label}: {problems[knob.path]}"

    def _judge(self) -> None:
        """Read the whole form again and show what came of it."""
        self.assessment = assessment = assess(self._texts)
        groups = self.query(KnobGroup)
        folded = {knob.path for group in groups if group.folded for knob in group.knobs}
        for field in self.fields:
            path = field.knob.path
            field.display = path in assessment.visible and path not in folded
            field.control.disabled = self._held is not None and not field.knob.live
            field.say(assessment.problems.get(path, ""), self._pending(field))
        for group in groups:
            group.judge(assessment.visible, assessment.problems)
        self.post_message(self.Changed(assessment))

    def _pending(self, field: KnobField) -> str:
        live = self._held is not None and field.knob.live
        changed = live and self._held is not None and field.text != text_of(self._held.value(field.knob.path))
        return "Enter applies it." if changed else ""

    @on(KnobGroup.Toggled)
    async def _toggled(self, event: KnobGroup.Toggled) -> None:
        event.stop()
        if not event.group.folded:
            await event.group.fill(self._texts)
        self._judge()

    @on(KnobField.Edited)
    def _edited(self, event: KnobField.Edited) -> None:
        event.stop()
        self._texts[event.field.knob.path] = event.field.text
        self._judge()

    @on(KnobField.Applied)
    def _applied(self, event: KnobField.Applied) -> None:
        event.stop()
        path = event.field.knob.path
        if self._held is None:
            self.screen.focus_next()
        elif path not in self.assessment.problems and self._pending(event.field):
            self.post_message(self.LiveChange(path, event.field.knob.read(event.field.text)))

    @on(DescendantFocus)
    def _explain(self, event: DescendantFocus) -> None:
        field = next((node for node in event.widget.ancestors if isinstance(node, KnobField)), None)
        self.hint.say(explained(field.knob) if field else self._hint)

    @on(DescendantBlur)
    def _restore_hint(self) -> None:
        focused = self.screen.focused
        if focused is None or self not in focused.ancestors:  # else what it explains is said next
            self.hint.say(self._hint)

    @property
    def _hint(self) -> str:
        return WHILE_HELD if self._held else ASK_FOR_FIELD
