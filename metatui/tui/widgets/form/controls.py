"""Controls of the form, which are one row high: a list of choices and a switch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.cells import cell_len
from textual import on
from textual.app import RenderResult
from textual.binding import BindingType
from textual.content import Content
from textual.events import Blur, Click, Key
from textual.geometry import Size
from textual.message import Message
from textual.reactive import reactive
from textual.widget import Widget
from textual.widgets import OptionList, Switch
from textual.widgets.option_list import Option

from metatui.tui.terminal.symbols import GLYPHS
from metatui.tui.widgets.charts.chart_theme import symbols_of
from metatui.tui.widgets.charts.row_widget import truncate


class Toggle(Switch):
    """A switch that shows its state as text, so that it needs no colour."""

    DEFAULT_CSS = """
    Toggle, Toggle:focus, Toggle:hover { border: none; padding: 0 1; height: 1; width: 9; background: $boost; }
    Toggle:focus { text-style: bold reverse; }
    """

    def render(self) -> str:
        return "(x) on" if self.value else "( ) off"

    def get_content_width(self, container: Size, viewport: Size) -> int:
        return len("( ) off")

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        return 1


class ChoiceList(OptionList):
    """The open list of a `Choice`. It exists only while it has the focus."""

    BINDINGS: ClassVar[list[BindingType]] = [("escape", "leave", "Back"), ("space", "select", "Select")]

    _typed = ""
    """Characters typed so far, which select the option to highlight. Space and keys without a character clear them."""

    class Left(Message):
        """The list was closed without a choice."""

        def __init__(self, focus_moved: bool) -> None:
            super().__init__()
            self.focus_moved = focus_moved

    def action_leave(self) -> None:
        self.post_message(self.Left(focus_moved=False))

    def on_blur(self, event: Blur) -> None:
        self.post_message(self.Left(focus_moved=True))

    def on_key(self, event: Key) -> None:
        """Highlight the option that matches the typed text, and keep the key from reaching the app's bindings."""
        if event.character is None or not event.is_printable or event.key == "space":
            self._typed = ""
            return
        event.stop()
        letter = event.character.lower()
        names = [str(option.prompt).lower() for option in self.options]
        typed = self._typed + letter
        found = [i for i, name in enumerate(names) if name.startswith(typed)]
        found = found or [i for i, name in enumerate(names) if typed in name]
        if not found:  # begin a new name, at the next option
            typed, start = letter, (self.highlighted or 0) + 1
            found = [i for i in (*range(start, len(names)), *range(start)) if names[i].startswith(letter)]
        self._typed = typed
        self.highlighted = next(iter(found), self.highlighted)


class Choice(Widget, can_focus=True):
    """A field with a few values to choose from. To save startup time, the list of values is created when opened."""

    ALLOW_SELECT = False
    BINDINGS: ClassVar[list[BindingType]] = [("enter,space", "open", "Choose")]
    DEFAULT_CSS = """
    Choice { height: 1; width: 1fr; padding: 0 0 0 1; background: $boost; }
    Choice:focus { text-style: bold reverse; }
    ChoiceList, ChoiceList:focus {
        overlay: screen; constrain: inside; offset: 0 1;
        width: auto; min-width: 100%; height: auto; max-height: 12; padding: 0; border: none; background: $panel;
    }
    ChoiceList > .option-list--option { padding: 0 1; }
    """

    value: reactive[str] = reactive("")

    class Changed(Message):
        """The user chose another value."""

        def __init__(self, value: str) -> None:
            super().__init__()
            self.value = value

    def __init__(self, choices: Sequence[str], value: str, *, classes: str | None = None) -> None:
        super().__init__(classes=classes)
        self._choices = choices
        self.set_reactive(Choice.value, value)

    def render(self) -> RenderResult:
        width = max(2, self.content_size.width)
        label = truncate(self.value, width - 1, GLYPHS[symbols_of(self)].ellipsis)
        return Content(label + "▼".rjust(width - cell_len(label)))

    def watch_value(self, before: str, now: str) -> None:
        if before != now:
            self.post_message(self.Changed(now))

    def on_click(self, event: Click) -> None:
        event.stop()
        self.action_open()

    def action_open(self) -> None:
        if self.disabled or self.query(ChoiceList):
            return
        options = ChoiceList(*(Option(choice) for choice in self._choices), compact=True)
        options.highlighted = self._choices.index(self.value) if self.value in self._choices else 0
        self.mount(options)
        options.focus(scroll_visible=False)

    @on(ChoiceList.OptionSelected)
    def _choose(self, event: ChoiceList.OptionSelected) -> None:
        event.stop()
        self.value = self._choices[event.option_index]
        self.focus()

    @on(ChoiceList.Left)
    def _close(self, event: ChoiceList.Left) -> None:
        event.stop()
        if event.focus_moved:
            self.query(ChoiceList).remove()
        else:
            self.focus()
