"""Widgets that show a row of links: the keys at the bottom of a full-size screen, and a row of tabs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from textual.content import Content, Span
from textual.reactive import reactive
from textual.style import Style
from textual.widget import Widget

from metatui.tui.terminal import symbols
from metatui.tui.terminal.symbols import GLYPHS, Symbols
from metatui.tui.widgets.charts.chart_theme import symbols_of


class Key(NamedTuple):
    key: str
    """Displayed name of the key."""
    label: str
    action: str
    """Action that a click runs. The prefix `app.` or `focused.` selects an action of the app or the focused widget."""


CURSOR_KEYS: Final = (
    Key("← →", "Move", "focused.move(1)"),
    Key("+ -", "Zoom", "focused.zoom(0.5)"),
    Key("0", "All", "focused.zoom(1_000_000)"),
    Key("Esc", "Hide cursor", "focused.cursor"),
)
"""Keys of a chart while its cursor is visible."""


class KeyLine(Widget):
    """Shows as many keys as fit on a line, starting with the first key. The last key is always shown."""

    DEFAULT_CSS = """
    KeyLine {
        height: 1; width: 100%; background: $footer-background; color: $footer-foreground;
        link-style: none; link-color: $foreground; link-background: transparent; link-style-hover: underline;
    }
    """

    keys: reactive[tuple[Key, ...]] = reactive[tuple[Key, ...]](())
    cursor: reactive[bool] = reactive(False)
    """True while the cursor of a chart is visible. The line then shows the keys of the chart."""

    def __init__(self, keys: Sequence[Key] = ()) -> None:
        super().__init__()
        self.set_reactive(KeyLine.keys, tuple(keys))

    def render(self) -> Content:
        entries = [key_entry(key, symbols_of(self)) for key in (CURSOR_KEYS if self.cursor else self.keys)]
        return join_fitting(entries[:-1], entries[-1:], self.size.width)


class TabStrip(Widget):
    """Shows names, one of which is selected. A click on another name runs the screen's action `action` with that
    name as its argument.

    If the names do not fit, the first ones are omitted until the selected one is visible, and an ellipsis at each end
    stands for omitted names. A click on an ellipsis selects the nearest omitted name.
    """

    DEFAULT_CSS = """
    TabStrip {
        height: 1; color: $text-muted;
        link-style: none; link-color: $foreground; link-background: transparent; link-style-hover: underline;
    }
    """

    selected: reactive[str] = reactive("")

    def __init__(self, names: Iterable[str], *, action: str, numbered: bool = False) -> None:
        super().__init__()
        self._names, self._action, self._numbered = tuple(names), action, numbered

    def render(self) -> Content:
        labels = [self._label(number, name) for number, name in enumerate(self._names, 1)]
        if sum(map(len, labels)) <= self.size.width:
            return Content("").join(labels)
        ellipsis = GLYPHS[symbols_of(self)].ellipsis
        selected = self._names.index(self.selected) if self.selected in self._names else 0
        first, last = 0, selected + 1

        def fits(first: int, last: int) -> bool:
            ends = (first > 0) + (last < len(labels))
            return sum(map(len, labels[first:last])) + ends * len(ellipsis) <= self.size.width

        while not fits(first, last) and first < selected:
            first += 1
        while last < len(labels) and fits(first, last + 1):
            last += 1
        before = [self._link(self._names[first - 1], ellipsis)] if first else []
        after = [self._link(self._names[last], ellipsis)] if last < len(labels) else []
        return Content("").join([*before, *labels[first:last], *after])

    def _label(self, number: int, name: str) -> Content:
        label = f" {number} {name.capitalize()} " if self._numbered else f" {name} "
        if name == self.selected:
            return Content.styled(label, "bold reverse")
        return self._link(name, label)

    def _link(self, name: str, text: str) -> Content:
        return Content.from_markup(f"[@click=screen.{self._action}('{name}')]{text}[/]")


def join_fitting(entries: Iterable[Content], last: Sequence[Content], width: int) -> Content:
    """Return a line of at most `width` cells: as many of the entries as fit, followed by all of the `last` ones."""
    room = width - sum(entry.cell_length for entry in last)
    shown = []
    for entry in entries:
        if entry.cell_length > room:
            break
        room -= entry.cell_length
        shown.append(entry)
    return Content("").join([*shown, *last])


def key_entry(key: Key, symbol_set: Symbols) -> Content:
    """Return the name of a key and its label, as links."""
    name = symbols.ascii(key.key) if symbol_set is Symbols.ASCII else key.key
    return link(f" {name} ", key.action, "$footer-key-foreground bold") + link(
        f"{key.label} ", key.action, "$footer-description-foreground"
    )


def link(text: str, action: str, style: str = "$foreground") -> Content:
    """Return `text`, including its spaces, as a link to an action (see `Key.action`)."""
    click = Style.from_meta({"@click": action if action.startswith(("app.", "focused.")) else f"screen.{action}"})
    return Content(text, [Span(0, len(text), style), Span(0, len(text), click)])
