"""The command palette."""

from __future__ import annotations

from contextlib import suppress

from textual.command import CommandPalette


class Palette(CommandPalette):
    """Textual's palette, fixed for terminals of a few rows, where a page down raises an error."""

    def _action_command_list(self, action: str) -> None:
        with suppress(KeyError, IndexError, ZeroDivisionError):
            super()._action_command_list(action)
