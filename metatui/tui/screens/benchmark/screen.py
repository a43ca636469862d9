"""The benchmark in the app: measured in a child process, shown as it comes in."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.message import Message
from textual.screen import ModalScreen
from textual.widgets import DataTable

from metatui.learning.benchmark import Benchmark, Measurement, Measuring, Ready, Report, cells
from metatui.tui.screens.benchmark import rows
from metatui.tui.screens.benchmark.chart import BenchmarkChart
from metatui.tui.screens.benchmark.table import BenchmarkTable
from metatui.tui.widgets.static_text import StaticText
from metatui.utils import paths
from metatui.utils.errors import MetatuiError

log = logging.getLogger(__name__)

NICENESS = 10
"""The child makes way for the app, and for whatever else the machine has to do."""

LOOK_EVERY = 0.5
"""Seconds between looks whether the training is over."""

WAITING = "A run is going on, which would disturb the figures: measuring begins when it is over."


class BenchmarkScreen(ModalScreen[None]):
    """Measures every engine as soon as no training goes on; closing it ends the measuring."""

    BINDINGS: ClassVar[list[BindingType]] = [("escape,q", "dismiss", "Close")]
    DEFAULT_CSS = """
    BenchmarkScreen #benchmark {
        height: 100%; border: round $border; border-title-style: bold; background: $surface; padding: 0 1;
    }
    BenchmarkScreen .benchmark-note { color: $text-muted; }
    BenchmarkScreen #benchmark-state { height: auto; }
    BenchmarkScreen.-low .benchmark-high { display: none; }
    """

    @dataclass
    class Reported(Message):
        """Something was measured, or is being."""

        report: Report

    @dataclass
    class Over(Message):
        """Nothing more will be measured."""

        error: str

    def __init__(self, training: Callable[[], bool]) -> None:
        """
        Args:
            training: whether a training goes on in this process.
        """
        super().__init__()
        self.VERTICAL_BREAKPOINTS = [(0, "-low"), (36, "-high")]
        self._training = training
        self._benchmark = Benchmark(cells(), niceness=NICENESS)
        self._begun = False
        self._state = ""

    def compose(self) -> ComposeResult:
        with Vertical(id="benchmark") as pane:
            pane.border_title = "Benchmark"
            pane.border_subtitle = "escape closes"
            yield StaticText("", id="benchmark-machine", classes="benchmark-note")
            yield BenchmarkTable(self._benchmark.cells)
            yield BenchmarkChart()
            yield StaticText("", id="benchmark-state")
            yield StaticText("\n".join(rows.NOTES), classes="benchmark-note benchmark-high")

    @property
    def table(self) -> BenchmarkTable:
        return self.query_one(BenchmarkTable)

    def on_mount(self) -> None:
        self.table.focus()
        self._waiting = self.set_interval(LOOK_EVERY, self.begin)
        self.begin()

    def on_unmount(self) -> None:
        self._benchmark.stop()

    def begin(self) -> None:
        """Begin to measure, unless a training goes on."""
        if self._begun:
            return
        if self._training():
            self._say(WAITING)
            return
        self._begun = True
        self._waiting.stop()
        self.query_one("#benchmark", Vertical).border_subtitle = "escape ends it"
        self._say("Measuring what the machine can do.")
        self.run_worker(self._measure, thread=True, exit_on_error=False, group="benchmark", description="benchmark")

    def _measure(self) -> None:
        """In a thread. Whatever goes wrong becomes a message."""
        error = ""
        try:
            for report in self._benchmark:
                self.post_message(self.Reported(report))
        except MetatuiError as problem:
            error = str(problem)
        except Exception as problem:
            log.exception("the benchmark failed")
            error = f"an error in metatui itself ended it ({type(problem).__name__}); it is in {paths.log_file()}"
        self.post_message(self.Over(error))

    @on(Reported)
    def _reported(self, event: Reported) -> None:
        match event.report:
            case Ready(machine):
                self.query_one("#benchmark-machine", StaticText).say(rows.said(machine))
                self.table.show(self._benchmark.cells)
            case Measuring(cell):
                self.table.measuring(cell)
                number, count = self._benchmark.cells.index(cell) + 1, len(self._benchmark.cells)
                self._say(f"Measuring {number} of {count}: {rows.called(cell)}.")
            case Measurement():
                self.table.measured(event.report)
        self._show_line()

    @on(Over)
    def _over(self, event: Over) -> None:
        self.table.finish()
        self.query_one("#benchmark", Vertical).border_subtitle = "escape closes"
        if event.error:
            self._say(f"Not measured: {event.error}.")
        else:
            found = self.table.found.values()
            failed = sum(1 for each in found if each.error)
            done = len(found) - failed
            counts = f"{done} measured, {failed} failed." if failed else f"All {done} measured."
            self._say(f"{counts} {rows.doubt(found)}".strip())

    @on(DataTable.RowHighlighted)
    def _show_line(self) -> None:
        """What belongs to the line under the cursor: the plot of its task, and why it failed if it did."""
        task = self.table.selected_task
        found = [found for found in self.table.found.values() if found.cell.work.task == task]
        self.query_one(BenchmarkChart).show(task, found)

        self._say(self._state)

    def _say(self, state: str) -> None:
        self._state, selected = state, self.table.selected
        reason = [f"{rows.failed(selected)}."] if selected and selected.error else []
        self.query_one("#benchmark-state", StaticText).say("\n".join([state, *reason]))
