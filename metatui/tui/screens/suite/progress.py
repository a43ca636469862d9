"""Texts and bars that describe a suite and its progress."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from rich.segment import Segment

from metatui.runs.analysis.comparison.formatting import result
from metatui.runs.suites import RunStatus, Suite, SuiteStatus
from metatui.runs.suites.status import describe_status
from metatui.tui.terminal.symbols import Glyphs
from metatui.tui.widgets.charts.chart_theme import ChartTheme
from metatui.tui.widgets.charts.row_widget import Row, RowsWidget, truncate
from metatui.tui.widgets.scroll_view import paragraph
from metatui.tui.widgets.table import Cell, Column, Item

RUN_BAR: Final = 10
"""Width of the progress bar of a run, in cells."""
MAX_BAR_WIDTH: Final = 60
"""Maximum width of the progress bar of a suite, in cells."""

SUITE_COLUMNS: Final = (Column("Suite"), Column("Finished"), Column("What", least=8))
RUN_COLUMNS: Final = (
    Column("Comparison"),
    Column("Run"),
    Column("Done"),
    Column("State", least=8),
    Column("Meta-steps", right=True),
)


class Description(RowsWidget):
    """Shows the description of a suite in paragraphs, truncated with an ellipsis if they do not fit."""

    DEFAULT_CSS = """
    Description { height: 3; padding: 0 1; }
    .-high Description { height: 7; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._paragraphs: Sequence[str] = ()

    def show(self, paragraphs: Sequence[str]) -> None:
        self._paragraphs = paragraphs
        self.redraw()

    def rows(self, width: int, height: int, theme: ChartTheme) -> list[Row]:
        rows = [row for text in self._paragraphs for row in paragraph(text, width, theme, theme.muted)]
        if len(rows) > height > 0:
            ellipsis = theme.glyphs.ellipsis
            (last,) = rows[height - 1]
            rows[height - 1] = [Segment(truncate(f"{last.text} {ellipsis}", width, ellipsis), theme.muted)]
        return rows


class SuiteProgress(RowsWidget):
    """Shows one bar for the progress of all runs of a suite, and the number of finished runs."""

    DEFAULT_CSS = "SuiteProgress { height: 2; padding: 1 1 0 1; }"

    def __init__(self) -> None:
        super().__init__()
        self._suite = ""
        self._status: SuiteStatus | None = None

    def show(self, name: str, status: SuiteStatus | None) -> None:
        self._suite, self._status = name, status
        self.redraw()

    def rows(self, width: int, height: int, theme: ChartTheme) -> list[Row]:
        if self._status is None:
            return [[Segment(theme.printable(f"{self._suite}: reading its runs…"), theme.muted)]] if self._suite else []
        state = theme.printable(describe_status(self._status))
        name = truncate(theme.printable(self._suite), max(8, width // 3), theme.glyphs.ellipsis)
        room = min(MAX_BAR_WIDTH, width - len(name) - len(state) - 4)
        drawn = bar(self._status.share, room, theme.glyphs) if room >= 4 else ""
        done = drawn.rstrip(theme.glyphs.todo)
        row = [
            Segment(f"{name}  ", theme.title),
            Segment(done, theme.colour("hue-blue")),
            Segment(drawn[len(done) :], theme.muted),
            Segment(f"  {state}", theme.text),
        ]
        return [row]


def suite_row(key: str, suite: Suite, own: bool, status: SuiteStatus | None) -> Item:
    total = len(suite.runs)
    done = f"{status.finished} of {total}" if status else f"? of {total}"
    running = ", running" if status and status.running else ""
    return _item(key, suite.name, done + running, f"{'Yours: ' if own else ''}{suite.title}")


def _item(key: str, *texts: str) -> Item:
    return Item(key, tuple(map(Cell, texts)))


def run_rows(runs: Sequence[RunStatus], glyphs: Glyphs) -> list[Item]:
    """Return a row for each run, with the run's name as key. Each comparison is named only in its first row."""
    rows: list[Item] = []
    before = ""
    for run in runs:
        planned = run.planned
        name = "" if planned.comparison == before else planned.comparison
        before = planned.comparison
        done = bar(run.share, RUN_BAR, glyphs)
        rows.append(_item(planned.name, name, planned.label, done, _state(run), _meta_steps(run)))
    return rows


def _state(run: RunStatus) -> str:
    """Return the state of a run in words.

    For a finished run, this includes the test result; for a run that is training or stopped, the latest metric.
    """
    match run.status:
        case "finished":
            if run.test is None:
                return "finished"
            words = result("accuracy" if run.test.accuracy else "loss", run.test)
            if not run.test.is_finite:
                return f"test: {words}"
            return f"test {words}" if run.test.accuracy else f"test loss {words}"
        case "running":
            return f"training{_last_value(run)}"
        case "interrupted" | "stopped":
            return f"stopped{_last_value(run)}"
        case _:
            return run.status


def _last_value(run: RunStatus) -> str:
    progress = run.progress
    if progress is None:
        return ""
    if progress.accuracy is not None and math.isfinite(progress.accuracy):
        return f", accuracy {100 * progress.accuracy:.1f} %"
    return f", meta-loss {progress.meta_loss:.4g}" if math.isfinite(progress.meta_loss) else ", meta-loss not finite"


def _meta_steps(run: RunStatus) -> str:
    return f"{run.iteration:,} of {run.planned.iterations:,}" if run.planned.iterations else "no training"


def bar(share: float, width: int, glyphs: Glyphs) -> str:
    """Draw a progress bar for the fraction `share`. It is full only if `share` is 1, and empty only if `share` is 0."""
    filled = round(share * width)
    if 0 < share < 1:
        filled = max(1, min(width - 1, filled))
    return glyphs.done * filled + glyphs.todo * (width - filled)


def describe_suite(suite: Suite) -> list[str]:
    """Return the paragraphs of a suite's description, followed by its warnings."""
    parts = {"": suite.title, "Notes: ": suite.notes, "Measured: ": suite.measured, "From: ": suite.source}
    paragraphs = [f"{name}{text}" for name, text in parts.items() if text]
    return paragraphs + [f"{part.name}: {warning}." for part in suite.comparisons for warning in part.warnings]


def failures(status: SuiteStatus) -> list[str]:
    """Return a sentence for each failed run."""
    return [f"{run.planned.name} failed: {run.problem}." for run in status.runs if run.status == "failed"]
