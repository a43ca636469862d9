"""Rows of the list of runs: their texts, their order, and the text that the filter searches."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from metatui.runs.formatting import accuracy
from metatui.runs.storage.summary import RunSummary
from metatui.tui.formatting import best_and_last
from metatui.tui.widgets.table import Cell, Column, Item
from metatui.utils.numbers import format_diverged, interval

LIVE = "● "
"""Marker before the status of a run that is training."""

STATUSES = ("running", "paused", "interrupted", "failed", "stopped", "finished")
"""Order of statuses when runs are sorted by status. Runs that may need attention come first."""


def is_live(run: RunSummary) -> bool:
    return run.status in ("running", "paused")


def result(run: RunSummary) -> str:
    """Format the test metric with its interval, or, if there is no test, the best and the last validation result."""
    test, last = run.test, run.validation or run.best
    if test is None:
        return best_and_last(run.best, last) if last else "no validation yet"
    if test.diverged and not test.is_finite:
        return f"test: {format_diverged(test.diverged, test.tasks)}"
    text = f"test {accuracy(*test.final)}" if test.accuracy else f"test loss {interval(*test.final)}"
    return f"{text}, {test.diverged:,} diverged" if test.diverged else text


def has_no_result(run: RunSummary) -> bool:
    """Return whether the test result, or the last validation result of a run without a test, is not finite."""
    last = run.test or run.validation
    return last is not None and not last.is_finite


def start_time(run: RunSummary) -> str:
    """Format the local start time of the run."""
    return f"{run.started.astimezone():%Y-%m-%d %H:%M}"


def _result_sort_key(run: RunSummary) -> tuple[bool, float] | None:
    """Return a sort key for the result of a run. In descending order, accuracies come before losses, best first."""
    best = run.test or run.best
    if best is None or not best.is_finite:
        return None
    return (True, best.final[0]) if best.accuracy else (False, -best.final[0])


COLUMNS: Final = (
    Column("[ ]"),
    Column("Run", least=20, sortable=True, keeps_end=True),
    Column("Seed", right=True, optional=True),
    Column("Status", sortable=True),
    Column("Result", least=10, sortable=True, needs=20),
    Column("Meta-steps", right=True, sortable=True),
    Column("Preset", least=13, sortable=True),  # wide enough for `changed live…`
    Column("Started", sortable=True),
)
MARK: Final = 0
"""Position in `COLUMNS` of the column that shows the marks."""
SORTABLE: Final = tuple(number for number, column in enumerate(COLUMNS) if column.sortable)

SORT_KEYS: Final[Mapping[str, Callable[[RunSummary], Any]]] = {
    "Run": lambda run: run.id,
    "Status": lambda run: STATUSES.index(run.status),
    "Result": _result_sort_key,
    "Meta-steps": lambda run: run.iteration,
    "Preset": lambda run: run.preset,
    "Started": lambda run: (run.started, run.id),
}
"""Functions that return the value by which a run is sorted, keyed by the title of the column. Runs for which the
function returns None come last."""

DESCENDING: Final = frozenset({"Result", "Meta-steps", "Started"})
"""Titles of the columns that are sorted from the largest to the smallest value by default."""


class Order(NamedTuple):
    """Order of the list: the column by which it is sorted, and the direction."""

    column: int = len(COLUMNS) - 1
    reverse: bool = False
    """True if the order is the reverse of the default order of the column."""

    @property
    def descends(self) -> bool:
        return (COLUMNS[self.column].title in DESCENDING) is not self.reverse

    def by(self, column: int) -> Order:
        """Return the order by `column`. If this order already sorts by `column`, return its reverse."""
        return self.reversed() if column == self.column else Order(column)

    def next(self) -> Order:
        return Order(SORTABLE[(SORTABLE.index(self.column) + 1) % len(SORTABLE)])

    def reversed(self) -> Order:
        return Order(self.column, not self.reverse)

    def sorted(self, runs: Sequence[ListedRun]) -> list[ListedRun]:
        """Sort `runs`, which must be in order from newest to oldest. Runs with the same value keep this order."""
        key = SORT_KEYS[COLUMNS[self.column].title]
        keyed = [(key(each.run), each) for each in runs]
        known = sorted((each for each in keyed if each[0] is not None), key=lambda each: each[0], reverse=self.descends)
        return [run for _, run in (*known, *(each for each in keyed if each[0] is None))]


class ListedRun:
    """A run and the texts of its row, which are formatted only once, so that a list of many runs stays fast."""

    def __init__(self, run: RunSummary) -> None:
        self.run = run
        self.key = run.run.path.name
        self.id = run.id
        outcome, preset = result(run), run.preset or "none"
        # The short texts omit, or put last, what other columns or words also show.
        self._short_id = re.sub(r"-\d{8}-(?=\d{6})", "…", run.id)
        self._cells = (
            Cell(f"{LIVE if is_live(run) else ''}{run.status.capitalize()}{', trained' if run.is_untested else ''}"),
            Cell(outcome, "warning" if has_no_result(run) else "text", short=outcome.removeprefix("test ")),
            Cell(f"{run.iteration:,}"),
            Cell(f"{preset}, changed live", short=f"changed live, {preset}") if run.changed_live else Cell(preset),
            Cell(start_time(run), "muted"),
        )
        parts = [run.id, run.status, run.preset or "", start_time(run)]
        if run.settings:
            parts += [run.settings.algorithm.name, run.settings.task.source]
        self._words = " ".join(parts).lower()

    def contains(self, words: Sequence[str]) -> bool:
        """Return whether each of the lower-case `words` occurs in the name, status, preset, date, algorithm or data."""
        return all(word in self._words for word in words)

    def item(self, mark: int | None = None, colour: str = "", *, with_seed: bool = False) -> Item:
        """Return the row of the run.

        Args:
            mark: position of the run among the marked runs, counted from 1, or None if it is not marked.
            colour: colour of the run in charts, or an empty string if it has not appeared in a chart.
            with_seed: whether the row contains the seed, which it should if the listed runs have different seeds.
        """
        box = Cell("[ ]", colour=colour) if mark is None else Cell(f"[{mark}]", "title", colour)
        seed = Cell(f"{self.run.seed:,}" if with_seed and self.run.seed is not None else "")
        return Item(self.key, (box, Cell(self.id, colour=colour, short=self._short_id), seed, *self._cells))


def listed_runs(runs: Sequence[RunSummary], before: Mapping[str, ListedRun]) -> dict[str, ListedRun]:
    """Return a `ListedRun` for each run, keyed by run name. An unchanged run keeps its `ListedRun` from `before`."""
    fresh = {}
    for run in runs:
        old = before.get(run.run.path.name)
        fresh[run.run.path.name] = old if old and old.run == run else ListedRun(run)
    return fresh
