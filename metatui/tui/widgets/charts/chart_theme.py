"""Glyphs and styles of a widget under the current theme."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from rich.color import Color, ColorParseError
from rich.style import Style
from textual.color import Color as CssColor
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
    good: Style
    warning: Style
    """Style of warnings, and of values that are not finite."""
    error: Style
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
    """Return the chart theme of a widget."""
    app = widget.app
    background = widget.background_colors[1]

    def style(variable: str, *, bold: bool | None = None) -> Style:
        return Style(color=_resolved(app.theme_variables[variable], background), bold=bold)

    return ChartTheme(
        symbols=symbols_of(widget),
        dark=app.current_theme.dark,
        ansi=app.native_ansi_color,
        monochrome=app.no_color or app.console.color_system is None,
        text=style("foreground"),
        title=style("foreground", bold=True),
        muted=style("text-muted"),
        key=style("footer-key-foreground", bold=True),
        good=style("text-success"),
        warning=style("text-warning"),
        error=style("text-error"),
        pictures=getattr(app, "pictures", None),
    )


@lru_cache(maxsize=256)
def _resolved(value: str, background: CssColor) -> Color:
    """Compute the colour of text on `background` from the value of a theme variable, for example `auto 60%`.

    The colour is computed here, because a CSS rule for each kind of text in each chart would make a change of the theme
    20 % slower.
    """
    name, _, percent = value.partition(" ")
    alpha = float(percent.rstrip("%")) / 100 if percent else 1.0
    colour = background.get_contrast_text(alpha) if name == "auto" else CssColor.parse(name).multiply_alpha(alpha)
    return (background + colour).rich_color
