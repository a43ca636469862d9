"""Suites on a screen of their own: chosen, begun, watched, stopped, gone on with, compared."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

from textual import on, work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.screen import ModalScreen
from textual.widgets import DataTable

from metatui.runs.storage.store import RunStore
from metatui.runs.suites import (
    PlannedRun,
    Suite,
    SuiteManifest,
    SuiteMonitor,
    SuiteStanding,
    background,
    bundled,
    problems,
    user,
    user_dir,
)
from metatui.runs.suites.files import read
from metatui.runs.suites.status import comparable, comparison_of
from metatui.tui.screens.dialogs.confirm import ConfirmScreen
from metatui.tui.screens.dialogs.prompt import AskScreen
from metatui.tui.screens.suite import cells
from metatui.tui.screens.suite.diff_table import LiveTable
from metatui.tui.screens.suite.progress import Description, SuiteProgress
from metatui.tui.terminal.symbols import GLYPHS
from metatui.tui.widgets.charts.chart_theme import symbols_of
from metatui.tui.widgets.key_line import Key, KeyLine
from metatui.tui.widgets.static_text import StaticText
from metatui.utils import paths
from metatui.utils.errors import MetatuiError

LOOK_EVERY = 1.0
"""Seconds between looks at the runs of the suite that is chosen."""

NARROW: Final = 100
"""Below as many columns, meta-steps are left out: the bars say the same."""

BUSY: Final = "A run is going on, and two at once would spoil each other's times: stop it (F7), or wait for its end."

START: Final = Key("F5", "Start", "start")
GO_ON: Final = Key("F5", "Go on", "start")
STOP: Final = Key("F7", "Stop", "stop")
KEYS: Final = (
    Key("c", "Compare", "compare"),
    Key("Tab", "Suites/runs", "app.focus_next"),
    Key("o", "Other file", "other"),
    Key("Esc", "Close", "dismiss"),
)


@dataclass
class Seen:
    """A suite in the list."""

    suite: Suite
    own: bool
    watch: SuiteMonitor
    standing: SuiteStanding | None = None
    """None until its runs were looked at."""


class SuiteScreen(ModalScreen[None]):
    """Lists suites; the one under the cursor with its runs. What it begins goes on without it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        ("escape,q", "dismiss", "Close"),
        ("f5,s", "start", "Start"),
        ("f7,x", "stop", "Stop"),
        ("c", "compare", "Compare"),
        ("o", "other", "Other file"),
    ]
    DEFAULT_CSS = """
    SuiteScreen { layout: vertical; background: $background; align: left top; }
    SuiteScreen #suite-title { padding: 0 1; text-style: bold; }
    SuiteScreen #suite-state { padding: 0 1; max-height: 4; }
    """

    def __init__(self, store: RunStore, training: Callable[[], bool]) -> None:
        """
        Args:
            training: whether a run trains in the app.
        """
        super().__init__()
        self.VERTICAL_BREAKPOINTS = [(0, "-low"), (36, "-high")]
        self._store = store
        self._training = training
        self._suites: dict[str, Seen] = {}
        """By their files."""
        self._problems: Sequence[str] = ()
        self._reading = asyncio.Lock()

    def compose(self) -> ComposeResult:
        yield StaticText("Suites: lists of runs that are made one after the other and then compared", id="suite-title")
        yield LiveTable(cells.SUITE_HEADINGS, id="suite-list")
        yield Description()
        yield SuiteProgress()
        yield LiveTable(cells.RUN_HEADINGS, id="suite-runs")
        yield StaticText("", id="suite-state")
        yield KeyLine()

    async def on_mount(self) -> None:
        self._say("")
        self._list.focus()
        self._load()
        self.set_interval(LOOK_EVERY, self._look_again)

    def on_resize(self) -> None:
        if self._suites:
            self._show()

    @property
    def _list(self) -> LiveTable:
        return self.query_one("#suite-list", LiveTable)

    @property
    def _runs(self) -> LiveTable:
        return self.query_one("#suite-runs", LiveTable)

    @property
    def chosen(self) -> Seen | None:
        return self._suites.get(self._list.chosen or "")

    @work(exclusive=True, group="suites")
    async def _load(self) -> None:
        own, others, self._problems = await asyncio.to_thread(lambda: (user(), bundled(), problems()))
        for suite in (*own, *others):
            self._add(suite, suite in own)
        self._show()
        for seen in list(self._suites.values()):
            await self._look(seen)

    def _add(self, suite: Suite, own: bool) -> str:
        key = str(suite.path)
        self._suites.setdefault(key, Seen(suite, own, SuiteMonitor(SuiteManifest(suite, self._store))))
        return key

    async def _look_again(self) -> None:
        if (seen := self.chosen) and self.app.screen is self and not self._reading.locked():
            await self._look(seen)

    async def _look(self, seen: Seen) -> None:
        """Read how far a suite is, and show it; what has just ended is compared."""
        async with self._reading:
            before = seen.standing
            try:
                seen.standing = await asyncio.to_thread(seen.watch.read)
            except MetatuiError as error:
                self._say(f"{error}.")
                return
        if not self.is_attached:
            return
        ended = before is not None and before.running and not seen.standing.running
        if ended and seen is self.chosen:
            self._ended(seen.standing)
        self._show()

    def _ended(self, standing: SuiteStanding) -> None:
        if standing.whole:
            self._say("All runs are finished.")
            if self.app.screen is self:
                self.action_compare()
        else:
            self._say("\n".join(["Stopped and saved: F5 goes on.", *cells.failures(standing)]))

    def _show(self) -> None:
        # The list is as high as it is long, with a heading, up to a quarter of the screen.
        self._list.styles.height = min(len(self._suites) + 1, max(3, self.app.size.height // 4))
        self._list.show(
            [(key, cells.suite_row(each.suite, each.own, each.standing)) for key, each in self._suites.items()],
            columns=len(cells.SUITE_HEADINGS),
        )
        self._show_chosen()

    def _show_chosen(self) -> None:
        seen = self.chosen
        if seen is None:
            return
        problems = [f"Cannot be used: {problem}." for problem in self._problems]
        self.query_one(Description).show([*problems, *cells.about(seen.suite)])
        self.query_one(SuiteProgress).show(seen.suite.name, seen.standing)
        standing = seen.standing
        rows = cells.run_rows(standing.runs, GLYPHS[symbols_of(self)]) if standing else []
        names = [run.planned.name for run in standing.runs] if standing else []
        narrow = self.app.size.width < NARROW
        self._runs.show([*zip(names, rows, strict=True)], columns=len(cells.RUN_HEADINGS) - narrow)
        self._show_keys(standing)

    def _show_keys(self, standing: SuiteStanding | None) -> None:
        first: tuple[Key, ...] = ()
        if standing and standing.running:
            first = (STOP,)
        elif standing and not standing.whole:
            first = (GO_ON if any(run.folder for run in standing.runs) else START,)
        self.query_one(KeyLine).keys = (*first, *KEYS)

    def _say(self, text: str) -> None:
        line = self.query_one("#suite-state", StaticText)
        line.say(text)
        line.display = bool(text)

    @on(DataTable.RowHighlighted, "#suite-list")
    async def _moved(self) -> None:
        self._say("")
        self._show_chosen()
        await self._look_again()

    @on(DataTable.RowSelected, "#suite-list")
    def _to_runs(self) -> None:
        self._runs.focus()

    @on(DataTable.RowSelected, "#suite-runs")
    def _selected(self) -> None:
        self.action_compare()

    @work(exclusive=True, group="suite-order")
    async def action_start(self) -> None:
        """Make what is missing of the chosen suite, after a question."""
        seen = self.chosen
        if seen is None or seen.standing is None or seen.standing.running:
            return
        if seen.standing.whole:
            self._say("All its runs are finished: c compares them.")
            return
        if self._training():
            self._say(BUSY)
            return
        missing = len(seen.standing.runs) - seen.standing.finished
        runs = "run" if missing == 1 else "runs"
        question = (
            f"Train {missing} {runs} of {seen.suite.name}, one after the other? This goes on in the background: the "
            "screen, the app and the terminal can be closed meanwhile. F7 stops and saves."
        )
        if not await self.app.push_screen_wait(ConfirmScreen("Suite", question, yes="Train")):
            return
        self._say("Starting…")
        try:
            await asyncio.to_thread(background.start, seen.suite, self._store)
        except MetatuiError as error:
            self._say(f"Not started: {error}.")
        else:
            self._say("")
        await self._look(seen)

    def action_stop(self) -> None:
        """Let the runs that train finish their meta-step and save."""
        seen = self.chosen
        if seen is None:
            return
        try:
            background.stop(seen.watch.manifest)
        except MetatuiError as error:
            self._say(f"Not stopped: {error}.")
        else:
            self._say("Stopping: the run that trains is saved after its meta-step.")

    def action_compare(self) -> None:
        """Compare the finished runs of the comparison that the run under the cursor is for."""
        from metatui.tui.screens.compare.screen import CompareScreen

        seen, run = self.chosen, self._run
        if seen is None or seen.standing is None or run is None:
            return
        comparison = comparison_of(seen.suite, run)
        folders = comparable(comparison, seen.standing)
        if len(folders) < 2:
            self._say(f"Two runs of {comparison.name} must be finished to compare them, and {len(folders)} is.")
            return
        self._say("")
        self.app.push_screen(
            CompareScreen(
                folders, tasks=comparison.tasks, steps=comparison.steps, shots=comparison.shots,
                target=comparison.target,
            )
        )  # fmt: skip

    @property
    def _run(self) -> PlannedRun | None:
        """The run under the cursor."""
        standing = self.chosen.standing if self.chosen else None
        runs = standing.runs if standing else ()
        return next((run.planned for run in runs if run.planned.name == self._runs.chosen), None)

    @work(exclusive=True, group="suite-order")
    async def action_other(self) -> None:
        """Ask for the file of a suite that is not in the list."""
        question = f"The TOML file of a suite. Those in {paths.short(user_dir())} are always in the list."
        dialog = AskScreen("Suite", question, check=_file)
        if (answer := await self.app.push_screen_wait(dialog)) is None:
            return
        key = self._add(await asyncio.to_thread(_file, answer), own=True)
        self._show()
        self._list.move_cursor(row=list(self._suites).index(key))


def _file(text: str) -> Suite:
    """Raises BadInput."""
    return read(paths.expanded(text).absolute())
