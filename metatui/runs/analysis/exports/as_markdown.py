"""A comparison as Markdown: protocol, conclusions, pictures, tables and warnings."""

from __future__ import annotations

from collections.abc import Iterable

from metatui.runs.analysis.comparison.formatting import note_on_seeds, protocol_words
from metatui.runs.analysis.comparison.tables import TextTable, tables
from metatui.runs.analysis.comparison.values import Comparison
from metatui.runs.analysis.exports.sidecar_images import ImageWriter
from metatui.runs.analysis.exports.svg import panels


def as_markdown(comparison: Comparison, beside: ImageWriter | None = None) -> str:
    """
    Args:
        beside: takes the pictures; there are none where None.
    """
    parts = ["# Comparison", f"{protocol_words(comparison)}. Intervals are 95 %."]
    if comparison.warnings:
        parts += ["## Warnings", bullets(comparison.warnings)]
    first = comparison.conclusions
    if first:
        parts += ["## In words", bullets(first)]
    if note := note_on_seeds(comparison):
        parts.append(note)
    if beside is not None:
        parts += ["## Pictures", beside.links(panels(comparison))]
    for table in tables(comparison):
        parts += [f"## {literal(table.title)}", pipe_table(table)]
    if others := [verdict for verdict in comparison.verdicts if verdict not in first]:
        parts += ["## Every pair in words", bullets(others)]
    return "\n\n".join(parts) + "\n"


def pipe_table(table: TextTable) -> str:
    """Without its title."""
    aligned = ["---" if column < table.names else "---:" for column in range(len(table.headings))]
    lines = (table.headings, aligned, *table.rows)
    return "\n".join(f"| {' | '.join(map(literal, line))} |" for line in lines)


def bullets(sentences: Iterable[str]) -> str:
    return "\n".join(f"- {literal(sentence)}" for sentence in sentences)


def literal(text: str) -> str:
    """Text in which nothing is taken for markup: names of runs may hold any character."""
    return "".join(f"\\{c}" if c in "\\`*_[]<>|#" else c for c in text)
