"""Form for the settings. It shows the fields of relevant settings, and what is wrong with invalid values."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.events import DescendantBlur, DescendantFocus
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Input

from metatui.config.declarations import Scalar
from metatui.config.fields import FIELDS, text_of
from metatui.config.settings import Settings
from metatui.config.usual import SELECTORS
from metatui.tui.keyboard.actions import with_keys
from metatui.tui.terminal.symbols import Symbols
from metatui.tui.widgets.form.controls import ChoiceList
from metatui.tui.widgets.form.fields import FieldGroup, FormField, explained, field_id
from metatui.tui.widgets.form.model import Assessment, Texts, assess, texts_of
from metatui.tui.widgets.form.offer import Offer, offer
from metatui.tui.widgets.static_text import StaticText

RUNNING_HINT = "During a run, only the bright settings can change. Enter applies a change."
IDLE_HINT = "Tab moves through the fields. {start} starts a run."

HIGH = 42
"""Minimum height, in rows, of a form that has room for more than the main settings."""


class FormHint(StaticText):
    """Text below the fields, such as an explanation of the focused field.

    The style sheet sets the height, and only a text that needs more rows makes the widget higher. With an automatic
    height, every change of focus would cause a new layout of the screen.
    """

    _least = 0

    def update(self, text: str) -> None:
        super().update(text)
        self._fit()

    def on_resize(self) -> None:
        self._fit()

    def _fit(self) -> None:
        width, usual = self.content_size.width, self.styles.height
        if not width:  # the form is hidden
            return
        rows = self.render().get_height({}, width)
        least = rows if usual and rows > usual.value else 0
        if least != self._least:
            self._least = self.styles.min_height = least


class Fields(VerticalScroll, can_focus=False):
    """The fields and group titles of the form, and the keys that move between them."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "focus_previous", show=False),
        Binding("down", "focus_next", show=False),
    ]

    def action_focus_previous(self) -> None:
        self.screen.focus_previous("#fields *")

    def action_focus_next(self) -> None:
        self.screen.focus_next("#fields *")


