"""Text pages of a comparison: conclusions, bars with intervals, and tables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from rich.cells import cell_len
from rich.segment import Segment

from metatui.runs.analysis.comparison import Comparison, Pair
from metatui.runs.analysis.comparison.formatting import (
    after_steps,
    deviation,
    group_result,
    main_results,
    note_on_seeds,
    points,
    protocol_words,
)
from metatui.runs.analysis.comparison.formatting import result as result_words
from metatui.runs.analysis.comparison.tables import (
    TextTable,
    adaptation,
    costs,
    differing_settings,
    groups,
    paired_tests_table,
    results,
    seed_tests,
    to_target,
)
from metatui.tui.screens.compare.curves import CurveOptions, run_colours, run_groups
from metatui.tui.widgets.charts.axis import Axis, dot, range_axis
from metatui.tui.widgets.charts.chart_theme import ChartTheme
from metatui.tui.widgets.charts.row_widget import Row, merged, padded, truncate
from metatui.tui.widgets.scroll_view import paragraph
from metatui.utils.numbers import interval, with_minus

COLUMN_GAP = 2
MIN_NAME_WIDTH = 12


def result_page(comparison: Comparison, view: CurveOptions, width: int, theme: ChartTheme) -> list[Row]:
    """Return warnings, conclusions, a bar for the metric of each run, and the differences stated in the conclusions."""
    rows = _warnings(comparison, width, theme)
    rows += _title("In words", width, theme)
    for sentence in main_results(comparison):
        rows += paragraph(f"{theme.glyphs.bullet} {sentence}.", width, theme, theme.text, hang=2)
    if len(comparison.runs) > 1 and not comparison.verdicts:
        rows += paragraph("No two of these runs were evaluated on the same tasks.", width, theme, theme.text)
    if len(comparison.deciding) < len(comparison.verdicts):
        rows += paragraph("Section 4 compares every pair of runs.", width, theme, theme.muted)
    if note := note_on_seeds(comparison):
        rows += paragraph(note, width, theme, theme.muted)
    rows += _results(comparison, view, width, theme)
    if estimates := _differences(comparison):
        unit = "points" if comparison.metric == "accuracy" else "loss"
        over = "over seeds" if comparison.seeds else "task by task"
        rows += [[], *_title(f"Differences {over} ({unit}), with 95 % intervals", width, theme)]
        rows += differences(estimates, width, theme)
    return rows


def partial_page(measured: Comparison, count: int, view: CurveOptions, width: int, theme: ChartTheme) -> list[Row]:
    """Return the warnings and the bars of the runs measured so far, and how many of `count` runs these are."""
    rows = _warnings(measured, width, theme)
    rows += _title(f"Measured so far: {len(measured.runs)} of {count} runs", width, theme)
    rows += paragraph("The tests and the conclusions follow when all runs are measured.", width, theme, theme.muted)
    return [*rows, *_results(measured, view, width, theme)]


def repeated_page(
    earlier: Comparison, measured: Comparison | None, count: int, view: CurveOptions, width: int, theme: ChartTheme
) -> list[Row]:
    """Return the page during a repeated measurement: the runs measured so far, if any, above the earlier results."""
    rows: list[Row] = []
    if measured is not None:
        rows += _title(f"New measurement: {protocol_words(measured)}", width, theme)
        rows += [[], *partial_page(measured, count, view, width, theme), []]
    rows += _title(f"Earlier results: {protocol_words(earlier)}", width, theme)
    return [*rows, [], *result_page(earlier, view, width, theme)]


def tables_page(comparison: Comparison, width: int, theme: ChartTheme) -> list[Row]:
    """Return the page with all tables. Tables that contain information found in no other section come first."""
    order = (groups, differing_settings, costs, to_target, results, adaptation, seed_tests, paired_tests_table)
    shown = [table for make in order if (table := make(comparison)) is not None]
    return [row for table in shown for row in _table(table, width, theme)]


def _warnings(comparison: Comparison, width: int, theme: ChartTheme) -> list[Row]:
    rows: list[Row] = []
    for warning in comparison.warnings:
        style = theme.colour("hue-vermillion", bold=True)
        rows += [*paragraph(f"Warning: {warning}.", width, theme, style, hang=2), []]
    return rows


def _results(comparison: Comparison, view: CurveOptions, width: int, theme: ChartTheme) -> list[Row]:
    """Return a bar for each run. If some runs differ only in the seed, bars of the means over seeds come first."""
    after = f"{comparison.metric.capitalize()} {after_steps(comparison)}"
    rows: list[Row] = []
    if comparison.repeated:
        rows += [[], *_title(f"{after}: mean over seeds, with 95 % intervals over seeds", width, theme)]
        rows += bars(_group_means(comparison, view), width, theme)
    rows += [[], *_title(f"{after}, with 95 % intervals over tasks", width, theme)]
    return [*rows, *bars(_finals(comparison, view), width, theme)]


def _title(text: str, width: int, theme: ChartTheme) -> list[Row]:
    return paragraph(text, width, theme, theme.title)


def _finals(comparison: Comparison, view: CurveOptions) -> list[Estimate]:
    scale = 100 if comparison.metric == "accuracy" else 1
    estimates = []
    for run, colour in zip(comparison.runs, run_colours(comparison, view), strict=True):
        mean, half = run.evaluation.final
        rate = run.evaluation.inner_lr
        words = result_words(comparison.metric, run.evaluation) + (f", α = {rate:g}" if rate is not None else "")
        estimates.append(Estimate(run.label, colour, scale * mean, scale * half, words))
    return estimates


def _group_means(comparison: Comparison, view: CurveOptions) -> list[Estimate]:
    metric, scale = comparison.metric, 100 if comparison.metric == "accuracy" else 1
    estimates = []
    for group, drawn in zip(comparison.groups, run_groups(comparison.runs, view), strict=True):
        seeds = group.over_seeds(metric)
        words = group_result(metric, group)
        words += f", SD {deviation(metric, seeds.deviation[-1])}" if group.is_repeated else ", one seed"
        estimates.append(Estimate(group.name, drawn.colour, scale * seeds.mean[-1], scale * seeds.ci95[-1], words))
    return estimates


def _differences(comparison: Comparison) -> list[Estimate]:
    scale, format_interval = (100, points) if comparison.metric == "accuracy" else (1, interval)
    estimates = []
    for pair in comparison.deciding:
        if isinstance(pair, Pair) and not pair.test.most_are_finite:
            continue
        difference = pair.test.mean if isinstance(pair, Pair) else pair.test.difference
        words = with_minus(f"{'+' if difference > 0 else ''}{format_interval(difference, pair.test.ci95)}")
        label = f"{pair.a.label} − {pair.b.label}"
        estimates.append(Estimate(label, "hue-plain", scale * difference, scale * pair.test.ci95, words))
    return estimates


def _table(table: TextTable, width: int, theme: ChartTheme) -> list[Row]:
    """Return the title and the table. A table that is too wide is split into parts.

    Each part starts with the columns that name the rows. The column with the names of runs is omitted if the names are
    the same as the labels.
    """
    skipped = {1} if table.names > 1 and all(row[0] == row[1] for row in table.rows) else set()
    columns = [column for column in range(len(table.headings)) if column not in skipped]
    names, numbers = [c for c in columns if c < table.names], [c for c in columns if c >= table.names]
    cells = [[theme.printable(cell) for cell in row] for row in (table.headings, *table.rows)]
    widths = [max(cell_len(row[column]) for row in cells) for column in range(len(table.headings))]
    largest = max((widths[column] for column in numbers), default=0)
    while (
        sum(widths[c] + COLUMN_GAP for c in names) + largest > width and max(widths[c] for c in names) > MIN_NAME_WIDTH
    ):
        widths[max(names, key=lambda c: widths[c])] -= 1
    rows = _title(table.title, width, theme)
    for part in _parts(numbers, widths, width - sum(widths[c] + COLUMN_GAP for c in names)):
        for index, cell in enumerate(cells):
            style = theme.muted if index == 0 else theme.text
            row: Row = []
            for column in [*names, *part]:
                text = truncate(cell[column], widths[column], theme.glyphs.ellipsis)
                blank = " " * (widths[column] - cell_len(text))
                row.append(Segment(f"{text}{blank}" if column < table.names else f"{blank}{text}", style))
                row.append(Segment(" " * COLUMN_GAP))
            rows.append(padded(row, width))
        rows.append([])
    return rows


def _parts(columns: list[int], widths: list[int], room: int) -> list[list[int]]:
    """Split `columns` into as few parts as possible, each at most `room` cells wide."""
    parts: list[list[int]] = [[]]
    used = 0
    for column in columns:
        if parts[-1] and used + widths[column] > room:
            parts.append([])
            used = 0
        parts[-1].append(column)
        used += widths[column] + COLUMN_GAP
    return parts


MIN_BAR_WIDTH: Final = 12
"""Minimum width of the bars. If there is less room, only the numbers are shown."""


@dataclass(frozen=True)
class Estimate:
    """A mean, the half-width of its interval, and the text to show to the right of its bar."""

    label: str
    colour: str
    mean: float
    half: float
    words: str

    @property
    def ends(self) -> tuple[float, float]:
        half = self.half if math.isfinite(self.half) else 0.0
        return self.mean - half, self.mean + half


def bars(estimates: Sequence[Estimate], width: int, theme: ChartTheme) -> list[Row]:
    """Draw a bar from zero to each estimate, with the interval around the bar's end, and an axis below all bars."""
    return _rows(estimates, (0.0, max([*_finite_ends(estimates), 0.0]) or 1.0), width, theme, filled=True)


