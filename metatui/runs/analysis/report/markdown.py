"""A report as Markdown, its pictures in files beside it."""

from __future__ import annotations

from metatui.runs.analysis.comparison.values import Comparison
from metatui.runs.analysis.exports.as_markdown import bullets, literal, pipe_table
from metatui.runs.analysis.exports.sidecar_images import ImageWriter
from metatui.runs.analysis.report.content import Block, Pictures, Sentences, report


def as_markdown(comparison: Comparison, beside: ImageWriter | None = None) -> str:
    """
    Args:
        beside: takes the pictures; there are none where None.
    """
    told = report(comparison)
    parts = [f"# {literal(told.title)}", f"{literal(told.summary)}."]
    if told.warnings:
        parts.append(bullets(f"Warning: {warning}." for warning in told.warnings))
    for section in told.sections:
        shown = [text for block in section.blocks if (text := _block(block, beside))]
        if shown:
            parts += [f"## {literal(section.title)}", *shown]
    return "\n\n".join(parts) + "\n"


def _block(block: Block, beside: ImageWriter | None) -> str | None:
    match block:
        case str():
            return literal(block)
        case Sentences(said):
            return bullets(said)
        case Pictures(panels):
            return beside.links(panels) if beside is not None else None
        case _:
            return f"{literal(block.title)}:\n\n{pipe_table(block)}"
