"""Base class of the command providers. A command provider finds the commands that match a query."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple, cast

from textual.command import DiscoveryHit, Hit, Hits, Provider
from textual.content import Content
from textual.markup import escape
from textual.style import Style

from metatui.tui.help.word_search import match, normalised

if TYPE_CHECKING:
    from metatui.tui.app import MetatuiApp

MAX_HITS = 10
"""Maximum number of hits of one provider. After each key press, Textual draws all hits, at about 0.1 ms per hit."""

MAX_QUERY = 200
"""Number of characters of a query that the search uses. The rest, for example of a long pasted text, is ignored."""

NOT_NOW = "Not possible now. "
"""Beginning of the second line of an unavailable command. The reason why it is unavailable comes next."""

IN_NAME = 0.75
"""Lowest score that `match` returns for a name if each word of the query is the beginning of a word of the name."""


@dataclass(frozen=True)
class Command:
    """An entry of the palette."""

    name: str
    run: Callable[[], object]
    help: str = ""
    """Second line of the entry, which explains the command."""
    key: str = ""
    """Displayed names of the command's keys, or an empty string if it has no keys."""
    words: str = ""
    """Words by which the command is found, in addition to its name."""
    refused: bool = False
    """True if the command is unavailable now. Unavailable commands are listed after available ones."""


class _Entry(NamedTuple):
    """A command with its name and further words, normalised for the search."""

    command: Command
    name: str
    words: str

    def score(self, words: Sequence[str]) -> float:
        """Return how well `words` match the command. The score is highest if the name contains all of them."""
        return match(words, self.name) or (match(words, self.name + self.words) / 2 if self.words else 0.0)


class CommandProvider(Provider):
    """Finds commands by the words of the query instead of with Textual's fuzzy search, which is slow for long names."""

    rank: ClassVar[float]
    """Priority of the provider's commands over equally good matches of other providers, from 0 to 1."""

    @property
    def metatui(self) -> MetatuiApp:
        return cast("MetatuiApp", self.app)

    async def commands(self) -> Sequence[Command]:
        """Return all commands."""
        raise NotImplementedError

    def commands_for(self, query: str) -> Iterable[tuple[float, Command]]:
        """Return additional commands that depend on the query, with their scores."""
        del query
        return ()

    async def startup(self) -> None:
        self._entries: Sequence[_Entry] | None = None

    async def search(self, query: str) -> Hits:
        if self._entries is None:
            self._entries = [
                _Entry(command, normalised(command.name), normalised(command.words))
                for command in await self.commands()
            ]
        query = query[:MAX_QUERY]
        # Textual would look up the style and parse the markup of each hit, after each key.
        help_style = Style.from_styles(self.app.screen.get_component_styles("command-palette--help-text"))
        words = normalised(query).split()
        found = ((entry.score(words), entry.command) for entry in self._entries)
        scored = ((self._score(*item), item[1]) for item in (*self.commands_for(query), *found) if item[0])
        for score, command in heapq.nlargest(MAX_HITS, scored, key=lambda item: item[0]):
            display = _display(command)
            for word in words:
                start = command.name.lower().find(word)
                if start >= 0 and self.match_style:
                    display = display.stylize(self.match_style, start, start + len(word))
            if command.help:
                display = Content.assemble(display, "\n", (command.help, help_style))
            yield Hit(score, display, command.run, command.name)

    def _score(self, matched: float, command: Command) -> float:
        """Return a score that sorts commands by how well they match, with available commands before unavailable ones.

        An unavailable command whose name contains all words of the query still comes before commands that hardly match.
        """
        return 2 * (matched >= IN_NAME) + (not command.refused) + (matched + self.rank / 10) / 2


def discovery(command: Command) -> DiscoveryHit:
    """Return the entry that the palette shows for a command before the user has typed anything."""
    return DiscoveryHit(_display(command), command.run, command.name, escape(command.help))


def _display(command: Command) -> Content:
    return Content.assemble(command.name, (f"   {command.key}", "$footer-key-foreground") if command.key else "")
