"""Widgets that show plain text in characters that the terminal supports."""

from __future__ import annotations

from textual.content import Content
from textual.widget import Widget

from metatui.tui.terminal import symbols
from metatui.tui.terminal.symbols import Symbols
from metatui.tui.widgets.charts.chart_theme import symbols_of


def shown_in(widget: Widget, text: str) -> str:
    """Replace characters the terminal cannot show. Call this before wrapping: the result may be longer than `text`."""
    return symbols.ascii(text) if symbols_of(widget) is Symbols.ASCII else text


class StaticText(Widget):
    """Widget that shows plain text. Markup in the text is not interpreted."""

    DEFAULT_CSS = "StaticText { height: auto; }"

    def __init__(self, text: str = "", *, id: str | None = None, classes: str | None = None) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id, classes=classes)
        self._text = text

    def render(self) -> Content:
        return Content(shown_in(self, self._text))

    def update(self, text: str) -> None:
        """Show `text`."""
        if text != self._text:
            self._text = text
            self.refresh(layout=self.styles.auto_dimensions)


class StatusLine(StaticText):
    """Widget that shows plain text and takes up no space while the text is empty."""

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id, classes=classes)
        self.display = False

    def update(self, text: str) -> None:
        super().update(text)
        self.display = bool(text)
