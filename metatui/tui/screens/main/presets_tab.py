"""The presets: the user's own, then those that come with metatui."""

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
from metatui.tui.screens.dialogs.confirm import ConfirmScreen
from metatui.tui.screens.main.messages import PresetChosen, RowChanged
from metatui.tui.screens.main.tables import fill
from metatui.tui.widgets.static_text import StaticText
from metatui.utils.errors import MetatuiError

EMPTY = "No presets. F2 saves what is in the form as one."


class PresetsTab(Vertical):
    """A table of presets, and below it source, protocol, published and measured numbers of the one under the cursor."""

    BINDINGS: ClassVar[list[BindingType]] = bindings_of("presets")

    def __init__(self) -> None:
        super().__init__(id="presets")
        self._shown: Sequence[Preset] = ()
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
        return self._shown[row] if 0 <= row < len(self._shown) else None

    @work(exclusive=True, group="presets")
    async def reload(self, saved: str = "") -> None:
        """Read the presets again, with the cursor on the own one called `saved`, or kept on the one it is on."""
        found, problems = await asyncio.to_thread(lambda: ([*presets.user(), *presets.bundled()], presets.problems()))
        self._fill(found, problems)
        names = ["" if preset.bundled else preset.name for preset in found]
        if saved in names and saved:
            self.table.move_cursor(row=names.index(saved))

    def action_load_preset(self) -> None:
        if preset := self.selected:
            self.post_message(PresetChosen(preset))

    @work
    async def action_delete_preset(self) -> None:
        preset = self.selected
        if preset is None:
            return
        question = f"Delete your preset {preset.name}? This cannot be undone."
        if not await self.app.push_screen_wait(ConfirmScreen("Delete preset", question, yes="Delete")):
            return
        try:
            presets.delete(preset.name)
        except MetatuiError as error:
            self.notify(f"{error}.", severity="error")
        self.reload()

    def _fill(self, found: Sequence[Preset], problems: Sequence[str]) -> None:
        before = self.selected
        self._shown, self._problems = found, problems
        rows = {str(preset.path): (preset.name, "" if preset.bundled else "yours", preset.title) for preset in found}
        fill(self.table, ("Preset", "Whose", "What"), rows)
        names = [preset.path for preset in found]
        if before and before.path in names:
            self.table.move_cursor(row=names.index(before.path))
        self._describe()

    def _describe(self) -> None:
        lines = describe(self.selected) if self.selected else [EMPTY]
        lines += [f"Cannot be used: {problem}" for problem in self._problems]
        self.query_one("#preset-details", StaticText).say("\n".join(lines))
        self.post_message(RowChanged())

    @on(DataTable.RowHighlighted)
    def _highlighted(self) -> None:
        self._describe()

    @on(DataTable.RowSelected)
    def _selected(self) -> None:
        self.app.call_later(self.app.run_action, "perform('load_preset')")


def describe(preset: Preset) -> list[str]:
    """What a preset is, where it comes from, how it is measured, and what came out."""
    parts = {
        "": f"{preset.title or preset.name} ({_whose(preset)})",
        "Source: ": preset.source,
        "Protocol: ": preset.protocol,
        "Published: ": preset.published or "",
        "Measured: ": preset.measured or "",
        "Notes: ": preset.notes,
    }
    return [name + text for name, text in parts.items() if text]


def _whose(preset: Preset) -> str:
    return "bundled" if preset.bundled else "yours"
