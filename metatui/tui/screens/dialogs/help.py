"""Help on the focused widget, and on all keys, terms and settings, with a search."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from functools import partial
from itertools import zip_longest
from typing import ClassVar

from rich.segment import Segment
from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.events import Key
from textual.widgets import Input

from metatui.tui.help.sections import Line, Section, algorithms, change_keys, key_sections, settings
from metatui.tui.help.topics import ABOUT, TERMS, TOPICS
from metatui.tui.help.word_search import normalised
from metatui.tui.keyboard.actions import AppContext, with_keys
from metatui.tui.screens.dialogs.dialog import Dialog
from metatui.tui.terminal.symbols import Symbols
from metatui.tui.widgets.charts.chart_theme import ChartTheme, symbols_of
from metatui.tui.widgets.charts.row_widget import Row
from metatui.tui.widgets.scroll_view import ScrollView
from metatui.tui.widgets.text_input import Entry

NOTHING_FOUND = Section("", [Line((), "The help does not contain these words.")])


class HelpScreen(Dialog[None]):
    """Help dialog that shows the sections in `opening`, followed by all keys, panes and terms.

    The search also finds algorithms and settings.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        ("escape,q", "dismiss", "Close"),
        ("slash", "search", "Search"),
        ("up", "scroll_rows(-1)", "Up"),
        ("down", "scroll_rows(1)", "Down"),
        ("pageup", "scroll_pages(-1)", "Page up"),
        ("pagedown", "scroll_pages(1)", "Page down"),
    ]

    def __init__(self, opening: Sequence[Section], context: AppContext) -> None:
        super().__init__()
        topics = (ABOUT, *TOPICS.values())
        panes = Section("Panes and screens", [Line((topic.title,), with_keys(topic.text)) for topic in topics])
        terms = Section("Terms", [Line((name,), text) for name, text in TERMS.items()])
        keys = (section for section in (*key_sections(context), change_keys()) if section not in opening)
        self.sections = [*opening, *keys, panes, terms]

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog dialog-wide dialog-tall") as dialog:
            dialog.border_title = "Help"
            yield Entry(placeholder="Press / to search for a key, a setting or a term", id="help-search")
            yield ScrollView(id="help-page")

    def on_mount(self) -> None:
        ascii_only = symbols_of(self) is Symbols.ASCII
        keys = "up and down scroll, / searches, " if ascii_only else "↑ ↓ scroll · / searches · "
        self.query_one(".dialog", Vertical).border_subtitle = f"{keys}escape closes"
        self.query_one(Entry).select_on_focus = False  # or the focus would select the letter that starts the search
        self._page.focus()
        self._show(self.sections)

    def on_key(self, event: Key) -> None:
        """Start a search when a letter or digit, except q, is typed outside the search field. q closes the help."""
        if self._page.has_focus and event.character and event.character.isalnum() and event.key != "q":
            event.stop()
            search = self.query_one(Entry)
            search.value += event.character
            search.cursor_position = len(search.value)
            self.action_search()

    @property
    def _page(self) -> ScrollView:
        return self.query_one("#help-page", ScrollView)

    def action_search(self) -> None:
        self.query_one(Input).focus()

    def action_scroll_rows(self, by: int) -> None:
        self._page.action_scroll_rows(by)

    def action_scroll_pages(self, by: int) -> None:
        self._page.action_scroll_pages(by)

    @on(Input.Changed)
    def _search(self, event: Input.Changed) -> None:
        self._show(self.search(event.value) if normalised(event.value).strip() else self.sections)

    def search(self, text: str) -> list[Section]:
        """Return the entries that contain the words of `text`, grouped by section, with the best matches first."""
        words = normalised(text).split()
        searched = (section.matching(words) for section in (*self.sections, algorithms(), settings()))
        found = [section for section in searched if section.lines]
        found.sort(key=lambda section: section.lines[0].name_score(words), reverse=True)
        return found or [NOTHING_FOUND]

    @on(Input.Submitted)
    def _to_page(self) -> None:
        self._page.focus()

    def _show(self, sections: Sequence[Section]) -> None:
        self._page.show(partial(page, sections), from_start=True)


def page(sections: Sequence[Section], width: int, theme: ChartTheme) -> list[Row]:
    """Lay out sections with the columns of their lines aligned."""
    rows: list[Row] = []
    for section in sections:
        rows += [[]] if rows else []
        rows.append([Segment(theme.printable(section.title), theme.title)])
        columns = zip_longest(*(line.columns for line in section.lines), fillvalue="")
        widths = [max(map(len, column)) + 2 for column in columns]
        for line in section.lines:
            lead = "  " + "".join(f"{text:<{size}}" for text, size in zip(line.columns, widths, strict=False))
            style = theme.muted if line.dim else theme.text
            for text in textwrap.wrap(theme.printable(line.text), max(20, width - len(lead)), break_on_hyphens=False):
                rows.append([Segment(lead + text, style)])
                lead = " " * len(lead)
    return rows
