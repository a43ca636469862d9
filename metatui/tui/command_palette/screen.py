"""Screen of the command palette."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, cast

from textual import on, work
from textual.command import CommandList, CommandPalette
from textual.widgets import Input, OptionList
from textual.widgets.option_list import Option
from textual.worker import WorkerError

from metatui.tui.command_palette.actions import ActionCommands
from metatui.tui.command_palette.help import HelpCommands
from metatui.tui.command_palette.lists import ExplanationCommands, PresetCommands, RunCommands
from metatui.tui.command_palette.provider import CommandProvider
from metatui.tui.command_palette.settings import SettingCommands
from metatui.tui.screens.overlay import Overlay

if TYPE_CHECKING:
    from metatui.tui.app import MetatuiApp

TYPING_SECONDS = 0.1
"""Seconds to wait before a search if further keys are waiting."""

NOTHING_HERE = "No matches here. To search settings, presets and runs, close this screen first (esc)."


class Palette(CommandPalette, Overlay[None]):
    """Searches actions, settings, presets, runs and the help.

    If it is opened above another screen, it searches only the actions of that screen and the help.
    """

    def __init__(self, *, over_tabs: bool) -> None:
        providers: list[type[CommandProvider]] = [ActionCommands, HelpCommands]
        placeholder = "An action of this screen, or a term"
        if over_tabs:
            providers += [SettingCommands, PresetCommands, ExplanationCommands, RunCommands]
            placeholder = "An action, a preset, a run, a term, or a setting, such as inner lr 0.05"
        super().__init__(providers, placeholder=placeholder)
        self._over_tabs = over_tabs

    @work(exclusive=True, group=CommandPalette._GATHER_COMMANDS_GROUP)
    async def _gather_commands(self, search_value: str) -> None:
        """Search for commands, but not while the user types faster than the app can search and draw the results."""
        if cast("MetatuiApp", self.app).has_waiting_keys:
            await asyncio.sleep(TYPING_SECONDS)  # the next character cancels this search
        gather = CommandPalette._gather_commands.__wrapped__  # type: ignore[attr-defined]
        await gather(self, search_value)

    def _start_no_matches_countdown(self, search_value: str) -> None:
        """Show a message after a short delay if the search finds nothing.

        If the palette is open above another screen, the message says where the user can search for more.
        """
        super()._start_no_matches_countdown(search_value)
        if not self._over_tabs and search_value:
            self._stop_no_matches_countdown()
            self._no_matches_timer = self.set_timer(self._NO_MATCHES_COUNTDOWN, self._show_no_matches)

    def _show_no_matches(self) -> None:
        self.query_one(CommandList).add_option(Option(NOTHING_HERE, id=self._NO_MATCHES, disabled=True))
        self._list_visible = True

    @on(Input.Submitted)
    async def _finish_search(self, event: Input.Submitted) -> None:
        """Wait for the results of the typed query when Enter is pressed, and select the highlighted result.

        Without waiting, Textual would select a result of an earlier query.
        """
        for worker in self.workers:
            if worker.group == self._GATHER_COMMANDS_GROUP and worker.node is self and not worker.is_finished:
                with suppress(WorkerError):  # escape closes the palette and cancels the search
                    await worker.wait()
        self._ignore_repeated_enter(event)
        entries = self.query_one(CommandList)
        if self.is_active and self._list_visible and (option := entries.highlighted_option) and not option.disabled:
            # Textual would post a message to the list. The next key would arrive before it, and get lost.
            event.stop().prevent_default()
            self._select_command(OptionList.OptionSelected(entries, option, entries.highlighted or 0))

    @on(OptionList.OptionSelected)
    def _ignore_repeated_enter(self, event: Input.Submitted | OptionList.OptionSelected) -> None:
        """Ignore Enter while the palette is closing. Otherwise, Textual would close the screen below."""
        if not self.is_active:
            event.prevent_default()

    def _action_command_list(self, action: str) -> None:
        # Textual raises these errors on page down in a terminal of a few rows.
        with suppress(KeyError, IndexError, ZeroDivisionError):
            super()._action_command_list(action)
