"""Controls of the form, one row high: a list of choices and a switch."""

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
    """The open list of a `Choice`; exists only while it has the focus."""

    BINDINGS: ClassVar[list[BindingType]] = [("escape", "leave", "Back"), ("space", "select", "Select")]

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
        """Move to the next option that begins with the letter, and stop the key from reaching the app's bindings."""
        if event.character is None or not event.is_printable or event.key == "space":
            return
        event.stop()
        start = (self.highlighted or 0) + 1
        indices = [*range(start, self.option_count), *range(start)]
        letter = event.character.lower()
        matches = (i for i in indices if str(self.get_option_at_index(i).prompt).lower().startswith(letter))
        self.highlighted = next(matches, self.highlighted)


class Choice(Widget, can_focus=True):
    """A choice of one of a few values. Its list is created only when it opens, to save startup time."""

    ALLOW_SELECT = False
    BINDINGS: ClassVar[list[BindingType]] = [("enter,space,down,up", "open", "Choose")]
    DEFAULT_CSS = """
    Choice { height: 1; width: 1fr; padding: 0 1; background: $boost; }
    Choice:focus { text-style: bold reverse; }
    ChoiceList, ChoiceList:focus {
        overlay: screen; constrain: none inside; offset: 0 1;
        width: 1fr; height: auto; max-height: 12; padding: 0; border: none; background: $panel;
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
        label = choice_label(self.value)
        return Content(label + "▼".rjust(max(2, self.content_size.width - cell_len(label))))

    def watch_value(self, before: str, now: str) -> None:
        if before != now:
            self.post_message(self.Changed(now))

    def on_click(self, event: Click) -> None:
        event.stop()
        self.action_open()

    def action_open(self) -> None:
        if self.disabled or self.query(ChoiceList):
            return
        options = ChoiceList(*(Option(choice_label(choice)) for choice in self._choices), compact=True)
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


def choice_label(choice: str) -> str:
    """Return the displayed name of a value: `max pool` for `max_pool`."""
    return choice.replace("_", " ")