def differences(estimates: Sequence[Estimate], width: int, theme: ChartTheme) -> list[Row]:
    """Draw a point with an interval for each estimate, a vertical line at zero, and an axis below all points."""
    ends = [0.0, *_finite_ends(estimates)]
    return _rows(estimates, (min(ends), max(ends)), width, theme, filled=False)


def _finite_ends(estimates: Sequence[Estimate]) -> list[float]:
    return [end for estimate in estimates for end in estimate.ends if math.isfinite(end)]


def _rows(
    estimates: Sequence[Estimate], limits: tuple[float, float], width: int, theme: ChartTheme, *, filled: bool
) -> list[Row]:
    labels = [theme.printable(estimate.label) for estimate in estimates]
    words = [theme.printable(estimate.words) for estimate in estimates]
    words_width = max(map(cell_len, words), default=0)
    label_width = min(max(map(cell_len, labels), default=0), max(8, width - words_width - 30))
    room = width - label_width - words_width - 2
    axis = range_axis(*limits, max(MIN_BAR_WIDTH, room), wide=True)
    rows = []
    for estimate, label, text in zip(estimates, labels, words, strict=True):
        name = Segment(truncate(label, label_width, theme.glyphs.ellipsis), theme.colour(estimate.colour, bold=True))
        drawing = _cells(estimate, axis, theme, filled=filled) if room >= MIN_BAR_WIDTH else []
        rows.append([*padded([name], label_width), Segment(" "), *drawing, Segment(f" {text}", theme.text)])
    if room >= MIN_BAR_WIDTH and estimates:
        rows += [[Segment(" " * (label_width + 1) + line, theme.muted)] for line in _scale(axis, theme)]
    return rows


