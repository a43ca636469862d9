"""Glyphs and styles of a widget under the current theme."""

from __future__ import annotations

from dataclasses import dataclass

from rich.color import Color, ColorParseError
from rich.style import Style
from textual.widget import Widget

from metatui.tui.colors import palette
from metatui.tui.terminal import symbols
from metatui.tui.terminal.kitty import KittyPictures
from metatui.tui.terminal.sixel import SixelPictures
from metatui.tui.terminal.symbols import GLYPHS, Glyphs, Symbols


@dataclass(frozen=True)
class ChartTheme:
    """Everything that a drawing depends on, except for its data and its size."""

    symbols: Symbols
    dark: bool
    ansi: bool
    """True if the theme uses the terminal's own 16 colours."""
    monochrome: bool
    """True if colours are off (NO_COLOR), or if the terminal has no colours."""
    text: Style
    title: Style
    muted: Style
    key: Style
    """Style of the name of a key, as in the key bar."""
    warning: Style
    """Style of values that are not finite."""
    pictures: KittyPictures | SixelPictures | None = None
    """Object that draws pictures, or None if the terminal cannot show pictures."""

    @property
    def glyphs(self) -> Glyphs:
        return GLYPHS[self.symbols]

    @property
    def distinct(self) -> bool:
        """True if characters instead of colours distinguish the lines."""
        return self.monochrome or self.symbols is Symbols.ASCII

    def colour(self, name: str, *, bold: bool = False, dim: bool = False) -> Style:
        """Return the style for a palette name or a colour. If rich cannot parse it, return the style of plain text."""
        try:
            colour = Color.parse(palette.shade(name, self.dark, self.ansi))
        except ColorParseError:
            return self.title if bold else self.text
        return Style(color=colour, bold=bold or None, dim=dim or None)

    def printable(self, text: str) -> str:
        """Return `text` on one line, in characters that the terminal can show, without control characters."""
        line = "".join(char if char.isprintable() else "�" for char in " ".join(text.split()))
        return symbols.ascii(line) if self.symbols is Symbols.ASCII else line


def symbols_of(widget: Widget) -> Symbols:
    """Return the app's `symbols`, or `Symbols.BRAILLE` if the app has no such attribute."""
    return Symbols(getattr(widget.app, "symbols", Symbols.BRAILLE))


def theme_of(widget: Widget) -> ChartTheme:
    """Return the chart theme of a widget. The widget must have the component classes of `RowsWidget`."""
    app = widget.app
    parts = ("text", "title", "muted", "key", "warning")
    text, title, muted, key, warning = (widget.get_component_rich_style(f"chart--{part}") for part in parts)
    return ChartTheme(
        symbols=symbols_of(widget),
        dark=app.current_theme.dark,
        ansi=app.native_ansi_color,
        monochrome=app.no_color or app.console.color_system is None,
        text=Style(color=text.color),
        title=Style(color=title.color, bold=True),
        muted=Style(color=muted.color, dim=muted.dim),
        key=Style(color=key.color, bold=True),
        warning=Style(color=warning.color),
        pictures=getattr(app, "pictures", None),
    )
