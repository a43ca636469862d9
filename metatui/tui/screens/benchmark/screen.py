"""Benchmark screen: measures the speed of engines in child processes, and shows each measurement when it is done."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widgets import DataTable

from metatui.learning.benchmark import rows
from metatui.learning.benchmark.runner import SECONDS, Benchmark, Measurement, Measuring, Ready, Report
from metatui.learning.benchmark.workloads import cells
from metatui.tui.helper import Reply, Returned, Yielded
from metatui.tui.screens.analysis_screen import AnalysisScreen
from metatui.tui.screens.benchmark.widgets import BenchmarkChart, BenchmarkTable
from metatui.tui.widgets.static_text import StaticText
from metatui.utils.text import format_count

NICENESS = 10
"""Niceness of the benchmark processes, which lets the app and other programs take precedence."""

POLL_SECONDS = 0.5
"""Seconds between checks of whether the run in progress has ended."""

WAITING = "A run is in progress, which would distort the measurements. The benchmark starts when the run ends."


def question() -> str:
    """Return the question to ask before the benchmark, with the number of measurements and their total duration."""
    count = len(cells())
    minutes = math.ceil(count * SECONDS / 60)
    return (
        f"Measure the speed of every engine? There are {count} measurements, which take at least "
        f"{format_count(minutes, 'minute')}, and longer on a slow or busy machine. Escape stops them."
    )


@dataclass(frozen=True)
class MeasuringProcess:
    """Adapts a benchmark, which measures in child processes, to the interface that `AnalysisScreen` requires."""

    benchmark: Benchmark

    def replies(self) -> Iterator[Reply]:
        for report in self.benchmark:
            yield Yielded(1, report)
        yield Returned(1, None)

    def stop(self) -> None:
        self.benchmark.stop()


class BenchmarkScreen(AnalysisScreen[None]):
    """Measures the speed of every engine as soon as no run is in progress. Closing the screen stops the benchmark."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q", "dismiss", "Close", tooltip="Close the benchmark.")]
    DEFAULT_CSS = """
    BenchmarkScreen #benchmark {
        height: 100%; border: round $border; border-title-style: bold; background: $surface; padding: 0 1;
    }
    BenchmarkScreen .benchmark-note { color: $text-muted; }
    BenchmarkScreen #benchmark-state { height: auto; }
    BenchmarkScreen.-low .benchmark-high { display: none; }
    """

    def __init__(self, training: Callable[[], bool]) -> None:
        """Create the screen.

        Args:
            training: function that returns whether a run is in progress.
        """
        super().__init__()
        self.VERTICAL_BREAKPOINTS = [(0, "-low"), (36, "-high")]
        self._training = training
        self._benchmark = Benchmark(cells(), niceness=NICENESS)
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
        self._poll = self.set_interval(POLL_SECONDS, self.start)
        self.start()

    def start(self) -> None:
        """Start the benchmark, unless a run is in progress."""
        if self._training():
            self._show_state(WAITING)
            return
        self._poll.stop()
        self.query_one("#benchmark", Vertical).border_subtitle = "escape stops it"
        self._show_state("Measuring the speed of arithmetic and memory.")
        self.listen_to(MeasuringProcess(self._benchmark))

    def show_progress(self, progress: Report) -> None:
        match progress:
            case Ready(machine):
                self.query_one("#benchmark-machine", StaticText).update(rows.describe_machine(machine))
                self.table.show(self._benchmark.cells)
            case Measuring(cell):
                self.table.start(cell)
                number, count = self._benchmark.cells.index(cell) + 1, len(self._benchmark.cells)
                self._show_state(f"Measuring {number} of {count}: {rows.full_name(cell)}.")
            case Measurement():
                self.table.add(progress)
        self._show_selected()

    def show_result(self, result: None) -> None:
        measurements = self.table.measurements.values()
        failed = sum(1 for measurement in measurements if measurement.error)
        done = len(measurements) - failed
        counts = f"{done} measured, {failed} failed." if failed else f"All {done} measurements are done."
        self._end(f"{counts} {rows.floor_warning(measurements)}".strip())

    def show_failure(self, reason: str) -> None:
        self._end(f"Not measured: {reason}.")

    def _end(self, state: str) -> None:
        self.table.finish()
        self.query_one("#benchmark", Vertical).border_subtitle = "escape closes"
        self._show_state(state)

    @on(DataTable.RowHighlighted)
    def _show_selected(self) -> None:
        """Draw the chart of the task under the cursor. If the measurement under the cursor failed, say why."""
        task = self.table.selected_task
        measurements = [each for each in self.table.measurements.values() if each.cell.work.task == task]
        self.query_one(BenchmarkChart).show(task, measurements)
        self._show_state(self._state)

    def _show_state(self, state: str) -> None:
        self._state, selected = state, self.table.selected
        reason = [f"{rows.failed(selected)}."] if selected and selected.error else []
        self.query_one("#benchmark-state", StaticText).update("\n".join([state, *reason]))
