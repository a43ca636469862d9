"""The command palette."""

from __future__ import annotations

from contextlib import suppress

from textual.command import CommandPalette


class Palette(CommandPalette):
    """Textual's palette, without its error on page down in a terminal of a few rows."""

    def _action_command_list(self, action: str) -> None:
        with suppress(KeyError, IndexError, ZeroDivisionError):
            super()._action_command_list(action)
