"""The pages of a comparison that are read: what came out, and the tables."""

from __future__ import annotations

from rich.segment import Segment

from metatui.runs.analysis.comparison import Comparison, Pair
from metatui.runs.analysis.comparison.formatting import note_on_seeds, points, steps
from metatui.runs.analysis.comparison.formatting import result as result_words
from metatui.runs.analysis.comparison.tables import tables
from metatui.tui.screens.compare.intervals import Estimate, bars, differences
from metatui.tui.screens.compare.seed_groups import colours
from metatui.tui.screens.compare.tables import table_rows
from metatui.tui.widgets.charts.chart_theme import ChartTheme
from metatui.tui.widgets.charts.row_widget import Row
from metatui.tui.widgets.scroll_view import paragraph
from metatui.utils.numbers import interval


def result(comparison: Comparison, width: int, look: ChartTheme) -> list[Row]:
    """What to beware of, what came out in words, then the metric as bars and the differences behind the words."""
    rows: list[Row] = []
    for number, warning in enumerate(comparison.warnings):
        rows += [[]] if number else []
        rows += paragraph(f"Warning: {warning}.", width, look, look.colour("hue-vermillion", bold=True), hang=2)
    rows += [[]] if rows else []
    rows += _title("In words", look)
    sentences = [f"{said}." for said in comparison.conclusions] or ["No two of these runs had the same tasks."]
    for sentence in sentences:
        rows += paragraph(f"{look.glyphs.bullet} {sentence}", width, look, look.text, hang=2)
    if len(comparison.deciding) < len(comparison.verdicts):
        rows += paragraph("Section 4 has every pair of runs.", width, look, look.muted)
    if note := note_on_seeds(comparison):
        rows += paragraph(note, width, look, look.muted)
    after = steps(comparison.protocol.steps)
    rows += [[], *_title(f"{comparison.metric.capitalize()} after {after}, with 95 % interval", look)]
    rows += bars(_finals(comparison), width, look)
    if comparison.deciding:
        unit = "points" if comparison.metric == "accuracy" else "loss"
        of = "over seeds" if comparison.seeds else "task by task"
        rows += [[], *_title(f"Differences {of} ({unit}), with 95 % interval", look)]
        rows += differences(_differences(comparison), width, look)
    return rows


def all_tables(comparison: Comparison, width: int, look: ChartTheme) -> list[Row]:
    """Costs first: what the other pages do not show."""
    found = sorted(tables(comparison), key=lambda table: not table.title.startswith(("Costs", "First")))
    return [row for table in found for row in table_rows(table, width, look)]


def _title(text: str, look: ChartTheme) -> list[Row]:
    return [[Segment(look.say(text), look.title)]]


def _finals(comparison: Comparison) -> list[Estimate]:
    scale = 100 if comparison.metric == "accuracy" else 1
    found = []
    for run, colour in zip(comparison.runs, colours(comparison), strict=True):
        mean, half = run.evaluation.final
        rate = run.evaluation.inner_lr
        words = result_words(comparison.metric, run.evaluation) + (f", α = {rate:g}" if rate is not None else "")
        found.append(Estimate(run.label, colour, scale * mean, scale * half, words))
    return found


def _differences(comparison: Comparison) -> list[Estimate]:
    scale, said = (100, points) if comparison.metric == "accuracy" else (1, interval)
    found = []
    for pair in comparison.deciding:
        difference = pair.test.mean if isinstance(pair, Pair) else pair.test.difference
        words = f"{'+' if difference > 0 else ''}{said(difference, pair.test.ci95)}"
        label = f"{pair.a.label} − {pair.b.label}"
        found.append(Estimate(label, "hue-plain", scale * difference, scale * pair.test.ci95, words))
    return found
