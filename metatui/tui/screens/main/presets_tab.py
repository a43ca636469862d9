"""Tab with the list of presets: user presets, then bundled ones."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import ClassVar

from rich.text import Text
from textual import on, work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical, VerticalScroll
from textual.widgets import DataTable

from metatui.config import presets
from metatui.config.presets import Preset
from metatui.tui.actions import bindings_of
from metatui.tui.screens.main.header_footer import ContextChanged
from metatui.tui.screens.main.tables import fill
from metatui.tui.widgets.static_text import StaticText

EMPTY = "No presets. F2 saves the settings in the form as one."


class PresetsTab(Vertical):
    """A table of presets, and below it the source, protocol and results of the selected preset."""

    BINDINGS: ClassVar[list[BindingType]] = bindings_of("presets")

    def __init__(self) -> None:
        super().__init__(id="presets")
        self._presets: Sequence[Preset] = ()
        self._problems: Sequence[str] = ()

    def compose(self) -> ComposeResult:
        yield DataTable(id="presets-table", cursor_type="row")
        with VerticalScroll(id="preset-scroll", classes="details"):
            yield StaticText(EMPTY, id="preset-details")

    @property
    def table(self) -> DataTable[Text]:
        return self.query_one("#presets-table", DataTable)

    @property
    def selected(self) -> Preset | None:
        row = self.table.cursor_row
        return self._presets[row] if 0 <= row < len(self._presets) else None

    @work(exclusive=True, group="presets")
    async def reload(self, saved: str = "") -> None:
        """Read the presets again and select the user's preset `saved`, or keep the selection."""
        before = self.selected
        self._presets, self._problems = await asyncio.to_thread(
            lambda: ([*presets.user(), *presets.bundled()], presets.problems())
        )
        rows = {str(p.path): (p.name, "" if p.bundled else "yours", p.title) for p in self._presets}
        fill(self.table, ("Preset", "Whose", "What"), rows)
        for row, preset in enumerate(self._presets):
            if (preset.name == saved and not preset.bundled) or (not saved and before and preset.path == before.path):
                self.table.move_cursor(row=row)
        self._describe()

    @on(DataTable.RowHighlighted)
    def _describe(self) -> None:
        lines = describe(self.selected) if self.selected else [EMPTY]
        lines += [f"Cannot be used: {problem}" for problem in self._problems]
        self.query_one("#preset-details", StaticText).update("\n".join(lines))
        self.post_message(ContextChanged())

    @on(DataTable.RowSelected)
    def _load(self) -> None:
        self.app.call_later(self.app.run_action, "perform('load_preset')")


def describe(preset: Preset) -> list[str]:
    """Describe a preset in a few lines: title, source, protocol, published and measured numbers."""
    parts = {
        "": f"{preset.title or preset.name} ({'bundled' if preset.bundled else 'yours'})",
        "Source: ": preset.source,
        "Protocol: ": preset.protocol,
        "Published: ": preset.published or "",
        "Measured: ": preset.measured or "",
        "Notes: ": preset.notes,
    }
    return [name + text for name, text in parts.items() if text]
