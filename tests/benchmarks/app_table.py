"""Figures beside their limits, as a table."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    what: str
    limit: str
    """Empty where there is none."""
    measured: str
    kept: bool | None = None
    """Whether the limit is kept; None where there is none."""


def rows(figures: Iterable[Figure]) -> Iterable[str]:
    """The table's lines, in Markdown."""
    for figure in figures:
        verdict = {True: "yes", False: "**no**", None: ""}[figure.kept]
        yield f"| {figure.what} | {figure.limit} | {figure.measured} | {verdict} |"


HEAD = ("| what | limit | measured | kept |", "|---|---|---|---|")
