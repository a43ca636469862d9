"""The topics of the help as commands."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from metatui.tui.command_palette.provider import Command, CommandProvider
from metatui.tui.help_topics import TERMS, TOPICS
from metatui.tui.screens.dialogs.help import HelpScreen, Line, Section, sections_of


class HelpCommands(CommandProvider):
    """Provides the panes, screens and terms that the help explains."""

    rank = 0.2

    async def commands(self) -> Sequence[Command]:
        context = self.metatui.context
        sections = {topic.title: list(sections_of(topic, context)) for topic in TOPICS.values()}
        terms = {name: [Section(name, [Line((), text)])] for name, text in TERMS.items()}
        return [
            Command(f"Help: {title}", partial(self._open, opening), opening[0].lines[0].text)
            for title, opening in (terms | sections).items()
        ]

    def _open(self, opening: Sequence[Section]) -> None:
        self.app.call_later(self.app.push_screen, HelpScreen(opening, self.metatui.context))
