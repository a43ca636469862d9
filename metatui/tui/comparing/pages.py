"""The pages of a comparison that are read: what came out, and the tables."""

from __future__ import annotations

from rich.segment import Segment

from metatui.runs.comparison import Comparison
from metatui.runs.comparison.tables import tables
from metatui.runs.comparison.words import amount, interval, note_on_seeds, points, steps
from metatui.tui.charts.look import Look
from metatui.tui.charts.rows import Row
from metatui.tui.comparing.curves import colour
from metatui.tui.comparing.intervals import Estimate, bars, differences
from metatui.tui.comparing.tables import table_rows
from metatui.tui.sheet import paragraph


def result(comparison: Comparison, width: int, look: Look) -> list[Row]:
    """The metric as bars, the differences of pairs, what they say in words, and what to beware of."""
    rows: list[Row] = []
    for number, warning in enumerate(comparison.warnings):
        rows += [[]] if number else []
        rows += paragraph(f"Warning: {warning}.", width, look, look.colour("hue-vermillion", bold=True), hang=2)
    rows += [[]] if rows else []
    rows += _title(
        f"{comparison.metric.capitalize()} after {steps(comparison.protocol.steps)}, with 95 % interval", look
    )
    rows += bars(_finals(comparison), width, look)
    if comparison.pairs:
        unit = "points" if comparison.metric == "accuracy" else "loss"
        rows += [[], *_title(f"Differences task by task ({unit}), with 95 % interval", look)]
        rows += differences(_pairs(comparison), width, look)
    rows += [[], *_title("In words", look)]
    sentences = [f"{verdict}." for verdict in comparison.verdicts] or ["No two of these runs had the same tasks."]
    for sentence in sentences:
        rows += paragraph(f"{look.glyphs.bullet} {sentence}", width, look, look.text, hang=2)
    if note := note_on_seeds(comparison):
        rows += [[], *paragraph(note, width, look, look.muted)]
    return rows


def all_tables(comparison: Comparison, width: int, look: Look) -> list[Row]:
    """Costs first: what the other pages do not show."""
    found = sorted(tables(comparison), key=lambda table: not table.title.startswith(("Costs", "First")))
    return [row for table in found for row in table_rows(table, width, look)]


def _title(text: str, look: Look) -> list[Row]:
    return [[Segment(look.say(text), look.title)]]


def _finals(comparison: Comparison) -> list[Estimate]:
    scale = 100 if comparison.metric == "accuracy" else 1
    found = []
    for number, run in enumerate(comparison.runs):
        mean, half = run.evaluation.final
        words = amount(comparison.metric, mean, half)
        found.append(Estimate(run.label, colour(number), scale * mean, scale * half, words))
    return found


def _pairs(comparison: Comparison) -> list[Estimate]:
    scale, said = (100, points) if comparison.metric == "accuracy" else (1, interval)
    return [
        Estimate(
            f"{pair.a.label} − {pair.b.label}",
            "hue-plain",
            scale * pair.test.mean,
            scale * pair.test.ci95,
            f"{'+' if pair.test.mean > 0 else ''}{said(pair.test.mean, pair.test.ci95)}",
        )
        for pair in comparison.pairs
    ]
