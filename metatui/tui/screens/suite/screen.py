"""Screen that lists suites, starts, watches and stops them, and compares their runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import ModalScreen

from metatui.runs.storage.store import RunStore
from metatui.runs.suites import (
    PlannedRun,
    Suite,
    SuiteManifest,
    SuiteMonitor,
    SuiteStatus,
    background,
    bundled,
    user,
    user_dir,
)
from metatui.runs.suites.files import bundled_dir, read
from metatui.runs.suites.status import comparable, comparison_of
from metatui.tui.keyboard.actions import with_keys
from metatui.tui.screens.dialogs.confirm import ConfirmScreen
from metatui.tui.screens.dialogs.prompt import AskScreen
from metatui.tui.screens.suite.progress import (
    RUN_COLUMNS,
    SUITE_COLUMNS,
    Description,
    SuiteProgress,
    describe_suite,
    failures,
    run_rows,
    suite_row,
)
from metatui.tui.terminal.symbols import GLYPHS
from metatui.tui.widgets.charts.chart_theme import symbols_of
from metatui.tui.widgets.key_line import Key, KeyLine
from metatui.tui.widgets.static_text import StaticText, StatusLine
from metatui.tui.widgets.table import Table
from metatui.utils import paths
from metatui.utils.errors import MetatuiError
from metatui.utils.text import format_count

POLL_SECONDS = 1.0
"""Seconds between updates of the selected suite."""

BUSY: Final = (
    "A run is in progress, and two runs at once would distort each other's times. Close this screen and stop the run "
    "({stop}), or wait until it ends."
)

START: Final = Key("F5", "Start", "start")
RESUME: Final = Key("F5", "Resume", "start")
STOP: Final = Key("F7", "Stop", "stop")
KEYS: Final = (
    Key("c", "Compare", "compare"),
    Key("Tab", "Suites/runs", "app.focus_next"),
    Key("o", "Other file", "other"),
    Key("Esc", "Close", "dismiss"),
)


@dataclass
class ListedSuite:
    """A suite in the list."""

    suite: Suite
    own: bool
    """True if the suite is one of the user's, False if it is bundled with metatui."""
    monitor: SuiteMonitor
    status: SuiteStatus | None = None
    """Status of the suite, or None until its runs have been read."""


