"""Provider of commands that open help topics."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from metatui.tui.command_palette.provider import Command, CommandProvider
from metatui.tui.help.sections import Line, Section, change_keys, sections_of
from metatui.tui.help.topics import TERMS, TOPICS
from metatui.tui.screens.dialogs.help import HelpScreen


class HelpCommands(CommandProvider):
    """Provides commands that open the help on a pane, a screen, a term or the keys."""

    rank = 0.2

    async def commands(self) -> Sequence[Command]:
        context = self.metatui.context
        sections = {topic.title: list(sections_of(topic, context)) for topic in TOPICS.values()}
        terms = {name: [Section(name, [Line((), text)])] for name, text in TERMS.items()}
        keys = change_keys()
        return [
            *(
                Command(f"Help: {title}", partial(self._open, opening), opening[0].lines[0].text)
                for title, opening in (terms | sections).items()
            ),
            Command(f"Help: {keys.title}", partial(self._open, [keys]), keys.lines[0].text, words=keys.lines[0].text),
        ]

    def _open(self, opening: Sequence[Section]) -> None:
        self.app.call_later(self.app.push_screen, HelpScreen(opening, self.metatui.context))
