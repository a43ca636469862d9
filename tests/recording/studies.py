"""Runs of a suite looked at closely, by keyboard alone, step by step."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from tests.terminal.watching import Terminal

MOST_SUITES: Final = 20


def studies(at: Terminal, suite: str) -> Iterator[str]:
    """Starts when the app does and ends when it was told to quit; yields the name of each step when it can be seen.

    Args:
        suite: The name of one of which two runs or more of its first comparison are finished, and nothing trains.
    """
    at.see("Settings", "F5 Start")
    at.press("u")
    at.see("Suites: lists of runs", "runs finished")
    choose(at, suite)
    yield "17-suite"

    at.press("enter")
    at.press("enter")
    at.see("In words")
    yield "18-compare-result"
    for key, text, name in (
        ("1", "meta-steps", "19-compare-training"),
        ("2", "inner step", "20-compare-adaptation"),
        ("4", "Costs of training", "21-compare-tables"),
    ):
        at.press(key)
        at.see(text)
        yield name
    at.press("escape")
    at.see("Suites: lists of runs")
    at.press("escape")
    at.see_gone("Suites: lists of runs")

    at.press("2")
    at.see("Result", "preset suite")
    at.press("a")
    at.see("Held-out test task 0", "Inner rate")
    at.see_gone("adapting")
    yield "22-explorer"
    at.press("escape")
    at.see("preset suite")
    at.press("v")
    at.see("Parameter space of", "component 1", "held-out test tasks")
    yield "23-parameter-space"
    at.press("escape")
    at.see("preset suite")
    at.press("i")
    at.see("Pseudo-code")
    yield "24-explain"
    at.press("escape")
    at.see("preset suite")
    at.press("f10")


def choose(at: Terminal, suite: str) -> None:
    """Move down the list of suites to the one with this name."""
    for _ in range(MOST_SUITES):
        before = shown(at)
        if before == suite:
            return
        at.press("down")
        at.until(lambda then=before: shown(at) not in ("", then), "the next suite")  # type: ignore[misc]
    raise AssertionError(f"there is no suite {suite}\n{at.text}")


def shown(at: Terminal) -> str:
    """The name of the suite whose runs are seen; empty while they are read."""
    return next((row.split()[0] for row in at.rows if row.rstrip().endswith("runs finished")), "")
