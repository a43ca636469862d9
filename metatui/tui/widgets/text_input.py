"""A line to type in."""

from __future__ import annotations

from textual.events import Paste
from textual.widgets import Input

LONGEST = 4096
"""Characters: the longest path that there can be."""


class Entry(Input):
    """One row high, with a cursor that stands still: a blinking one writes to the terminal while nothing happens."""

    def __init__(
        self,
        value: str = "",
        *,
        placeholder: str = "",
        id: str | None = None,  # noqa: A002 - Textual's name
        classes: str | None = None,
    ) -> None:
        super().__init__(value, placeholder=placeholder, max_length=LONGEST, compact=True, id=id, classes=classes)
        self.cursor_blink = False

    def on_paste(self, event: Paste) -> None:
        """What is pasted may be megabytes, which Textual would lay out anew with every key, or hold control characters;
        its own handler comes after this one."""
        event.text = self._fitting(event.text)

    def action_paste(self) -> None:
        """The app's own clipboard, on which any part of the screen may be."""
        self.replace(self._fitting(self.app.clipboard), *self.selection)

    def _fitting(self, text: str) -> str:
        lines = text[: LONGEST - len(self.value)].splitlines()
        return "".join(c if c.isprintable() else " " for c in lines[0]) if lines else ""
