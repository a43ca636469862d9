"""All runs on this machine: filtered, opened, marked for comparison, resumed, deleted."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import ClassVar, Literal

from rich.style import Style
from rich.text import Text
from textual import on, work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.events import Resize
from textual.widgets import DataTable, Input

from metatui.runs.storage.store import RunStore
from metatui.runs.storage.summary import RunSummary, summarise
from metatui.tui.actions import bindings_of
from metatui.tui.formatting import accuracy, headline, result_words, standing
from metatui.tui.screens.dialogs.confirm import ConfirmScreen
from metatui.tui.screens.main.messages import ReportWanted, RowChanged, RunChosen, RunsCompared, RunsMarked, RunStopped
from metatui.tui.screens.main.tables import fill
from metatui.tui.widgets.static_text import StaticText
from metatui.tui.widgets.text_input import Entry
from metatui.utils import paths
from metatui.utils.errors import MetatuiError
from metatui.utils.numbers import diverged, interval

MOST_MARKED = 8
LIVE = "● "
"""Before the status of a run that a process is at."""

LOOK_EVERY = 2.0
"""Seconds between looks at the live runs in the list."""

MOST_LISTED = 500
"""Largest number of rows: filling a table with ten thousand blocks the app for seconds."""

BESIDE = 3
"""Marked runs, the first ones, whose adaptation is shown beside each other."""
EMPTY = "No runs yet. 1 goes to the work tab, F5 starts one; it is listed here from then on."
NOTHING_FITS = "No run contains these words. Escape shows all runs again."


class RunsTab(Vertical):
    """A table of runs, newest first, and below it what is known of the one under the cursor."""

    BINDINGS: ClassVar[list[BindingType]] = bindings_of("runs")
    COMPONENT_CLASSES: ClassVar[set[str]] = {"runs--warning"}
    DEFAULT_CSS = "RunsTab > .runs--warning { color: $text-warning; }"

    def __init__(self, store: RunStore) -> None:
        super().__init__(id="runs")
        self._store = store
        self.marked: list[str] = []
        self._all: Sequence[RunSummary] = ()
        self._shown: list[RunSummary] = []
        self._older = 0
        """Number of runs that match the filter, but are not among the newest `MOST_LISTED`."""
        self._narrow: bool | None = None
        self._reading = asyncio.Lock()
        """One reading at a time, so that the last one to be asked for is the last to be shown."""
        self._newest = False
        """Whether the cursor is to go to the newest run when the list is read."""
        self._placed = ""
        """The run that the cursor was put on; the user has moved it where it is on another."""
        self._moved = False

    def compose(self) -> ComposeResult:
        yield Entry(placeholder="Words that the run must contain; enter goes to the list, escape clears", id="filter")
        yield DataTable(id="runs-table", cursor_type="row", zebra_stripes=False)
        yield StaticText(EMPTY, id="run-details", classes="details")

    @property
    def table(self) -> DataTable[Text]:
        return self.query_one("#runs-table", DataTable)

    @property
    def filter(self) -> Input:
        return self.query_one("#filter", Input)

    @property
    def selected(self) -> RunSummary | None:
        """The run under the cursor."""
        row = self.table.cursor_row
        return self._shown[row] if 0 <= row < len(self._shown) else None

    def opened(self) -> None:
        """The tab is looked at from now on."""
        self._moved, self._placed = False, self.selected.id if self.selected else ""
        self.reload()

    def reload(self, *, newest: bool = False) -> None:
        """Read the list again, keeping the cursor on the run it is on.

        Args:
            newest: Put it on the newest run instead, unless the user has moved it since the tab was opened.
        """
        self._newest = self._newest or newest
        self._read()

    @work(group="runs")
    async def _read(self) -> None:
        async with self._reading:
            self._all = await asyncio.to_thread(self._store.summaries)
        known = {run.id for run in self._all}
        self.marked = [run_id for run_id in self.marked if run_id in known]
        newest, self._newest = self._newest, False
        self._fill(newest=newest)

    def action_filter(self) -> None:
        self.filter.display = True
        self.filter.focus()

    def action_open_run(self) -> None:
        self._choose("open")

    def action_load_run(self) -> None:
        self._choose("load")

    def action_resume_run(self) -> None:
        self._choose("resume")

    def action_mark_run(self) -> None:
        run = self.selected
        if run is None:
            return
        if run.id in self.marked:
            self.marked.remove(run.id)
        elif len(self.marked) == MOST_MARKED:
            self.notify(f"{MOST_MARKED} runs are marked already: unmark one first.", severity="warning")
            return
        else:
            self.marked.append(run.id)
        self._fill()
        self.post_message(RunsMarked(self._marked_runs()[:BESIDE]))

    def action_compare_runs(self) -> None:
        self.post_message(RunsCompared(self._marked_runs()))

    def action_report_runs(self) -> None:
        self.post_message(ReportWanted())

    @work
    async def action_delete_run(self) -> None:
        run = self.selected
        if run is None:
            return
        question = f"Delete run {run.id} with its metrics and checkpoints? This cannot be undone."
        if not await self.app.push_screen_wait(ConfirmScreen("Delete run", question, yes="Delete")):
            return
        try:
            await asyncio.to_thread(self._store.delete, run.run)
        except MetatuiError as error:
            self.notify(f"{error}.", severity="error")
        self.reload()

    @work
    async def action_stop_run(self) -> None:
        run = self.selected
        if run is None:
            return
        question = f"Stop run {run.id}? It is saved after this meta-step and can be resumed."
        if await self.app.push_screen_wait(ConfirmScreen("Stop run", question, yes="Stop")):
            self.post_message(RunStopped(run))

    def clear_filter(self) -> None:
        self.filter.value = ""
        self.filter.display = False
        self.table.focus()

    def _marked_runs(self) -> list[RunSummary]:
        return [run for name in self.marked for run in self._all if run.id == name]

    def _choose(self, what: Literal["open", "load", "resume"]) -> None:
        if run := self.selected:
            self.post_message(RunChosen(what, run))

    def on_mount(self) -> None:
        self.filter.display = False
        self.set_interval(LOOK_EVERY, self._look_at_live)

    async def _look_at_live(self) -> None:
        """Bring those that were live up to date: how far they are, or how they ended."""
        if not (self.display and self.app.screen is self.screen):
            return
        async with self._reading:
            runs = await asyncio.to_thread(_again, self._all)
        if runs != self._all:
            self._all = runs
            self._fill()

    def on_resize(self, event: Resize) -> None:
        narrow = event.size.width < 110
        if narrow != self._narrow:
            self._narrow = narrow
            self._fill()

    def _fill(self, *, newest: bool = False) -> None:
        if self._narrow is None:
            return
        before = self.selected
        self._moved = self._moved or (before is not None and before.id != self._placed)
        words = self.filter.value.lower().split()
        matching = [run for run in self._all if all(word in _words(run) for word in words)]
        self._shown, self._older = matching[:MOST_LISTED], len(matching[MOST_LISTED:])
        names = ["", "Run", "Status", "Result"]
        if not self._narrow:
            names += ["Meta-steps", "Preset", "Started"]
        rows: dict[str, Sequence[str | Text]] = {}
        warning = Style(color=self.get_component_rich_style("runs--warning").color)
        for run in self._shown:
            said = Text(result(run), warning) if has_no_result(run) else result(run)
            cells = [self._mark(run), run.id, status(run), said]
            if not self._narrow:
                cells += [f"{run.iteration:,}", run.preset or "own", when(run)]
            rows[run.run.path.name] = cells
        fill(self.table, names, rows)
        ids = [run.id for run in self._shown]
        if before and before.id in ids and (self._moved or not newest):
            self.table.move_cursor(row=ids.index(before.id))
        self._placed = self.selected.id if self.selected else ""
        self._describe()

    def _mark(self, run: RunSummary) -> str:
        return f"[{self.marked.index(run.id) + 1}]" if run.id in self.marked else "[ ]"

    def _describe(self) -> None:
        run = self.selected
        if run is None:
            self.query_one("#run-details", StaticText).say(NOTHING_FITS if self._all else EMPTY)
        else:
            older = [f"Older runs that are not listed: {self._older:,}. Filter (/) finds them."] if self._older else []
            self.query_one("#run-details", StaticText).say("\n".join([*details(run), *older]))
        self.post_message(RowChanged())

    @on(DataTable.RowHighlighted)
    def _highlighted(self) -> None:
        self._describe()

    @on(DataTable.RowSelected)
    def _selected(self) -> None:
        self.app.call_later(self.app.run_action, "perform('open_run')")

    @on(Input.Changed, "#filter")
    def _filtered(self) -> None:
        self._fill()

    @on(Input.Submitted, "#filter")
    def _to_list(self) -> None:
        self.table.focus()


def status(run: RunSummary) -> str:
    """How it stands; a bullet where a process is at it."""
    return f"{LIVE if is_live(run) else ''}{run.status.capitalize()}"


def is_live(run: RunSummary) -> bool:
    return run.status in ("running", "paused")


def _again(runs: Sequence[RunSummary]) -> Sequence[RunSummary]:
    """`runs`, those that were live as they are now."""
    return [summarise(run.run) if is_live(run) else run for run in runs]


def result(run: RunSummary) -> str:
    """The metric of the test with its interval, or the best and the last validation."""
    test, last = run.test, run.validation or run.best
    if test is None:
        return standing(run.best, last) if last else "no validation yet"
    lost = diverged(test.diverged, test.tasks) if test.diverged else ""
    if lost and not test.is_finite:
        return f"test: {lost}"
    said = f"test {accuracy(*test.final)}" if test.accuracy else f"test loss {interval(*test.final)}"
    return f"{said}, {lost}" if lost else said


def has_no_result(run: RunSummary) -> bool:
    """Whether the test, or without one the last validation, is not finite."""
    last = run.test or run.validation
    return last is not None and not last.is_finite


def details(run: RunSummary) -> list[str]:
    """All that there is to say of a run in a few lines."""
    lines = []
    if run.settings:
        s = run.settings
        lines.append(
            f"{s.algorithm.name} on {s.task.source}, {s.task.shots}-shot, inner steps {s.algorithm.inner_steps} at "
            f"{s.algorithm.inner_lr:g}, outer rate {s.algorithm.outer_lr:g}, seed {s.training.seed}"
        )
    if run.test:
        lines.append(f"Test: {result_words(run.test, run.best)}")
    if run.best:
        lines.append(f"Best validation: {headline(run.best)}, at {run.best.iteration:,}")
    if run.validation and (run.best is None or run.validation.iteration != run.best.iteration):
        lines.append(f"Last validation: {headline(run.validation)}, at {run.validation.iteration:,}")
    if is_live(run):
        lines.append("Live: enter follows it, x stops it.")
    lines += [f"{words}." for words in (run.warning,) if words]
    if run.problem:
        lines.append(run.problem)
    lines.append(f"{run.iteration:,} meta-steps, preset {run.preset or 'none'}, in {place(run)}")
    return lines


def when(run: RunSummary) -> str:
    """When the run was started, in local time."""
    return f"{run.started.astimezone():%Y-%m-%d %H:%M}"


def place(run: RunSummary) -> str:
    return paths.short(run.run.path)


def _words(run: RunSummary) -> str:
    settings = run.settings
    known = [run.id, run.status, run.preset or "", f"{run.started:%Y-%m-%d}"]
    if settings:
        known += [settings.algorithm.name, settings.task.source]
    return " ".join(known).lower()
