"""One episode of image classification: a column for each class, with a support character on top and query characters
below it, each with its predicted class before and after adaptation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from rich.segment import Segment

from metatui.events import ImageView
from metatui.tui import palette
from metatui.tui.terminal.symbols import Symbols
from metatui.tui.widgets.adaptation.bitmap import drawn
from metatui.tui.widgets.adaptation.views import last_step
from metatui.tui.widgets.charts.canvas import Canvas
from metatui.tui.widgets.charts.chart_renderer import Picture, paint
from metatui.tui.widgets.charts.chart_theme import ChartTheme
from metatui.tui.widgets.charts.row_widget import Row, beside, block, fitted, padded, width_of
from metatui.tui.widgets.charts.series import Series

SMALLEST: Final = 3
"""Rows of the smallest drawing that can still be told apart."""
LEAD: Final = 9
"""Columns for the words in front of the drawings."""
CHART: Final = 30
"""Columns of the chart beside the drawings."""
LOWEST_CHART: Final = 5
"""Rows of the chart below the drawings from which on it shows whether a curve rises or falls."""


@dataclass(frozen=True)
class Layout:
    """What of an episode fits: drawings of `rows` x `columns` cells for `classes` classes, `queries` of each."""

    rows: int
    columns: int
    classes: int
    queries: int
    lead: int

    @property
    def width(self) -> int:
        return self.lead + self.classes * (self.columns + 1) - 1

    @property
    def height(self) -> int:
        return 1 + self.rows + self.queries * (self.rows + 1)


def classes_of(view: ImageView) -> list[int]:
    return list(dict.fromkeys(view.support_labels))


def layout(view: ImageView, width: int, height: int, symbols: Symbols) -> Layout | None:
    """The largest drawings of all classes that fit, or as many classes as fit in the smallest; None if none does."""
    classes = len(classes_of(view))
    per_class = max((view.query_labels.count(label) for label in set(view.query_labels)), default=0)
    if not classes or not per_class:
        return None
    finest = -(-view.height // 4) if symbols is Symbols.BRAILLE else -(-view.height // 2)
    fitting = []
    for rows in range(SMALLEST, max(SMALLEST, min(finest, 10)) + 1):
        columns = max(4, round(2 * rows * view.width / view.height))
        queries = min(per_class, (height - 1 - rows) // (rows + 1))
        plans = [Layout(rows, columns, classes, queries, lead) for lead in (LEAD, 0)]
        fitting += [plan for plan in plans if queries >= 1 and plan.width <= width][:1]
    if fitting:
        # From five rows on a character reads well; then more of them say more than larger ones.
        return max(fitting, key=lambda plan: (min(plan.rows, 5), plan.queries, plan.rows))
    columns = max(4, round(2 * SMALLEST * view.width / view.height))
    fewer = min(classes, (width + 1) // (columns + 1))
    queries = min(per_class, (height - 1 - SMALLEST) // (SMALLEST + 1))
    return Layout(SMALLEST, columns, fewer, queries, 0) if fewer >= 1 and queries >= 1 else None


def episode(
    view: ImageView, step: int, colour: str, size: tuple[int, int], look: ChartTheme, canvas: Canvas
) -> list[Row]:
    """The drawings, with accuracy against inner step beside or below them where there is room, in `size` cells."""
    width, height = size
    alone = layout(view, width, height, look.symbols)
    narrow = layout(view, width - CHART - 2, height, look.symbols)
    # The chart may cost the drawings a row of their size, not more, and no class.
    if narrow and alone and narrow.classes == alone.classes and narrow.rows >= min(alone.rows, max(4, alone.rows - 1)):
        pictures = block(_drawings(view, step, narrow, look), width - CHART - 2, height)
        return beside([pictures, accuracy(view, step, colour, (CHART, min(height, 12)), height, look, canvas)], 2)
    if alone is None:
        hint = fitted("Maximise this pane to see the characters.", width, look.glyphs.ellipsis)
        above = height - 1 if height >= 7 else 0
        chart = accuracy(view, step, colour, (width, above), above, look, canvas)
        return block([*chart, [Segment(hint, look.muted)]], width, height)
    below = height - alone.height - 1
    if below >= LOWEST_CHART:
        chart = accuracy(view, step, colour, (min(width, 60), min(below, 12)), below, look, canvas)
        return block([*_drawings(view, step, alone, look), [], *chart], width, height)
    return block(_drawings(view, step, alone, look), width, height)


def hidden_classes(view: ImageView, size: tuple[int, int], look: ChartTheme) -> int:
    """How many classes are not shown for want of room."""
    found = layout(view, *size, look.symbols)
    return len(classes_of(view)) - found.classes if found else 0


def _drawings(view: ImageView, step: int, plan: Layout, look: ChartTheme) -> list[Row]:
    labels = classes_of(view)[: plan.classes]
    queries = {label: [i for i, found in enumerate(view.query_labels) if found == label] for label in labels}
    names = [f"class {label + 1}" if plan.columns >= 8 else f"{label + 1}" for label in labels]
    rows = [_row("", [[Segment(name.center(plan.columns), look.muted)] for name in names], plan, look)]
    first = {label: view.support[view.support_labels.index(label)] for label in labels}
    rows += _pictures("support", [first[label] for label in labels], view, plan, look)
    for nth in range(plan.queries):
        shown = [queries[label][nth] if nth < len(queries[label]) else None for label in labels]
        images = [b"" if index is None else view.query[index] for index in shown]
        rows += _pictures("query", images, view, plan, look)
        marks = [[] if index is None else _marks(view, index, step, plan.columns, look) for index in shown]
        rows.append(_row("", marks, plan, look))
    return rows


def _pictures(name: str, images: list[bytes], view: ImageView, plan: Layout, look: ChartTheme) -> list[Row]:
    texts = [drawn(image, view.height, view.width, plan.rows, plan.columns, look.symbols) for image in images]
    middle = plan.rows // 2
    return [
        _row(name if y == middle else "", [[Segment(text[y], look.text)] for text in texts], plan, look)
        for y in range(plan.rows)
    ]


def _row(name: str, parts: list[Row], plan: Layout, look: ChartTheme) -> Row:
    row: Row = [Segment(name.ljust(plan.lead)[: plan.lead], look.muted)] if plan.lead else []
    for index, part in enumerate(parts):
        row += ([Segment(" ")] if index else []) + padded(part, plan.columns)
    return row


def _marks(view: ImageView, query: int, step: int, width: int, look: ChartTheme) -> Row:
    """The predicted class before and after, each marked right or wrong: `✗3 → ✓1`, shorter where it must be."""
    if not view.predictions:
        return []
    truth = view.query_labels[query]
    before, after = (_mark(view.predictions[at][query], truth, look) for at in (0, min(step, last_step(view))))
    arrow = look.glyphs.arrow
    joints = ([Segment(f" {arrow} ", look.muted)], [Segment(arrow, look.muted)])
    for row in (*([before, *joint, after] for joint in joints), [after]):
        if width_of(row) <= width:
            return [Segment(" " * ((width - width_of(row)) // 2)), *row]
    return []


def _mark(predicted: int, truth: int, look: ChartTheme) -> Segment:
    right = predicted == truth
    symbol = look.glyphs.right if right else look.glyphs.wrong
    return Segment(f"{symbol}{predicted + 1}", look.colour(palette.RIGHT if right else palette.WRONG))


def accuracy(
    view: ImageView, step: int, colour: str, size: tuple[int, int], height: int, look: ChartTheme, canvas: Canvas
) -> list[Row]:
    """Accuracy against inner step, over the whole query set, with the step that is shown marked; padded to `height`."""
    points = tuple((float(at), 100 * value) for at, value in enumerate(view.accuracy))
    at = min(step, last_step(view))
    series = (
        Series("", colour, points),
        Series("", colour, points[at : at + 1], style="points"),
    )
    picture = Picture(
        series, title="Accuracy (%)", x_label="inner step", y_limits=(0, 100), x_limits=(0, max(1, len(points) - 1)),
        legend=False, last_values=False, empty="No accuracies yet.",
    )  # fmt: skip
    return block(paint(picture, *size, look, canvas), size[0], height)
