"""What the tables of the suite screen have in their cells, and what is said beside them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from metatui.runs.analysis.comparison.formatting import result
from metatui.runs.suites import RunStanding, Suite, SuiteStanding
from metatui.tui.terminal.symbols import Glyphs

BAR: Final = 10
"""Cells of a run's bar."""

SUITE_HEADINGS: Final = ("Suite", "Finished", "What")
RUN_HEADINGS: Final = ("Comparison", "Run", "Done", "State", "Meta-steps")
"""The last one where there is room."""


def suite_row(suite: Suite, own: bool, standing: SuiteStanding | None) -> tuple[str, ...]:
    total = len(suite.runs)
    done = f"{standing.finished} of {total}" if standing else f"? of {total}"
    running = ", running" if standing and standing.running else ""
    return suite.name, done + running, f"{'Yours: ' if own else ''}{suite.title}"


def run_rows(runs: Sequence[RunStanding], glyphs: Glyphs) -> list[tuple[str, ...]]:
    """A row for each run; a comparison is named once, where its runs begin."""
    rows: list[tuple[str, ...]] = []
    before = ""
    for run in runs:
        planned = run.planned
        name = "" if planned.comparison == before else planned.comparison
        before = planned.comparison
        rows.append((name, planned.label, bar(run.share, BAR, glyphs), state(run), meta_steps(run)))
    return rows


def state(run: RunStanding) -> str:
    """How a run stands, with the test of one that is finished and the last meta-step of one that trains."""
    match run.status:
        case "finished":
            if run.test is None:
                return "finished"
            said = result("accuracy" if run.test.accuracy else "loss", run.test)
            if not run.test.is_finite:
                return f"test: {said}"
            return f"test {said}" if run.test.accuracy else f"test loss {said}"
        case "running":
            return f"training{_last(run)}"
        case "interrupted" | "stopped":
            return f"stopped{_last(run)}"
        case _:
            return run.status


def _last(run: RunStanding) -> str:
    progress = run.progress
    if progress is None:
        return ""
    if progress.accuracy is not None and math.isfinite(progress.accuracy):
        return f", accuracy {100 * progress.accuracy:.1f} %"
    return f", meta-loss {progress.meta_loss:.4g}" if math.isfinite(progress.meta_loss) else ", meta-loss not finite"


def meta_steps(run: RunStanding) -> str:
    total = f"{run.planned.iterations:,}"
    return f"{run.iteration:>{len(total)},} of {total}" if run.planned.iterations else "none to make"


def bar(share: float, width: int, glyphs: Glyphs) -> str:
    """Full only where all is done, and empty only where nothing is."""
    filled = round(share * width)
    if 0 < share < 1:
        filled = max(1, min(width - 1, filled))
    return glyphs.done * filled + glyphs.todo * (width - filled)


def about(suite: Suite) -> list[str]:
    """What to know of it, and where it comes from."""
    parts = {"": suite.title, "Notes: ": suite.notes, "Measured: ": suite.measured, "From: ": suite.source}
    said = [f"{name}{text}" for name, text in parts.items() if text]
    return said + [f"{part.name}: {warning}." for part in suite.comparisons for warning in part.warnings]


def failures(standing: SuiteStanding) -> list[str]:
    """A sentence for each run that failed."""
    return [f"{run.planned.name} failed: {run.problem}." for run in standing.runs if run.status == "failed"]