def _column(value: float, axis: Axis) -> int:
    position = axis.at(value)
    return 0 if math.isnan(position) else dot(max(0.0, min(1.0, position)), axis.cells)


def _cells(estimate: Estimate, axis: Axis, theme: ChartTheme, *, filled: bool) -> Row:
    cells = [Segment(" ", theme.text)] * axis.cells
    if not math.isfinite(estimate.mean):
        return cells
    mean, zero, ink = _column(estimate.mean, axis), _column(0.0, axis), theme.colour(estimate.colour)
    if filled:
        cells[: mean + 1] = [Segment(theme.glyphs.done, ink)] * (mean + 1)
    else:
        cells[zero] = Segment(theme.glyphs.vertical, theme.muted)
    low, high = (_column(end, axis) for end in estimate.ends)
    if high > low:
        for column in range(low, high + 1):
            glyph = theme.glyphs.vertical if column in (low, high) else theme.glyphs.horizontal
            cells[column] = Segment(glyph, theme.title)
    cells[mean] = Segment(theme.glyphs.points[0], ink)
    return merged(cells)


def _scale(axis: Axis, theme: ChartTheme) -> tuple[str, str]:
    """Return two lines: the axis, and the numbers below it."""
    room = axis.cells
    line, numbers, free = [theme.glyphs.horizontal] * room, [" "] * room, 0
    for tick, label in zip(axis.ticks, axis.labels, strict=True):
        column = _column(tick, axis)
        line[column] = theme.glyphs.tick_below
        start = max(0, min(column - len(label) // 2, room - len(label)))
        if start >= free:
            numbers[start : start + len(label)] = label
            free = start + len(label) + 1
    return "".join(line), "".join(numbers)
