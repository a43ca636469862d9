"""A line to type in."""

from __future__ import annotations

from textual.widgets import Input


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
        super().__init__(value, placeholder=placeholder, compact=True, id=id, classes=classes)
        self.cursor_blink = False
