"""Tab with the list of runs and a preview of the selected one."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Container

from metatui.runs.storage.store import RunStore
from metatui.runs.storage.summary import RunSummary
from metatui.tui.keyboard.actions import bindings_of, with_keys
from metatui.tui.model.run_colours import RunColours
from metatui.tui.screens.main.header_footer import ContextChanged
from metatui.tui.screens.main.tabs.list_tab import ListTab
from metatui.tui.screens.main.tabs.run_list import (
    COLUMNS,
    MARK,
    ListedRun,
    Order,
    is_live,
    listed_runs,
)
from metatui.tui.screens.main.tabs.run_preview import RunDetails, page, read_details
from metatui.tui.widgets.scroll_view import ScrollView
from metatui.tui.widgets.table import Table
from metatui.utils.text import format_count

UPDATE_EVERY = 2.0
"""Seconds between updates of the list."""

EMPTY = "No runs yet. Go to the work tab ({tab_work}) and start one ({start})."
NO_MATCH = "No run contains these words. Press {leave} to show all runs again."


class RunsTab(ListTab):
    """Shows the list of runs and a preview of the selected run, which is read from disk when the run is selected."""

    SHORT_LIST_ABOVE = True
    BINDINGS: ClassVar[list[BindingType]] = bindings_of("runs")
    DEFAULT_CSS = """
    RunsTab {
        & #runs-table.-beside { width: 5fr; }
        & #run-preview.-beside { width: 3fr; }
    }
    """

    def __init__(self, store: RunStore, colours: RunColours) -> None:
        super().__init__(id="runs", row="a run")
        self.store = store
        self._colours = colours
        self.table = Table(COLUMNS, id="runs-table")
        self.preview = ScrollView(id="run-preview")
        self.preview.border_title = "Run"
        self.marked: list[str] = []
        """Names of the marked runs, in the order in which they were marked."""
        self._all: Mapping[str, ListedRun] = {}
        """All runs, newest first, keyed by the name of the run's folder."""
        self._listed: Sequence[ListedRun] = ()
        """The runs that match the filter, in the order of the list."""
        self.order = Order()
        self._reading = asyncio.Lock()
        """Lock that allows one read at a time, so that the newest result is shown last."""
        self._wanted = ""
        """Name of a run to select as soon as it is listed, unless the user moves the cursor. Empty if there is none."""
        self._placed = ""
        """Name of the run that the app selected. If another run is selected, the user has moved the cursor."""
        self._moved = False
        self._previewed: RunSummary | None = None
        self._details = RunDetails()
        """Details of the previewed run."""
        self._is_reading_details = False

    def compose(self) -> ComposeResult:
        yield self.filter
        with Container(classes="list-and-preview"):
            yield self.table
            yield self.preview

    def on_mount(self) -> None:
        self.set_interval(UPDATE_EVERY, self.update)

    @property
    def selected(self) -> RunSummary | None:
        listed = self._all.get(self.table.selected or "")
        return listed.run if listed else None

    @property
    def listed(self) -> list[RunSummary]:
        """The runs that match the filter, in the order of the list."""
        return [each.run for each in self._listed]

    @property
    def marked_runs(self) -> list[RunSummary]:
        by_id = {each.id: each.run for each in self._all.values()}
        return [by_id[run_id] for run_id in self.marked]

    def reload_on_open(self) -> None:
        """Reload the list when the tab is opened."""
        self._moved, self._placed = False, self._selected_id
        self._select_wanted()
        self.reload()

    def go_to(self, run_id: str) -> None:
        """Read the list again and select a run.

        If the user has moved the cursor since the tab was opened, the run is selected when the tab is opened again.

        Args:
            run_id: name of the run to select. If it is empty, because the run has no folder yet, the selection is kept.
        """
        self._wanted = run_id or self._wanted
        if not self.display:
            self._moved, self._placed = False, self._selected_id
        self._select_wanted()  # not only after the read, because the next key may resume the selected run
        self.reload()

    @property
    def _selected_id(self) -> str:
        return self.selected.id if self.selected else ""

    def _notice_moved_cursor(self) -> None:
        self._moved = self._moved or (self.selected is not None and self.selected.id != self._placed)

    def _select_wanted(self) -> None:
        self._notice_moved_cursor()
        key = next((each.key for each in self._listed if each.id == self._wanted), None)
        if key is not None and not self._moved:
            self.table.select(key)
            self._wanted = ""
            self._placed = self._selected_id

    @work(group="runs")
    async def reload(self) -> None:
        """Read the list again and keep the selected run."""
        await self._read_runs()
        self.fill()

    async def update(self) -> None:
        """If the tab is visible, show changes made by other processes, such as runs that were started or deleted."""
        if not self.display or self.app.screen is not self.screen:
            return
        if await self._read_runs():
            self.fill(in_place=True)
        run = self._previewed
        if run and is_live(run) and run.activity and not self._is_reading_details:
            self._read_details()  # the number of tested tasks is not in a file

    async def _read_runs(self) -> bool:
        """Read the runs again. Return whether anything has changed."""
        async with self._reading:
            before = self._all
            self._all = await asyncio.to_thread(lambda: listed_runs(self.store.summaries(), before))
        known = {each.id for each in self._all.values()}
        self.marked = [run_id for run_id in self.marked if run_id in known]
        return list(self._all.values()) != list(before.values())

    def mark_selected(self) -> None:
        """Mark or unmark the selected run."""
        if run := self.selected:
            (self.marked.remove if run.id in self.marked else self.marked.append)(run.id)

    def mark_all(self) -> None:
        """Mark all listed runs. If they are all marked already, unmark all runs."""
        marked = set(self.marked)
        new = [each.id for each in self._listed if each.id not in marked]
        self.marked = [*self.marked, *new] if new else []

    def sort(self, order: Order) -> None:
        self.order = order
        self.fill()
        if order.column not in self.table.visible_columns:
            way = "descending" if order.descends else "ascending"
            self.notify(f"Sorted by {COLUMNS[order.column].title.lower()}, {way}.")

    @property
    def count(self) -> int:
        """Number of runs when the list was last read."""
        return len(self._all)

    def fill(self, *, in_place: bool = False) -> None:
        """Show the runs that contain the words of the filter.

        Args:
            in_place: whether to keep the scroll position (see `Table.show`).
        """
        self._notice_moved_cursor()
        self._listed = self.order.sorted([each for each in self._all.values() if each.contains(self.words)])
        self._colours.of(self.marked)
        marks = {run_id: number for number, run_id in enumerate(self.marked, 1)}
        with_seed = len({each.run.seed for each in self._listed} - {None}) > 1
        self.table.show(
            [
                each.item(marks.get(each.id), self._colours.known(each.id) or "", with_seed=with_seed)
                for each in self._listed
            ],
            empty=with_keys(NO_MATCH if self._all else EMPTY),
            order=(self.order.column, self.order.descends),
            in_place=in_place,
        )
        self._placed = self._selected_id
        self._select_wanted()
        self.table.border_title = self._title()
        self.lay_out()
        self.show_preview()
        self.post_message(ContextChanged())

    def _title(self) -> str:
        count, listed = len(self._all), len(self._listed)
        runs = format_count(count, "run")
        shown = runs if listed == count else f"{listed:,} of {runs}"
        return f"{shown}, {len(self.marked):,} marked" if self.marked else shown

    def show_preview(self) -> None:
        """Show the summary of the selected run and start reading its details, unless the tab is hidden."""
        run = self.selected
        if self.display and run != self._previewed:
            same = run is not None and self._previewed is not None and run.run == self._previewed.run
            self._details = self._details if same else RunDetails()
            self._draw_preview(run, from_start=not same)
            if not self._is_reading_details:
                self._read_details()

    def _draw_preview(self, run: RunSummary | None, *, from_start: bool = False) -> None:
        self._previewed = run
        if run is None:
            self.preview.show(lambda width, theme: [], from_start=True)
        else:
            preview = page(run, self._details, lambda: self.preview.size.height)
            self.preview.show(preview, from_start=from_start)

    @work(group="preview")
    async def _read_details(self) -> None:
        """Read the details of the previewed run. If the user selects another run in the meantime, read that run next.

        Only one run is read at a time. Runs that the cursor passes while another run is being read are skipped.
        """
        self._is_reading_details = True
        try:
            read = None
            while (run := self._previewed) is not read and run is not None:
                details = await asyncio.to_thread(read_details, run)
                read = run
                if self._previewed is run:
                    self._details = details
                    self._draw_preview(run)
        finally:
            self._is_reading_details = False

    @on(Table.Clicked)
    def _clicked(self, event: Table.Clicked) -> None:
        if event.column == MARK:
            self._perform("mark_run")
        elif event.again:
            self._perform("open_run")

    @on(Table.TitleClicked)
    def _title_clicked(self, event: Table.TitleClicked) -> None:
        if event.column == MARK:
            self._perform("mark_all_runs")
        else:
            self.sort(self.order.by(event.column))

    def _perform(self, action: str) -> None:
        self.app.call_later(self.app.run_action, f"perform('{action}')")
