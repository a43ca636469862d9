"""One of a few values: a row that shows it, and a list over the form while one chooses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.cells import cell_len
from textual import on
from textual.app import RenderResult
from textual.binding import BindingType
from textual.content import Content
from textual.events import Blur, Click, Key
from textual.message import Message
from textual.reactive import reactive
from textual.widget import Widget
from textual.widgets import OptionList
from textual.widgets.option_list import Option


class ChoiceList(OptionList):
    """The list, with the value as it is under the cursor. There only while it has the focus."""

    BINDINGS: ClassVar[list[BindingType]] = [("escape", "leave", "Back"), ("space", "select", "Select")]

    class Left(Message):
        """The focus went elsewhere without a choice, or is to go back."""

        def __init__(self, elsewhere: bool) -> None:
            super().__init__()
            self.elsewhere = elsewhere

    def action_leave(self) -> None:
        self.post_message(self.Left(elsewhere=False))

    def on_blur(self, event: Blur) -> None:
        self.post_message(self.Left(elsewhere=True))

    def on_key(self, event: Key) -> None:
        """A letter goes to the next option that begins with it, and is never an action of the app's."""
        if event.character is None or not event.is_printable or event.key == "space":
            return
        event.stop()
        start = (self.highlighted or 0) + 1
        places = [*range(start, self.option_count), *range(start)]
        letter = event.character.lower()
        found = (at for at in places if str(self.get_option_at_index(at).prompt).lower().startswith(letter))
        self.highlighted = next(found, self.highlighted)


class Choice(Widget, can_focus=True):
    """Enter, space, an arrow or a click opens the list. The list is made when it is first asked for: it takes as long
    to show as all the rest of a field."""

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
        """Another value was chosen."""

        def __init__(self, value: str) -> None:
            super().__init__()
            self.value = value

    def __init__(self, choices: Sequence[str], value: str, *, classes: str | None = None) -> None:
        super().__init__(classes=classes)
        self._choices = choices
        self.set_reactive(Choice.value, value)

    def render(self) -> RenderResult:
        label = shown(self.value)
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
        options = ChoiceList(*(Option(shown(choice)) for choice in self._choices), compact=True)
        options.highlighted = self._choices.index(self.value) if self.value in self._choices else 0
        self.mount(options)
        options.focus(scroll_visible=False)

    @on(ChoiceList.OptionSelected)
    def _chosen(self, event: ChoiceList.OptionSelected) -> None:
        event.stop()
        self.value = self._choices[event.option_index]
        self.focus()

    @on(ChoiceList.Left)
    def _left(self, event: ChoiceList.Left) -> None:
        event.stop()
        if event.elsewhere:
            self.query(ChoiceList).remove()
        else:
            self.focus()


def shown(choice: str) -> str:
    """A value as it is read: `max pool` for `max_pool`."""
    return choice.replace("_", " ")
