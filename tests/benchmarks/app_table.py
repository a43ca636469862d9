"""Markdown table of measured figures and their limits."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    what: str
    limit: str
    """Limit as text, or an empty string if there is no limit."""
    measured: str
    kept: bool | None = None
    """Whether the figure is within the limit, or None if there is no limit."""


def rows(figures: Iterable[Figure]) -> Iterable[str]:
    """Yield one row of a Markdown table for each figure."""
    for figure in figures:
        verdict = {True: "yes", False: "**no**", None: ""}[figure.kept]
        yield f"| {figure.what} | {figure.limit} | {figure.measured} | {verdict} |"


HEAD = ("| what | limit | measured | kept |", "|---|---|---|---|")
