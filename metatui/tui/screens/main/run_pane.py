"""How the run stands: its name and device, progress, speed, time, memory and load, and its two sparklines."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable

from rich.segment import Segment
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.widget import Widget

from metatui.tui.actions import Phase
from metatui.tui.controllers.history import History
from metatui.tui.controllers.run_model import Monitor
from metatui.tui.formatting import headline, result_words, split_name, standing, value
from metatui.tui.system_monitor import Load
from metatui.tui.widgets.charts import MetricSparkline
from metatui.tui.widgets.charts.chart_theme import ChartTheme
from metatui.tui.widgets.charts.format import number
from metatui.tui.widgets.charts.row_widget import Row, RowsWidget

GAP = "   "
NOTHING = ("No run yet.", "F5 starts what the form says.", "2 lists earlier runs.", "3 lists presets.")


class RunNumbers(RowsWidget):
    """Four rows: what runs where, a progress bar, and the numbers."""

    DEFAULT_CSS = "RunNumbers { height: 4; }"

    def __init__(self) -> None:
        super().__init__(id="run-numbers")
        self._monitor: Monitor | None = None
        self._phase = Phase.IDLE
        self._load = Load()

    def show(self, monitor: Monitor | None, phase: Phase, load: Load) -> None:
        """Show how `monitor`'s run stands. `phase` is Idle for a run that is not going on in this process."""
        self._monitor, self._phase, self._load = monitor, phase, load
        self.redraw()

    def rows(self, width: int, height: int, look: ChartTheme) -> list[Row]:
        monitor = self._monitor
        if monitor is None:
            return [[Segment(row, look.muted)] for row in in_rows(NOTHING, width)]
        # The name and the device come first: what there is no room for beside them can do without.
        names = in_rows([look.say(name) for name in _names(monitor, self._phase)], width)
        numbers = in_rows([look.say(word) for word in _numbers(monitor, self._load)], width)
        warned = look.say(_result(monitor)) if monitor.has_no_result else ""
        return [
            [Segment(names[0], look.title)],
            [Segment(_bar(monitor, width, look), look.text)],
            *(_with_warning(row, warned, look) for row in numbers),
        ]


class RunPane(Vertical, can_focus=True):
    """The numbers, and sparklines of the meta-loss and of what goes with it."""

    BORDER_TITLE = "Run"

    def __init__(self, classification: bool) -> None:
        super().__init__(id="run", classes="pane in-run")
        self._monitor: Monitor | None = None
        self._classification = classification
        """Whether the run that the form would start classifies images."""
        self._numbers = RunNumbers()
        self._loss, self._other = MetricSparkline(id="spark-loss"), MetricSparkline(id="spark-other")
        row = Horizontal(self._loss, self._other, id="sparklines")
        self.sparklines: tuple[Widget, ...] = (row, self._loss, self._other)
        """The row of both, and each."""

    def compose(self) -> ComposeResult:
        yield self._numbers
        yield self.sparklines[0]

    def show(self, monitor: Monitor | None, phase: Phase, load: Load) -> None:
        self._monitor = monitor
        self._numbers.show(monitor, phase, load)
        self._show_sparklines()

    def expect(self, classification: bool) -> None:
        """Name what a run of the form would have, where there is no run yet."""
        if classification != self._classification:
            self._classification = classification
            if self._monitor is None:
                self._show_sparklines()

    def _show_sparklines(self) -> None:
        monitor = self._monitor
        self._loss.show(monitor.meta_loss if monitor else History(), name="Meta-loss")
        other = self._other
        if monitor.settings.is_classification if monitor else self._classification:
            other.show(monitor.accuracy if monitor else History(), name="Accuracy", percent=True)
        else:
            other.show(monitor.grad_norm if monitor else History(), name="Meta-gradient norm")


def _names(monitor: Monitor, phase: Phase) -> list[str]:
    names = [phase.value if phase.active else monitor.status, monitor.run_id]
    if started := monitor.started:
        names += [f"{started.device} ({started.device_name})", f"engine {started.engine}"]
        names += [f"{started.parameters:,} parameters"]
    return [name for name in names if name]


def _bar(monitor: Monitor, width: int, look: ChartTheme) -> str:
    done, whole = monitor.iteration, max(1, monitor.settings.training.iterations)
    part = min(1.0, done / whole)
    counts = f" {done:,} of {whole:,} meta-steps, {int(100 * part)} %"
    room = max(0, width - len(counts))
    filled = int(part * room)
    return look.glyphs.done * filled + look.glyphs.todo * (room - filled) + counts


def _result(monitor: Monitor) -> str:
    """The test result, or the best and the last validation."""
    if monitor.test:
        return f"Test: {result_words(monitor.test, monitor.best)}"
    best, last = monitor.best, monitor.evaluation
    if last is None:
        return ""
    if _is_going(monitor) or best is None:
        return f"Validation: {standing(best, last)}"
    after = "" if best.iteration == last.iteration else f"; last validation {value(last)}"
    return f"Best validation: {headline(best)}, at {best.iteration:,}{after}"


def _with_warning(row: str, warned: str, look: ChartTheme) -> Row:
    """`row`, with the part that belongs to `warned` in the warning colour. `warned` may span several rows."""
    if warned and row in warned:
        return [Segment(row, look.warning)]
    before, found, after = row.partition(warned) if warned else (row, "", "")
    return [Segment(before, look.text), Segment(found, look.warning), Segment(after, look.text)]


def _is_going(monitor: Monitor) -> bool:
    return monitor.ended is None and not monitor.status


def _numbers(monitor: Monitor, load: Load) -> list[str]:
    words = []
    going, result = _is_going(monitor), _result(monitor)
    if result and not going:
        words.append(result)
    if going and monitor.packed:
        words.append("{:,} of {:,} images packed".format(*monitor.packed))
    if going and monitor.evaluating:
        now = monitor.evaluating
        words.append(f"evaluating: {now.done:,} of {now.tasks:,} {split_name(now.split)} tasks")
    if going and (speeds := monitor.speeds):
        words += [f"{number(speeds[0])} meta-steps/s", f"{number(speeds[1])} tasks/s"]
    words.append(f"elapsed {clock(monitor.seconds)}")
    if going and monitor.remaining is not None:
        words.append(f"remaining {clock(monitor.remaining)}")
    if result and going:
        words.append(result)
    if going:
        words += load.words()
    return words


def clock(seconds: float) -> str:
    """Seconds as m:ss or h:mm:ss."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def in_rows(parts: Iterable[str], width: int) -> list[str]:
    """`parts` beside each other in as few rows of `width` as hold them, broken between words only if one is longer."""
    rows: list[str] = []
    for part in parts:
        if rows and len(rows[-1]) + len(GAP) + len(part) <= width:
            rows[-1] += GAP + part
        else:
            rows += textwrap.wrap(part, max(1, width))
    return rows
