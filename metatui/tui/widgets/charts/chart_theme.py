"""How a widget draws just now: glyphs, background and colours."""

from __future__ import annotations

from dataclasses import dataclass

from rich.color import Color, ColorParseError
from rich.style import Style
from textual.widget import Widget

from metatui.tui import palette
from metatui.tui.terminal import symbols
from metatui.tui.terminal.symbols import GLYPHS, Glyphs, Symbols


@dataclass(frozen=True)
class ChartTheme:
    symbols: Symbols
    dark: bool
    ansi: bool
    """Whether the terminal's own 16 colours are used."""
    monochrome: bool
    """Whether colours are not seen at all (NO_COLOR)."""
    text: Style
    title: Style
    muted: Style
    key: Style
    """Of a key that can be pressed, as the key bar writes it."""
    warning: Style
    """Style of values that are not finite."""

    @property
    def glyphs(self) -> Glyphs:
        return GLYPHS[self.symbols]

    @property
    def distinct(self) -> bool:
        """Whether lines are to be told apart by their characters."""
        return self.monochrome or self.symbols is Symbols.ASCII

    def colour(self, name: str, *, bold: bool = False, dim: bool = False) -> Style:
        """The style of a colour or meaning of metatui.tui.palette; plain text for a colour that rich cannot read."""
        try:
            colour = Color.parse(palette.shade(name, self.dark, self.ansi))
        except ColorParseError:
            return self.title if bold else self.text
        return Style(color=colour, bold=bold or None, dim=dim or None)

    def say(self, text: str) -> str:
        """`text` on one line, in characters that the terminal shows and none that it obeys."""
        line = "".join(char if char.isprintable() else "�" for char in " ".join(text.split()))
        return symbols.ascii(line) if self.symbols is Symbols.ASCII else line


def symbols_of(widget: Widget) -> Symbols:
    """The app's choice, `app.symbols`; braille in an app that has none."""
    found = getattr(widget.app, "symbols", None)
    return Symbols(found) if found is not None else Symbols.BRAILLE


def look_of(widget: Widget) -> ChartTheme:
    """The look of a widget with the component classes `chart--` `text`, `title`, `muted`, `key` and
    `warning`."""
    app = widget.app
    parts = ("text", "title", "muted", "key", "warning")
    text, title, muted, key, warning = (widget.get_component_rich_style(f"chart--{part}") for part in parts)
    return ChartTheme(
        symbols=symbols_of(widget),
        dark=app.current_theme.dark,
        ansi=app.native_ansi_color,
        monochrome=app.no_color,
        text=Style(color=text.color),
        title=Style(color=title.color, bold=True),
        muted=Style(color=muted.color, dim=muted.dim),
        key=Style(color=key.color, bold=True),
        warning=Style(color=warning.color),
    )