class SuiteScreen(ModalScreen[None]):
    """Lists suites, and the runs of the selected one. Suites run in the background, even when the screen is closed."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "dismiss", "Close", tooltip="Close the list of suites. A running suite continues."),
        Binding("f5,s", "start", "Start", tooltip="Train the runs of the suite, or resume a stopped suite."),
        Binding("f7,x", "stop", "Stop", tooltip="Stop the suite and save the run in progress."),
        Binding("c", "compare", "Compare", tooltip="Compare the runs of the suite on the same held-out tasks."),
        Binding("o", "other", "Other file", tooltip="Open another suite from its TOML file."),
        Binding("enter", "choose", "Choose", tooltip="Go from a suite to its runs, or from its runs to a comparison."),
    ]
    DEFAULT_CSS = """
    SuiteScreen { layout: vertical; background: $background; align: left top; }
    SuiteScreen Table { padding: 0 1; }
    SuiteScreen #suite-title { padding: 0 1; text-style: bold; }
    SuiteScreen #suite-state { padding: 0 1; max-height: 4; }
    """

    def __init__(self, store: RunStore, training: Callable[[], bool]) -> None:
        """Create the screen.

        Args:
            training: function that returns whether the app has a run in progress.
        """
        super().__init__()
        self.VERTICAL_BREAKPOINTS = [(0, "-low"), (36, "-high")]
        self._store = store
        self._training = training
        self._suites: dict[str, ListedSuite] = {}
        """The listed suites, keyed by the path of the suite's file."""
        self._problems: Sequence[str] = ()
        self._reading = asyncio.Lock()

    def compose(self) -> ComposeResult:
        yield StaticText("Suites: lists of runs that are trained one after another and then compared", id="suite-title")
        yield Table(SUITE_COLUMNS, id="suite-list")
        yield Description()
        yield SuiteProgress()
        yield Table(RUN_COLUMNS, id="suite-runs")
        yield StatusLine(id="suite-state")
        yield KeyLine()

    def on_mount(self) -> None:
        self._list.focus()
        self._load()
        self.set_interval(POLL_SECONDS, self._refresh_selected)

    def on_resize(self) -> None:
        if self._suites:
            self._show()

    @property
    def _list(self) -> Table:
        return self.query_one("#suite-list", Table)

    @property
    def _runs(self) -> Table:
        return self.query_one("#suite-runs", Table)

    @property
    def selected(self) -> ListedSuite | None:
        return self._suites.get(self._list.selected or "")

    @work(exclusive=True, group="suites")
    async def _load(self) -> None:
        (own, self._problems), others = await asyncio.to_thread(lambda: (user(), bundled()))
        for suite in (*own, *others):
            self._add(suite)
        self._show()
        for listed in list(self._suites.values()):
            await self._refresh(listed)

    def _add(self, suite: Suite) -> ListedSuite:
        """Add a suite to the list, or replace the suite that was read from the same file."""
        own = suite.path is None or suite.path.parent != bundled_dir()
        listed = ListedSuite(suite, own, SuiteMonitor(SuiteManifest(suite, self._store)))
        self._suites[str(suite.path)] = listed
        return listed

    async def _refresh_selected(self) -> None:
        if (selected := self.selected) and self.app.screen is self and not self._reading.locked():
            await self._refresh(selected)

    async def _refresh(self, listed: ListedSuite) -> None:
        """Read and show the progress of a suite. If the suite has just ended, compare its runs."""
        async with self._reading:
            before = listed.status
            try:
                listed.status = await asyncio.to_thread(listed.monitor.read)
            except MetatuiError as error:
                self._show_state(f"{error}.")
                return
        if not self.is_attached:
            return
        ended = before is not None and before.running and not listed.status.running
        if ended and listed is self.selected:
            self._ended(listed.status)
        self._show()

    def _ended(self, status: SuiteStatus) -> None:
        if status.is_complete:
            self._show_state("All runs are finished.")
            if self.app.screen is self:
                self.action_compare()
        else:
            self._show_state(
                "\n".join(["The suite has stopped. Its runs are saved, and F5 resumes it.", *failures(status)])
            )

    def _show(self) -> None:
        # The list has room for all suites and a heading, but takes at most a quarter of the screen.
        self._list.styles.height = min(len(self._suites) + 1, max(3, self.app.size.height // 4))
        self._list.show(
            [suite_row(key, listed.suite, listed.own, listed.status) for key, listed in self._suites.items()]
        )
        self._show_selected()

    def _show_selected(self) -> None:
        selected = self.selected
        if selected is None:
            return
        problems = [f"A suite cannot be used: {problem}." for problem in self._problems]
        self.query_one(Description).show([*problems, *describe_suite(selected.suite)])
        self.query_one(SuiteProgress).show(selected.suite.name, selected.status)
        status = selected.status
        self._runs.show(run_rows(status.runs, GLYPHS[symbols_of(self)]) if status else [])
        self._show_keys(status)

    def _show_keys(self, status: SuiteStatus | None) -> None:
        first: tuple[Key, ...] = ()
        if status and status.running:
            first = (STOP,)
        elif status and not status.is_complete:
            first = (RESUME if any(run.folder for run in status.runs) else START,)
        self.query_one(KeyLine).keys = (*first, *KEYS)

    def _show_state(self, text: str) -> None:
        self.query_one(StatusLine).update(text)

    @on(Table.Highlighted, "#suite-list")
    async def _suite_highlighted(self) -> None:
        self._show_state("")
        self._show_selected()
        await self._refresh_selected()

    def action_choose(self) -> None:
        """Go from the list of suites to the list of runs. In the list of runs, compare the runs instead."""
        if self._list.has_focus:
            self._runs.focus()
        else:
            self.action_compare()

    @on(Table.Clicked)
    def _clicked(self, event: Table.Clicked) -> None:
        if event.again:
            self.action_choose()

    @work(exclusive=True, group="suite-order")
    async def action_start(self) -> None:
        """Ask for confirmation, then train the unfinished runs of the selected suite."""
        selected = self.selected
        if selected is None or selected.status is None or selected.status.running:
            return
        if selected.status.is_complete:
            self._show_state("All runs of this suite are finished. Press c to compare them.")
            return
        if self._training():
            self._show_state(with_keys(BUSY))
            return
        missing = len(selected.status.runs) - selected.status.finished
        question = (
            f"Train {format_count(missing, 'run')} of {selected.suite.name}, one after the other? They train in the "
            "background: you can close the screen, the app and the terminal. F7 stops the suite and saves the run in "
            "progress."
        )
        if not await self.app.push_screen_wait(ConfirmScreen("Suite", question, yes="Train")):
            return
        self._show_state("Starting…")
        try:
            await asyncio.to_thread(background.start, selected.suite, self._store)
        except MetatuiError as error:
            self._show_state(f"Not started: {error}.")
        else:
            self._show_state("")
        await self._refresh(selected)

    def action_stop(self) -> None:
        """Stop the suite after the current meta-step of the run in progress, and save this run."""
        selected = self.selected
        if selected is None:
            return
        try:
            background.stop(selected.monitor.manifest)
        except MetatuiError as error:
            self._show_state(f"The suite could not be stopped: {error}.")
        else:
            self._show_state("Stopping: the run in progress is saved after its current meta-step.")

    def action_compare(self) -> None:
        """Compare the finished runs of the comparison to which the selected run belongs."""
        from metatui.tui.screens.compare.screen import CompareScreen

        selected, run = self.selected, self._selected_run
        if selected is None or selected.status is None or run is None:
            return
        comparison = comparison_of(selected.suite, run)
        folders = comparable(comparison, selected.status)
        if len(folders) < 2:
            finished = "1 run is" if folders else "no run is"
            self._show_state(f"Comparing {comparison.name} needs two finished runs, but {finished} finished.")
            return
        self._show_state("")
        self.app.push_screen(
            CompareScreen(
                folders,
                tasks=comparison.tasks,
                steps=comparison.steps,
                shots=comparison.shots,
                target=comparison.target,
                titles=comparison.titles({each.planned.identity: each.folder for each in selected.status.runs}),
            )
        )

    @property
    def _selected_run(self) -> PlannedRun | None:
        status = self.selected.status if self.selected else None
        runs = status.runs if status else ()
        return next((run.planned for run in runs if run.planned.name == self._runs.selected), None)

    @work(exclusive=True, group="suite-order")
    async def action_other(self) -> None:
        """Ask for the file of another suite, and add the suite to the list."""
        question = (
            f"Enter the path of the TOML file of a suite. Suites in {paths.short(user_dir())} are always in the list."
        )
        suites: list[Suite] = []
        dialog = AskScreen("Suite", question, check=lambda text: suites.append(read(paths.absolute(text))))
        if await self.app.push_screen_wait(dialog) is not None:
            _, self._problems = await asyncio.to_thread(user)  # the file may have been one of the invalid suites
            listed = self._add(suites[-1])
            self._show_state("")
            self._show()
            self._list.select(str(listed.suite.path))
            await self._refresh(listed)
