"""Pane with the state of the run: name, device, progress, speed, time, memory and load, and two sparklines."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable

from rich.segment import Segment
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.widget import Widget

from metatui.tui.actions import Phase
from metatui.tui.formatting import best_and_last, headline, number, result_words, split_name, value
from metatui.tui.model.history import History
from metatui.tui.model.run_model import RunModel
from metatui.tui.system_monitor import Load
from metatui.tui.widgets.charts import MetricSparkline
from metatui.tui.widgets.charts.chart_theme import ChartTheme
from metatui.tui.widgets.charts.row_widget import Row, RowsWidget

GAP = "   "
NO_RUN = (
    "No run yet.",
    "Press F5 to start one with the settings in the form.",
    "Press 2 for earlier runs.",
    "Press 3 for presets.",
)


class RunNumbers(RowsWidget):
    """Four rows with name and device, a progress bar, and numbers."""

    DEFAULT_CSS = "RunNumbers { height: 4; }"

    def __init__(self) -> None:
        super().__init__(id="run-numbers")
        self._model: RunModel | None = None
        self._phase = Phase.IDLE
        self._load = Load()

    def show(self, model: RunModel | None, phase: Phase, load: Load) -> None:
        """Show a run. `phase` is IDLE for a run that is not followed."""
        self._model, self._phase, self._load = model, phase, load
        self.redraw()

    def rows(self, width: int, height: int, theme: ChartTheme) -> list[Row]:
        model = self._model
        if model is None:
            return [[Segment(row, theme.muted)] for row in in_rows(NO_RUN, width)]
        # Names that do not fit into the first row are omitted.
        names = in_rows([theme.printable(name) for name in _names(model, self._phase)], width)
        numbers = in_rows([theme.printable(text) for text in _numbers(model, self._load)], width)
        warning = theme.printable(_result(model)) if model.has_no_result else ""
        return [
            [Segment(names[0], theme.title)],
            [Segment(_bar(model, width, theme), theme.text)],
            *(_with_warning(row, warning, theme) for row in numbers),
        ]


class RunPane(Vertical, can_focus=True):
    """Shows numbers, and sparklines of the meta-loss and of the accuracy or gradient norm."""

    BORDER_TITLE = "Run"

    def __init__(self, classification: bool) -> None:
        super().__init__(id="run", classes="pane in-run")
        self._model: RunModel | None = None
        self._classification = classification
        """True if the form is for image classification."""
        self._numbers = RunNumbers()
        self._loss, self._other = MetricSparkline(id="spark-loss"), MetricSparkline(id="spark-other")
        row = Horizontal(self._loss, self._other, id="sparklines")
        self.sparklines: tuple[Widget, ...] = (row, self._loss, self._other)
        """The row of both sparklines, and each sparkline."""

    def compose(self) -> ComposeResult:
        yield self._numbers
        yield self.sparklines[0]

    def show(self, model: RunModel | None, phase: Phase, load: Load) -> None:
        """Show a run. `phase` is IDLE for a run that is not followed."""
        self._model = model
        self._numbers.show(model, phase, load)
        self._show_sparklines()

    def expect(self, classification: bool) -> None:
        """Without a run, label the sparklines for a run with the settings in the form."""
        if classification != self._classification:
            self._classification = classification
            if self._model is None:
                self._show_sparklines()

    def _show_sparklines(self) -> None:
        model = self._model
        self._loss.show(model.meta_loss if model else History(), name="Meta-loss")
        if model.settings.is_classification if model else self._classification:
            self._other.show(model.accuracy if model else History(), name="Accuracy", percent=True)
        else:
            self._other.show(model.grad_norm if model else History(), name="Meta-gradient norm")


def _names(model: RunModel, phase: Phase) -> list[str]:
    names = [phase.value if phase.active else model.status, model.run_id]
    if started := model.started:
        names += [f"{started.device} ({started.device_name})", f"engine {started.engine}"]
        names += [f"{started.parameters:,} parameters"] if started.parameters else []
    return [name for name in names if name]


def _bar(model: RunModel, width: int, theme: ChartTheme) -> str:
    done, total = model.iteration, max(1, model.settings.training.iterations)
    share = min(1.0, done / total)
    counts = f" {done:,} of {total:,} meta-steps, {int(100 * share)} %"
    room = max(0, width - len(counts))
    filled = int(share * room)
    return theme.glyphs.done * filled + theme.glyphs.todo * (room - filled) + counts


def _result(model: RunModel) -> str:
    """Describe the test result, or the best and the last validation."""
    if model.test:
        return f"Test: {result_words(model.test, model.best)}"
    best, last = model.best, model.evaluation
    if last is None:
        return ""
    if model.is_followed or best is None:
        return f"Validation: {best_and_last(best, last)}"
    after = "" if best.iteration == last.iteration else f"; last validation {value(last)}"
    return f"Best validation: {headline(best)}, at {best.iteration:,}{after}"


def _with_warning(row: str, warning: str, theme: ChartTheme) -> Row:
    """Return `row` with its part of `warning` in the warning colour. `warning` may span several rows."""
    if warning and row in warning:
        return [Segment(row, theme.warning)]
    before, match, after = row.partition(warning) if warning else (row, "", "")
    return [Segment(before, theme.text), Segment(match, theme.warning), Segment(after, theme.text)]


def _numbers(model: RunModel, load: Load) -> list[str]:
    result = _result(model)
    elapsed = f"elapsed {clock(model.seconds)}"
    if not model.is_followed:
        return [result, elapsed] if result else [elapsed]
    texts = []
    if model.packed:
        texts.append("{:,} of {:,} images packed".format(*model.packed))
    if now := model.evaluating:
        texts.append(f"evaluating: {now.done:,} of {now.tasks:,} {split_name(now.split)} tasks")
    if speeds := model.speeds:
        texts += [f"{number(speeds[0])} meta-steps/s", f"{number(speeds[1])} tasks/s"]
    texts.append(elapsed)
    if model.remaining is not None:
        texts.append(f"remaining {clock(model.remaining)}")
    if result:
        texts.append(result)
    return texts + load.words()


def clock(seconds: float) -> str:
    """Format seconds as m:ss or h:mm:ss."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def in_rows(parts: Iterable[str], width: int) -> list[str]:
    """Join `parts` into as few rows of `width` columns as possible, splitting only parts that are longer than a row."""
    rows: list[str] = []
    for part in parts:
        if rows and len(rows[-1]) + len(GAP) + len(part) <= width:
            rows[-1] += GAP + part
        else:
            rows += textwrap.wrap(part, max(1, width))
    return rows
