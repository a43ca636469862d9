"""Help on the focused widget, and on all keys, terms and settings, with a search."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby, zip_longest
from typing import ClassVar

from rich.segment import Segment
from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.dom import DOMNode
from textual.events import Key
from textual.screen import Screen
from textual.widgets import Input

from metatui.config.fields import FIELDS
from metatui.config.registry import ALGORITHMS
from metatui.config.settings import Settings
from metatui.learning.explanations import explanation
from metatui.tui.help.topics import ABOUT, TERMS, TOPICS, Topic
from metatui.tui.help.word_search import match, normalised
from metatui.tui.keyboard.actions import ACTIONS, AppContext, key_names, with_keys
from metatui.tui.screens.dialogs.dialog import Dialog
from metatui.tui.terminal.symbols import Symbols
from metatui.tui.widgets.charts.chart_theme import ChartTheme, symbols_of
from metatui.tui.widgets.charts.row_widget import Row
from metatui.tui.widgets.form.fields import FormField, explained
from metatui.tui.widgets.scroll_view import ScrollView
from metatui.tui.widgets.text_input import Entry
from metatui.utils import paths


@dataclass(frozen=True)
class Line:
    """A help entry, which consists of a few short columns and a text."""

    columns: tuple[str, ...]
    text: str
    dim: bool = False

    def contains(self, words: Sequence[str]) -> bool:
        return match(words, normalised(" ".join((*self.columns, self.text)))) > 0

    def named(self, words: Sequence[str]) -> float:
        """Return how well `words` match the columns, which contain the name of the entry."""
        return match(words, normalised(" ".join(self.columns)))


@dataclass(frozen=True)
class Section:
    title: str
    lines: Sequence[Line]

    def matching(self, words: Sequence[str]) -> Section:
        """Return the section with only the lines that contain `words`. Lines whose columns match best come first."""
        found = [line for line in self.lines if line.contains(words)]
        return Section(self.title, sorted(found, key=lambda line: line.named(words), reverse=True))


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
        keys = (section for section in (*_keys(context), change_keys()) if section not in opening)
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
        self._show(self.found(event.value) if normalised(event.value).strip() else self.sections)

    def found(self, text: str) -> list[Section]:
        """Return the entries that contain the words of `text`, grouped by section, with the best matches first."""
        words = normalised(text).split()
        searched = (section.matching(words) for section in (*self.sections, _algorithms(), _settings()))
        found = [section for section in searched if section.lines]
        found.sort(key=lambda section: section.lines[0].named(words), reverse=True)
        return found or [NOTHING_FOUND]

    @on(Input.Submitted)
    def _to_page(self) -> None:
        self._page.focus()

    def _show(self, sections: Sequence[Section]) -> None:
        self._page.show(partial(page, sections), from_start=True)


def sections_about(node: DOMNode, context: AppContext) -> Sequence[Section]:
    """Return the sections that explain a focused widget: its setting, and the panes and the screen that contain it."""
    sections: list[Section] = []
    for place in node.ancestors_with_self:
        if isinstance(place, FormField):
            sections.append(Section(f"Setting {place.setting.path}", [Line((), explained(place.setting))]))
        if topic := TOPICS.get(f"#{place.id}") or TOPICS.get(type(place).__name__):
            sections += sections_of(topic, context)
        if isinstance(place, Screen) and place.is_modal:
            sections.append(Section("Keys", list(_keys_of(place))))
    return sections


def _keys_of(screen: Screen[object]) -> Iterator[Line]:
    keys: dict[str, list[str]] = {}
    sentences: dict[str, str] = {}
    for key, active in screen.active_bindings.items():
        if active.node is screen and active.binding.show:
            keys.setdefault(active.binding.description, []).append(key)
            sentences.setdefault(active.binding.description, active.binding.tooltip)
    for name, own in keys.items():
        shown = key_names(",".join(own))
        yield Line((shown, name), sentences[name]) if sentences[name] else Line((shown,), name)


def sections_of(topic: Topic, context: AppContext) -> Iterator[Section]:
    """Yield the sections about a pane or a screen: its description, its terms and its keys."""
    terms = [Line((name,), TERMS[name]) for name in topic.terms]
    yield Section(topic.title, [Line((), with_keys(topic.text)), *terms])
    yield from (section for section in _keys(context) if section.title == _title(topic.group))


def _keys(context: AppContext) -> Iterator[Section]:
    """Yield a section for each group of actions. Actions that are currently unavailable are dimmed."""
    for group, actions in groupby(ACTIONS, key=lambda action: action.group):
        yield Section(
            _title(group),
            [
                Line((key_names(action.keys), action.label), action.help, bool(action.refuse(context)))
                for action in actions
            ],
        )


def changed_in_form(source: str, changed: Sequence[tuple[str, str]]) -> list[Section]:
    """Return a list with a section about the settings that were changed in the form, or an empty list if none were."""
    lines = [Line((label,), values) for label, values in changed]
    return [Section(f"Settings in the form that differ from {source}", lines)] if lines else []


def change_keys() -> Section:
    """Return the section that explains how to change keys."""
    text = (
        f"You can change keys in the keymap {paths.short(paths.keymap_file())}, a text file that you create. Each line "
        'is one key binding, such as start = "f5,ctrl+e". The app reads your keys from this file when it starts. '
        "The command 'metatui keys' lists the names of all actions, with their keys."
    )
    return Section("Change keys", [Line((), text)])


def _title(group: str) -> str:
    return f"Keys: {group}"


def _algorithms() -> Section:
    """Return the section that summarises each algorithm. `metatui explain` describes an algorithm in detail."""
    explained = {each.title: explanation(Settings(), each.name) for each in ALGORITHMS.components()}
    return Section(
        "Algorithms",
        [Line((title,), f"{each.title.partition(': ')[2]}. {each.idea}") for title, each in explained.items()],
    )


def _settings() -> Section:
    return Section("Settings", [Line((path,), explained(setting)) for path, setting in FIELDS.items()])


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
