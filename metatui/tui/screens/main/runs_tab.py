"""Tab with the list of runs, newest first."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import ClassVar

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
from metatui.tui.formatting import accuracy, best_and_last, headline, result_words
from metatui.tui.screens.main.header_footer import ContextChanged
from metatui.tui.screens.main.tables import fill
from metatui.tui.widgets.static_text import StaticText
from metatui.tui.widgets.text_input import Entry
from metatui.utils import paths
from metatui.utils.numbers import diverged, interval

MOST_MARKED = 8
LIVE = "● "
"""Marker before the status of a live run."""

UPDATE_EVERY = 2.0
"""Seconds between updates of the live runs in the list."""

MOST_LISTED = 500
"""Largest number of rows: filling a table with ten thousand blocks the app for seconds."""

WIDE = 110
"""Minimum width at which all columns of the table are shown."""

EMPTY = "No runs yet. Go to the work tab (1) and start one (F5)."
NO_MATCH = "No run contains these words. Escape shows all runs again."


class RunsTab(Vertical):
    """A table, with the details of the selected run below."""

    BINDINGS: ClassVar[list[BindingType]] = bindings_of("runs")
    COMPONENT_CLASSES: ClassVar[set[str]] = {"runs--warning"}
    DEFAULT_CSS = "RunsTab > .runs--warning { color: $text-warning; }"

    def __init__(self, store: RunStore) -> None:
        super().__init__(id="runs")
        self.store = store
        self.marked: list[str] = []
        """Names of the marked runs, in the order in which they were marked."""
        self._all: Sequence[RunSummary] = ()
        self._listed: list[RunSummary] = []
        self._older = 0
        """Number of runs that match the filter, but are not among the newest `MOST_LISTED`."""
        self._narrow: bool | None = None
        self._reading = asyncio.Lock()
        """Lock that allows one read at a time, so that the newest result is shown last."""
        self._go_to_newest = False
        """True to select the newest run after the next read."""
        self._placed = ""
        """Run that the app selected; if the selection differs, the user has moved the cursor."""
        self._moved = False

    def compose(self) -> ComposeResult:
        yield Entry(placeholder="Words that a run must contain; enter goes to the list, escape clears", id="filter")
        yield DataTable(id="runs-table", cursor_type="row", zebra_stripes=False)
        yield StaticText(EMPTY, id="run-details", classes="details")

    def on_mount(self) -> None:
        self.filter.display = False
        self.set_interval(UPDATE_EVERY, self.update_live)

    @property
    def table(self) -> DataTable[Text]:
        return self.query_one("#runs-table", DataTable)

    @property
    def filter(self) -> Input:
        return self.query_one("#filter", Input)

    @property
    def selected(self) -> RunSummary | None:
        row = self.table.cursor_row
        return self._listed[row] if 0 <= row < len(self._listed) else None

    @property
    def marked_runs(self) -> list[RunSummary]:
        return [run for name in self.marked for run in self._all if run.id == name]

    def opened(self) -> None:
        """Reload the list when the tab is opened."""
        self._moved, self._placed = False, self.selected.id if self.selected else ""
        self.reload()

    def reload(self, *, newest: bool = False) -> None:
        """Read the list again and keep the selected run.

        Args:
            newest: select the newest run instead, unless the user has moved the cursor since the tab was opened.
        """
        self._go_to_newest = self._go_to_newest or newest
        self._read()

    @work(group="runs")
    async def _read(self) -> None:
        async with self._reading:
            self._all = await asyncio.to_thread(self.store.summaries)
        known = {run.id for run in self._all}
        self.marked = [run_id for run_id in self.marked if run_id in known]
        newest, self._go_to_newest = self._go_to_newest, False
        self._fill(newest=newest)

    async def update_live(self) -> None:
        """Update the runs that were live when they were last read."""
        if not (self.display and self.app.screen is self.screen):
            return
        async with self._reading:
            runs = await asyncio.to_thread(lambda: [summarise(run.run) if is_live(run) else run for run in self._all])
        if runs != self._all:
            self._all = runs
            self._fill()

    def mark_selected(self) -> bool:
        """Mark or unmark the selected run. Returns whether that was possible."""
        run = self.selected
        if run is None:
            return False
        if run.id in self.marked:
            self.marked.remove(run.id)
        elif len(self.marked) == MOST_MARKED:
            self.notify(f"{MOST_MARKED} runs are marked already: unmark one first.", severity="warning")
            return False
        else:
            self.marked.append(run.id)
        self._fill()
        return True

    def show_filter(self) -> None:
        self.filter.display = True
        self.filter.focus()

    def clear_filter(self) -> None:
        self.filter.value = ""
        self.filter.display = False
        self.table.focus()

    def on_resize(self, event: Resize) -> None:
        narrow = event.size.width < WIDE
        if narrow != self._narrow:
            self._narrow = narrow
            self._fill()

    def _fill(self, *, newest: bool = False) -> None:
        if self._narrow is None:
            return
        before = self.selected
        self._moved = self._moved or (before is not None and before.id != self._placed)
        words = self.filter.value.lower().split()
        matching = [run for run in self._all if all(word in _searched_text(run) for word in words)]
        self._listed, self._older = matching[:MOST_LISTED], len(matching[MOST_LISTED:])
        names = ["", "Run", "Status", "Result"]
        if not self._narrow:
            names += ["Meta-steps", "Preset", "Started"]
        rows: dict[str, Sequence[str | Text]] = {}
        warning = Style(color=self.get_component_rich_style("runs--warning").color)
        for run in self._listed:
            mark = f"[{self.marked.index(run.id) + 1}]" if run.id in self.marked else "[ ]"
            text = Text(result(run), warning) if has_no_result(run) else result(run)
            cells = [mark, run.id, f"{LIVE if is_live(run) else ''}{run.status.capitalize()}", text]
            if not self._narrow:
                cells += [f"{run.iteration:,}", run.preset or "own", when(run)]
            rows[run.run.path.name] = cells
        fill(self.table, names, rows)
        ids = [run.id for run in self._listed]
        if before and before.id in ids and (self._moved or not newest):
            self.table.move_cursor(row=ids.index(before.id))
        self._placed = self.selected.id if self.selected else ""
        self._describe()

    @on(DataTable.RowHighlighted)
    def _describe(self) -> None:
        run = self.selected
        if run is None:
            lines = [NO_MATCH if self._all else EMPTY]
        else:
            older = [f"Older runs that are not listed: {self._older:,}. Filter (/) finds them."] if self._older else []
            lines = [*details(run), *older]
        self.query_one("#run-details", StaticText).update("\n".join(lines))
        self.post_message(ContextChanged())

    @on(DataTable.RowSelected)
    def _open(self) -> None:
        self.app.call_later(self.app.run_action, "perform('open_run')")

    @on(Input.Changed, "#filter")
    def _filtered(self) -> None:
        self._fill()

    @on(Input.Submitted, "#filter")
    def _to_list(self) -> None:
        self.table.focus()


def is_live(run: RunSummary) -> bool:
    return run.status in ("running", "paused")


def result(run: RunSummary) -> str:
    """Format the test metric with its interval, or the best and the last validation."""
    test, last = run.test, run.validation or run.best
    if test is None:
        return best_and_last(run.best, last) if last else "no validation yet"
    lost = diverged(test.diverged, test.tasks) if test.diverged else ""
    if lost and not test.is_finite:
        return f"test: {lost}"
    text = f"test {accuracy(*test.final)}" if test.accuracy else f"test loss {interval(*test.final)}"
    return f"{text}, {lost}" if lost else text


def has_no_result(run: RunSummary) -> bool:
    """Return whether the result is not finite: the test, or the last validation without a test."""
    last = run.test or run.validation
    return last is not None and not last.is_finite


def details(run: RunSummary) -> list[str]:
    """Describe a run in a few lines."""
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
        lines.append("Training: enter follows it, x stops it.")
    if run.warning:
        lines.append(f"{run.warning}.")
    if run.problem:
        lines.append(run.problem)
    lines.append(f"{run.iteration:,} meta-steps, preset {run.preset or 'none'}, in {place(run)}")
    return lines


def when(run: RunSummary) -> str:
    """Format the local start time of the run."""
    return f"{run.started.astimezone():%Y-%m-%d %H:%M}"


def place(run: RunSummary) -> str:
    return paths.short(run.run.path)


def _searched_text(run: RunSummary) -> str:
    parts = [run.id, run.status, run.preset or "", f"{run.started:%Y-%m-%d}"]
    if run.settings:
        parts += [run.settings.algorithm.name, run.settings.task.source]
    return " ".join(parts).lower()
