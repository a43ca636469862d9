"""Table of figures and their limits."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    what: str
    limit: str
    """Limit as text; empty if there is no limit."""
    measured: str
    kept: bool | None = None
    """True if the figure is within the limit; None if there is no limit."""


def rows(figures: Iterable[Figure]) -> Iterable[str]:
    """Return the lines of the table, in Markdown."""
    for figure in figures:
        verdict = {True: "yes", False: "**no**", None: ""}[figure.kept]
        yield f"| {figure.what} | {figure.limit} | {figure.measured} | {verdict} |"


HEAD = ("| what | limit | measured | kept |", "|---|---|---|---|")