class SettingsForm(Vertical):
    """The pane with all settings. During a run, only live settings (those that may change then) are editable."""

    BORDER_TITLE = "Settings"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "take_usual", show=False, priority=True),
        Binding("escape", "decline_usual", show=False, priority=True),
    ]

    class Changed(Message):
        """The text of a field or the set of editable fields has changed."""

        def __init__(self, assessment: Assessment) -> None:
            super().__init__()
            self.assessment = assessment

    class LiveChange(Message):
        """The user applied a live setting to the run."""

        def __init__(self, path: str, value: Scalar) -> None:
            super().__init__()
            self.path = path
            self.value = value

    def __init__(self, settings: Settings, symbols: Symbols) -> None:
        super().__init__(id="form", classes="pane -focused")  # its first field takes the focus
        self._texts = texts_of(settings)
        self._symbols = symbols
        self.run_settings: Settings | None = None
        """Settings of the run in progress, or None if no run is in progress."""
        self.offer: Offer | None = None
        """The offer to fill in an algorithm's usual values, or None if there is none. An accepted offer is kept."""
        self._start_texts: Texts = {}
        """Texts at the start of the last run, but only for settings that were changed while the run trained."""
        self._groups = set[str]()
        """Names of the groups of settings for which widgets have been created."""
        self.assessment = assess(self._texts)
        first = next(setting for setting in FIELDS.values() if setting.main)
        self.hint = FormHint(explained(first), id="form-hint")
        """Text that explains the focused field."""

    def compose(self) -> ComposeResult:
        with Fields(id="fields"):
            yield from sorted(self._create(set(Settings.model_fields) | self._relevant_groups()), key=_position)
        yield self.hint

    def _relevant_groups(self) -> set[str]:
        return {FIELDS[path].group for path in self.assessment.visible}

    def _create(self, names: Set[str]) -> Iterator[FormField | FieldGroup]:
        """Create the main fields of the named groups of settings, and a `FieldGroup` for each group's other fields."""
        marks = (">", "v") if self._symbols is Symbols.ASCII else ("▶", "▼")
        self._groups |= names
        for name in names:
            settings = [setting for setting in FIELDS.values() if setting.group == name]
            for setting in settings:
                if setting.main:
                    field = FormField(setting, self._texts[setting.path])
                    field.display = setting.path in self.assessment.visible
                    yield field
            details = [setting for setting in settings if not setting.main]
            if details:
                group = FieldGroup(details, marks)
                group.judge(self.assessment.visible, self.assessment.problems)
                yield group

    def _add_options(self) -> None:
        """Add the fields for the options of components that are selected for the first time."""
        new = self._relevant_groups() - self._groups
        if new:
            container = self.query_one("#fields")
            container.mount_all(self._create(new))
            container.sort_children(key=_position)

    @property
    def fields(self) -> Iterable[FormField]:
        return self.query(FormField)

    async def reveal(self, path: str) -> FormField:
        """Expand the group of a setting and return the setting's field."""
        for group in self.query(FieldGroup):
            if any(setting.path == path for setting in group.settings):
                await group.fill(self._texts)
                group.folded = False
                self._judge()
        return self.query_one(f"#{field_id(path)}", FormField)

    async def unfold_groups(self) -> None:
        """Expand the groups for which a tall form has room, to show as many settings as possible."""
        if self.size.height < HIGH:
            return
        rows = self.query_one("#fields")
        room = rows.size.height - sum(row.display for row in rows.children)
        for group in self.query(FieldGroup):
            needed = sum(setting.path in self.assessment.visible for setting in group.settings)
            if group.folded and 0 < needed <= room:
                await group.fill(self._texts)
                group.folded = False
                room -= needed
        self._judge()

    @property
    def texts(self) -> Texts:
        """The text of each field, keyed by the path of its setting."""
        return dict(self._texts)

    def load(self, settings: Settings) -> None:
        """Fill the form with `settings`."""
        self.show_texts(texts_of(settings))

    def show_texts(self, texts: Texts) -> None:
        """Fill the fields with `texts`, which may be invalid."""
        self._texts = dict(texts)
        self.offer, self._start_texts = None, {}
        self._show_texts()

    def show_run_settings(self, running: Settings | None) -> None:
        """Show the settings of the run in progress, and lock the fields of settings that cannot change during a run.

        Args:
            running: settings of the run in progress. If None, no run is in progress, and all fields are unlocked.
        """
        self.run_settings = running
        if running:
            self.load(running)
        else:
            self._judge()
        self.hint.update(self._hint)

    def show_live_change(self, settings: Settings, path: str) -> None:
        """Show the new value of a live setting of the run."""
        self.run_settings = settings
        self._texts[path] = text_of(settings.value(path))
        self._show_texts()

    def text(self, path: str) -> str:
        """Return the text of a setting, even if its field is not visible."""
        return self._texts[path]

    def problem_with(self, path: str, text: str) -> str:
        """Return the reason why `text` is invalid in the field of a setting, or an empty string if it is valid."""
        return assess({**self._texts, path: text}).problems.get(path, "")

    def enter(self, path: str, text: str) -> None:
        """Enter valid text in the field of a setting. During a run, also apply the value to the run."""
        value = FIELDS[path].read(text)
        self._texts[path] = text_of(value)
        self._update_offer(path)
        self._show_texts()
        if self.run_settings is not None and value != self.run_settings.value(path):
            self.post_message(self.LiveChange(path, value))

    def focus_first(self) -> None:
        """Focus the first field that can be edited."""
        control = next(field for field in self.fields if field.display and not field.control.disabled).control
        control.focus()
        # If the form was hidden, Textual would scroll before the form is laid out, which has no effect.
        self.call_after_refresh(control.scroll_visible)

    async def go_to_first_problem(self) -> str:
        """Focus the first invalid field, and return a description of its problem."""
        problems = self.assessment.problems
        wrong = (setting for setting in FIELDS.values() if setting.path in problems)
        setting = min(wrong, key=lambda setting: not setting.main)
        field = await self.reveal(setting.path)
        self.call_after_refresh(field.control.focus)
        return f"{setting.label}: {problems[setting.path]}"

    def action_take_usual(self) -> None:
        """Fill in the usual values that the form offers for the algorithm."""
        if self.offer:
            self._texts |= self.offer.texts
            self.offer = self.offer.taken()
            self._show_texts()

    def action_decline_usual(self) -> None:
        self.offer = None
        self._judge()

    @property
    def restorable(self) -> bool:
        """Whether `restore` has an effect."""
        return bool(self._start_texts) or (self.offer is not None and self.offer.is_taken)

    def keep_initial_values(self, settings: Settings, start: Mapping[str, Scalar]) -> Texts:
        """Let `restore` undo the live changes of a run that has ended, except for settings that were edited afterwards.

        Args:
            settings: settings of the run at its end.
            start: values at the start of the run, keyed by path.

        Returns:
            The texts that `restore` enters, keyed by path.
        """
        self._start_texts = {
            path: text_of(value)
            for path, value in start.items()
            if text_of(value) != self._texts[path] == text_of(settings.value(path))
        }
        return self._start_texts

    def restore(self) -> Texts:
        """Undo the live changes of the last run in the form or, if there are none, the filling in of usual values.

        Returns:
            The restored texts that had been replaced by live changes, keyed by path.
        """
        start, self._start_texts = self._start_texts, {}
        if start:
            self._texts |= start
            self._show_texts()
        elif self.offer and self.offer.is_taken:
            self._texts |= self.offer.before
            self.offer = offer(self._texts, self.offer.path)
            self._show_texts()
        return start

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Enable the keys that accept and decline an offer, but only while the field with the offer has the focus."""
        if action not in ("take_usual", "decline_usual"):
            return True
        return self.offer is not None and not self.offer.is_taken and self._focused_path == self.offer.path

    @property
    def _focused_path(self) -> str:
        """Path of the setting whose field has the focus, or an empty string if no field has the focus."""
        field = self.screen.focused.parent if self.screen.focused else None
        return field.setting.path if isinstance(field, FormField) else ""

    def _show_texts(self) -> None:
        for field in self.fields:
            field.show(self._texts[field.setting.path])
        self._judge()

    def _judge(self) -> None:
        """Validate all fields, and update visibility, locks and problems."""
        self.assessment = assessment = assess(self._texts)
        self._add_options()
        groups = self.query(FieldGroup)
        folded = {setting.path for group in groups if group.folded for setting in group.settings}
        for field in self.fields:
            path = field.setting.path
            field.display = path in assessment.visible and path not in folded
            field.control.disabled = self.run_settings is not None and not field.setting.live
            field.show_problem(assessment.problems.get(path, ""), self._note(field))
        for group in groups:
            group.judge(assessment.visible, assessment.problems)
        self.post_message(self.Changed(assessment))

    def _note(self, field: FormField) -> str:
        return "Enter applies the new value." if self._is_pending(field) else self.usual_note(field.setting.path)

    def usual_note(self, path: str) -> str:
        """Return the note about usual values to show below a setting, or an empty string if there is none."""
        if self.offer is None:
            return ""
        here, typing = self._focused_path == self.offer.path, isinstance(self.screen.focused, Input | ChoiceList)
        return self.offer.note(path, here=here, typing=typing)

    def _is_pending(self, field: FormField) -> bool:
        """Return whether the field is for a live setting and has a valid value that differs from the run's value."""
        running, setting, values = self.run_settings, field.setting, self.assessment.values
        return (
            running is not None
            and setting.live
            and setting.path in values
            and values[setting.path] != running.value(setting.path)
        )

    @on(FieldGroup.Toggled)
    async def _toggled(self, event: FieldGroup.Toggled) -> None:
        event.stop()
        if not event.group.folded:
            await event.group.fill(self._texts)
        self._judge()

    @on(FormField.Edited)
    def _edited(self, event: FormField.Edited) -> None:
        event.stop()
        path = event.field.setting.path
        self._texts[path] = event.field.text
        self._update_offer(path)
        self._judge()

    def _update_offer(self, path: str) -> None:
        """Offer an algorithm's usual values if the algorithm or data set has changed. Otherwise, update the offer."""
        self._start_texts = {name: text for name, text in self._start_texts.items() if name != path}
        if path in SELECTORS and self.run_settings is None:
            self.offer = offer(self._texts, path)
        elif self.offer and not self.offer.is_taken:
            self.offer = offer(self._texts, self.offer.path)

    @on(FormField.Applied)
    def _applied(self, event: FormField.Applied) -> None:
        event.stop()
        field = event.field
        if self.run_settings is None:
            self.screen.focus_next()
        elif self._is_pending(field):
            self.post_message(self.LiveChange(field.setting.path, field.setting.read(field.text)))

    @on(DescendantFocus)
    def _explain(self, event: DescendantFocus) -> None:
        field = next((node for node in event.widget.ancestors if isinstance(node, FormField)), None)
        self.hint.update(explained(field.setting) if field else self._hint)
        self._update_note()

    @on(DescendantBlur)
    def _restore_hint(self) -> None:
        focused = self.screen.focused
        if focused is None or self not in focused.ancestors:  # otherwise, the next focus event sets the hint
            self.hint.update(self._hint)
            self._update_note()

    def _update_note(self) -> None:
        """Update the note that offers the usual values, because it names the keys that work with the current focus."""
        if self.offer:
            shown = self.query_one(f"#{field_id(self.offer.path)}", FormField)
            shown.show_problem(self.assessment.problems.get(self.offer.path, ""), self._note(shown))

    @property
    def _hint(self) -> str:
        return RUNNING_HINT if self.run_settings else with_keys(IDLE_HINT)


def _position(widget: Widget) -> tuple[bool, int, bool]:
    """Return a sort key for a widget of the form: main fields come first, then groups, each followed by its fields."""
    if isinstance(widget, FieldGroup):
        return True, list(FIELDS).index(widget.settings[0].path), False
    assert isinstance(widget, FormField)
    return not widget.setting.main, list(FIELDS).index(widget.setting.path), True
