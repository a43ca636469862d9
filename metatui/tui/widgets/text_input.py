"""A one-line text input."""

from __future__ import annotations

from textual.binding import Binding
from textual.events import Paste
from textual.widgets import Input

from metatui.tui.keyboard.actions import changed_keys

MAX_LENGTH = 4096
"""Maximum length of the text in characters, sufficient for any path."""

EDITING_KEYS = frozenset(binding.key for binding in Binding.make_bindings(Input.BINDINGS))
"""Keys that edit text in a field."""


def works_in_text(key: str) -> bool:
    """Return whether a key of the app also works while a text field has the focus."""
    if key.startswith("ctrl+"):
        return key not in EDITING_KEYS or key in changed_keys()
    return key[1:].isdigit() and key not in EDITING_KEYS


class Entry(Input):
    """A text input one row high. Its cursor does not blink, because each blink would send output to the terminal."""

    DEFAULT_CSS = "Entry, Entry:focus { border: none; height: 1; padding: 0; }"

    def __init__(
        self,
        value: str = "",
        *,
        placeholder: str = "",
        id: str | None = None,  # noqa: A002 - Textual's name
        classes: str | None = None,
    ) -> None:
        # `compact` and validation are not used, because both would restyle the input when it is created.
        super().__init__(value, placeholder=placeholder, max_length=MAX_LENGTH, validate_on=(), id=id, classes=classes)
        self.cursor_blink = False

    def on_mount(self) -> None:
        """Let the app handle the ctrl keys that the user's keymap binds to actions, except in dialogs."""
        if not self.screen.is_modal:
            for key in EDITING_KEYS & changed_keys():
                if key.startswith("ctrl+"):
                    self._bindings.key_to_bindings.pop(key, None)

    def on_paste(self, event: Paste) -> None:
        """Shorten and clean pasted text, which may be long or contain control characters, before Textual inserts it."""
        event.text = self._fitting(event.text)

    def action_paste(self) -> None:
        """Paste from the app's own clipboard, which may contain text from anywhere on the screen."""
        self.replace(self._fitting(self.app.clipboard), *self.selection)

    def _fitting(self, text: str) -> str:
        lines = text[: MAX_LENGTH - len(self.value)].splitlines()
        return "".join(c if c.isprintable() else " " for c in lines[0]) if lines else ""
