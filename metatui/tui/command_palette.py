"""The command palette, which answers to keys for its list also where the list has no room."""

from __future__ import annotations

from contextlib import suppress

from textual.command import CommandPalette

from metatui.tui.screens.dialogs.dialog import OverScreen


class Palette(OverScreen, CommandPalette):
    """Textual's own, but for a page down in a terminal of a few rows, which ended the app."""

    def _action_command_list(self, action: str) -> None:
        with suppress(KeyError, IndexError, ZeroDivisionError):
            super()._action_command_list(action)
