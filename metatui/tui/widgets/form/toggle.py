"""A switch that says in words whether it is on: also without colour, and in one row."""

from __future__ import annotations

from textual.geometry import Size
from textual.widgets import Switch


class Toggle(Switch):
    """Enter, space or a click turns it."""

    DEFAULT_CSS = """
    Toggle, Toggle:focus, Toggle:hover { border: none; padding: 0 1; height: 1; width: 9; background: $boost; }
    Toggle:focus { text-style: bold reverse; }
    """

    def render(self) -> str:
        return "(x) on" if self.value else "( ) off"

    def get_content_width(self, container: Size, viewport: Size) -> int:
        return len("( ) off")

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        return 1
