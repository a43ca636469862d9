"""Steps of a recording that compare and explore the runs of a suite in the app, using the keyboard."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from tests.terminal.terminal import Terminal

MAX_SUITES: Final = 20

MEASURED: Final = 1800.0
"""Timeout for a long computation such as a comparison, in seconds. It is enough for a large suite on a busy machine."""


def studies(at: Terminal, suite: str, *, compared: int = 0, explored: Sequence[int] = (0,)) -> Iterator[str]:
    """Compare and explore runs of a suite in the app, then quit the app.

    Yield the name of each step when its screen is visible.

    Args:
        suite: name of a suite with at least two finished runs and no run in progress.
        compared: row, in the table of the suite, of a run that belongs to the comparison to open.
        explored: rows, in the table of all runs, of up to three runs to explore.
    """
    at.see("Settings", "F5 Start")
    at.press("u")
    at.see("Suites: lists of runs", "runs finished")
    choose(at, suite)
    yield "17-suite"

    at.press("enter")
    for _ in range(compared):
        at.press("down")
    at.press("enter")
    at.see("In words", patience=MEASURED)
    yield "18-compare"
    for key, text in (("1", "meta-steps"), ("2", "inner step"), ("4", "Cost of training")):
        at.press(key)
        at.see(text)
    at.press("escape")
    at.see("Suites: lists of runs")
    at.press("escape")
    at.see_gone("Suites: lists of runs")

    at.press("2")
    at.see("Result", "preset suite")
    mark(at, explored)
    at.press("a")
    at.see("Held-out test task 0", "Inner rate")
    at.until(lambda: "adapting" not in at.text and "Adapting" not in at.text, "the adapted task", MEASURED)
    yield "19-explorer"
    at.press("escape")
    at.see("preset suite")
    at.press("v")
    at.see("Parameter space of", "component 1", "held-out test tasks", patience=MEASURED)
    yield "20-parameter-space"
    at.press("escape")
    at.see("preset suite")
    at.press("i")
    at.see("Pseudo-code")
    yield "21-explain"
    at.press("escape")
    at.see("preset suite")
    at.press("f10")


def choose(at: Terminal, suite: str) -> None:
    """Move the cursor down in the list of suites until `suite` is selected."""
    for _ in range(MAX_SUITES):
        before = shown(at)
        if before == suite:
            return
        at.press("down")
        at.until(lambda then=before: shown(at) not in ("", then), "the next suite")  # type: ignore[misc]
    raise AssertionError(f"there is no suite {suite}\n{at.text}")


def shown(at: Terminal) -> str:
    """Return the name of the suite whose runs are shown, or an empty string while the runs are being read."""
    return next((row.split()[0] for row in at.rows if row.rstrip().endswith("runs finished")), "")


def mark(at: Terminal, rows: Sequence[int]) -> None:
    """Mark the runs in `rows` of the table of runs, and wait until the notification about them has disappeared.

    The cursor must be in the first row of the table.
    """
    cursor = 0
    for number, row in enumerate(rows, 1):
        for _ in range(abs(row - cursor)):
            at.press("down" if row > cursor else "up")
        cursor = row
        at.press("space")
        at.see(f"[{number}]")
    notification = f"{len(rows)} of at most 3"
    at.see(notification, patience=MEASURED)
    at.see_gone(notification)
