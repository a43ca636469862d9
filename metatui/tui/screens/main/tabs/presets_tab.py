"""Tab with the list of presets and a preview of the selected one."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, cast

from textual import on, work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Container

from metatui.config import presets
from metatui.config.preset_groups import in_order
from metatui.config.presets import Preset
from metatui.tui.keyboard.actions import bindings_of, with_keys
from metatui.tui.screens.main.header_footer import ContextChanged
from metatui.tui.screens.main.tabs import preset_list
from metatui.tui.screens.main.tabs.list_tab import ListTab
from metatui.tui.screens.main.tabs.preset_preview import page
from metatui.tui.widgets.scroll_view import ScrollView
from metatui.tui.widgets.static_text import StatusLine
from metatui.tui.widgets.table import Table
from metatui.utils import paths

if TYPE_CHECKING:
    from metatui.tui.app import MetatuiApp

EMPTY = "No presets. {save_preset} saves the settings in the form as a preset."

NO_MATCH = "No preset contains these words. Press {leave} to show all presets again."


class PresetsTab(ListTab):
    """Shows the presets grouped by task, a preview of the selected preset, and the progress of a download."""

    BINDINGS: ClassVar[list[BindingType]] = bindings_of("presets")
    DEFAULT_CSS = """
    PresetsTab {
        & #presets-problems { height: 1; text-wrap: nowrap; text-overflow: ellipsis; }
        & StatusLine { height: auto; padding: 0 1; color: $text-muted; }
        & #presets-table.-beside { width: 11fr; }
        & #preset-preview.-beside { width: 9fr; }
    }
    """

    def __init__(self) -> None:
        super().__init__(id="presets", row="a preset")
        self.table = Table(preset_list.COLUMNS, id="presets-table")
        self.preview = ScrollView(id="preset-preview")
        self.preview.border_title = "Preset"
        self._presets: Sequence[Preset] = ()
        self._previewed: Path | None = None

    def compose(self) -> ComposeResult:
        yield self.filter
        yield StatusLine(id="presets-problems")
        yield StatusLine(id="download-state")
        with Container(classes="list-and-preview"):
            yield self.table
            yield self.preview

    @property
    def selected(self) -> Preset | None:
        return next((preset for preset in self._presets if str(preset.path) == self.table.selected), None)

    @work(exclusive=True, group="presets")
    async def reload(self, saved: str = "") -> None:
        """Read the presets again. Select the user's preset `saved` or, if `saved` is empty, keep the selection."""
        (own, problems), bundled = await asyncio.to_thread(lambda: (presets.user(), presets.bundled()))
        self._presets = in_order([*own, *bundled])
        self.query_one("#presets-problems", StatusLine).update(_summary(problems))
        self.fill()
        if saved:
            self.table.select(next((str(preset.path) for preset in own if preset.name == saved), ""))
        self.show_preview()
        self.post_message(ContextChanged())

    def fill(self) -> None:
        """Show the presets that contain the words of the filter."""
        listed = [preset for preset in self._presets if preset_list.contains(preset, self.words)]
        self.table.show(list(preset_list.rows(listed)), empty=with_keys(NO_MATCH if self._presets else EMPTY))
        shown = "" if len(listed) == len(self._presets) else f"{len(listed):,} of "
        self.table.border_title = f"{shown}{len(self._presets):,} presets"
        self.lay_out()

    def show_download(self, text: str) -> None:
        """Show `text` as the progress of a download. If `text` is empty, hide the progress."""
        self.query_one("#download-state", StatusLine).update(text)

    def show_preview(self) -> None:
        preset, form = self.selected, cast("MetatuiApp", self.app).form.assessment.settings
        if preset is None:
            self.preview.show(lambda width, theme: [], from_start=True)
            return
        self.preview.show(page(preset, form), from_start=preset.path != self._previewed)
        self._previewed = preset.path

    @on(Table.Clicked)
    def _clicked(self, event: Table.Clicked) -> None:
        if event.again:
            self.app.call_later(self.app.run_action, "perform('load_preset')")


def _summary(problems: Sequence[str]) -> str:
    """Return the number of unusable presets and the reason for the first one, or an empty string if there are none."""
    if not problems:
        return ""
    what = "A preset" if len(problems) == 1 else f"{len(problems):,} presets"
    first = problems[0].partition("; ")[0].replace(f"{paths.user_presets_dir()}/", "")
    return f"{what} cannot be used ('metatui presets' lists all reasons): {first}"
