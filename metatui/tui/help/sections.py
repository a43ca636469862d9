"""Sections of the help: about the focused widget, and about keys, terms, algorithms and settings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from textual.dom import DOMNode
from textual.screen import Screen

from metatui.config.fields import FIELDS
from metatui.config.registry import ALGORITHMS
from metatui.config.settings import Settings
from metatui.learning.explanations import explanation
from metatui.tui.help.topics import TERMS, TOPICS, Topic
from metatui.tui.help.word_search import match, normalised
from metatui.tui.keyboard.actions import ACTIONS, AppContext, key_names, with_keys
from metatui.tui.widgets.form.fields import FormField, explained
from metatui.utils import paths


@dataclass(frozen=True)
class Line:
    """A help entry, which consists of a few short columns and a description."""

    columns: tuple[str, ...]
    text: str
    dim: bool = False
    name: str = ""
    """Name of the entry if `columns` does not contain it."""

    def contains(self, words: Sequence[str]) -> bool:
        return match(words, normalised(" ".join((*self.columns, self.text)))) > 0

    def name_score(self, words: Sequence[str]) -> float:
        """Return how well `words` match the columns and the name of the entry."""
        return match(words, normalised(" ".join((*self.columns, self.name))))


@dataclass(frozen=True)
class Section:
    title: str
    lines: Sequence[Line]

    def matching(self, words: Sequence[str]) -> Section:
        """Return the section with only the lines that contain `words`. Lines whose columns match best come first."""
        found = [line for line in self.lines if line.contains(words)]
        return Section(self.title, sorted(found, key=lambda line: line.name_score(words), reverse=True))


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
    yield from (section for section in key_sections(context) if section.title == _title(topic.group))


def key_sections(context: AppContext) -> Iterator[Section]:
    """Yield a section for each group of actions. Actions that are currently unavailable are dimmed."""
    for group, actions in groupby(ACTIONS, key=lambda action: action.group):
        yield Section(
            _title(group),
            [
                Line((key_names(action.keys), action.label), action.help, bool(action.refusal_reason(context)))
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


def algorithms() -> Section:
    """Return the section that summarises each algorithm. `metatui explain` describes an algorithm in detail."""
    explained = {each.title: explanation(Settings(), each.name) for each in ALGORITHMS.components()}
    return Section(
        "Algorithms",
        [Line((title,), f"{each.title.partition(': ')[2]}. {each.idea}") for title, each in explained.items()],
    )


def settings() -> Section:
    return Section(
        "Settings", [Line((path,), explained(setting), name=setting.label) for path, setting in FIELDS.items()]
    )
