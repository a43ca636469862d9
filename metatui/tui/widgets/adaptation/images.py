"""Drawing of an episode of image classification, with a column for each class.

A column has a support image on top and query images below it, each with its predicted class before and after
adaptation.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from rich.segment import Segment

from metatui.events import ImageView
from metatui.tui import palette
from metatui.tui.terminal.symbols import GLYPHS, Symbols
from metatui.tui.widgets.adaptation.views import last_step
from metatui.tui.widgets.charts import ChartData, Series
from metatui.tui.widgets.charts.canvas import Canvas
from metatui.tui.widgets.charts.chart_theme import ChartTheme
from metatui.tui.widgets.charts.plot import paint
from metatui.tui.widgets.charts.row_widget import Row, beside, block, fitted, padded, width_of

SMALLEST: Final = 3
"""Rows of the smallest legible image."""
LEAD: Final = 9
"""Width of the labels before the images."""
CHART: Final = 30
"""Width of the chart next to the images."""
LOWEST_CHART: Final = 5
"""Minimum height of a chart below the images."""


@dataclass(frozen=True)
class Layout:
    """The visible part of an episode: images of `rows` x `columns` cells, `queries` for each of `classes` classes."""

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
    """Choose the largest image size at which all classes fit, or the smallest size if they do not all fit.

    Returns:
        The layout, or None if not even one image fits.
    """
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
        # Five rows are easy to read; beyond that, more queries are worth more than larger images.
        return max(fitting, key=lambda plan: (min(plan.rows, 5), plan.queries, plan.rows))
    columns = max(4, round(2 * SMALLEST * view.width / view.height))
    fewer = min(classes, (width + 1) // (columns + 1))
    queries = min(per_class, (height - 1 - SMALLEST) // (SMALLEST + 1))
    return Layout(SMALLEST, columns, fewer, queries, 0) if fewer >= 1 and queries >= 1 else None


def episode(
    view: ImageView, step: int, colour: str, size: tuple[int, int], theme: ChartTheme, canvas: Canvas
) -> list[Row]:
    """Draw an episode in `size` (width, height) cells, with accuracy against inner step if there is room."""
    width, height = size

    def chart(columns: int, rows: int) -> list[Row]:
        return paint(accuracy_curve(view, step, colour), columns, rows, theme, canvas)

    alone = layout(view, width, height, theme.symbols)
    narrow = layout(view, width - CHART - 2, height, theme.symbols)
    # For the chart, images may lose one row of their height, but no class may be hidden.
    if narrow and alone and narrow.classes == alone.classes and narrow.rows >= min(alone.rows, max(4, alone.rows - 1)):
        images = block(_images(view, step, narrow, theme), width - CHART - 2, height)
        return beside([images, block(chart(CHART, min(height, 12)), CHART, height)], 2)
    if alone is None:
        hint = fitted("Maximise this pane to see the characters.", width, theme.glyphs.ellipsis)
        above = chart(width, height - 1) if height >= 7 else []
        return block([*above, [Segment(hint, theme.muted)]], width, height)
    rows = _images(view, step, alone, theme)
    below = height - alone.height - 1
    if below >= LOWEST_CHART:
        rows += [[], *chart(min(width, 60), min(below, 12))]
    return block(rows, width, height)


def hidden_classes(view: ImageView, size: tuple[int, int], theme: ChartTheme) -> int:
    """Return the number of classes that do not fit."""
    plan = layout(view, *size, theme.symbols)
    return len(classes_of(view)) - plan.classes if plan else 0


def _images(view: ImageView, step: int, plan: Layout, theme: ChartTheme) -> list[Row]:
    labels = classes_of(view)[: plan.classes]
    queries = {label: [i for i, query in enumerate(view.query_labels) if query == label] for label in labels}
    names = [f"class {label + 1}" if plan.columns >= 8 else f"{label + 1}" for label in labels]
    rows = [_row("", [[Segment(name.center(plan.columns), theme.muted)] for name in names], plan, theme)]
    support = [view.support[view.support_labels.index(label)] for label in labels]
    rows += _image_rows("support", support, view, plan, theme)
    for nth in range(plan.queries):
        indices = [queries[label][nth] if nth < len(queries[label]) else None for label in labels]
        images = [b"" if index is None else view.query[index] for index in indices]
        rows += _image_rows("query", images, view, plan, theme)
        marks = [[] if index is None else _marks(view, index, step, plan.columns, theme) for index in indices]
        rows.append(_row("", marks, plan, theme))
    return rows


def _image_rows(name: str, images: list[bytes], view: ImageView, plan: Layout, theme: ChartTheme) -> list[Row]:
    texts = [draw_bitmap(image, view.height, view.width, plan.rows, plan.columns, theme.symbols) for image in images]
    middle = plan.rows // 2
    return [
        _row(name if y == middle else "", [[Segment(text[y], theme.text)] for text in texts], plan, theme)
        for y in range(plan.rows)
    ]


def _row(name: str, parts: list[Row], plan: Layout, theme: ChartTheme) -> Row:
    row: Row = [Segment(name.ljust(plan.lead)[: plan.lead], theme.muted)] if plan.lead else []
    for index, part in enumerate(parts):
        row += ([Segment(" ")] if index else []) + padded(part, plan.columns)
    return row


def _marks(view: ImageView, query: int, step: int, width: int, theme: ChartTheme) -> Row:
    """Format the predictions before and after, marked right or wrong: `✗3 → ✓1`, or shorter."""
    if not view.predictions:
        return []
    truth = view.query_labels[query]
    before, after = (_mark(view.predictions[at][query], truth, theme) for at in (0, min(step, last_step(view))))
    arrow = theme.glyphs.arrow
    arrows = ([Segment(f" {arrow} ", theme.muted)], [Segment(arrow, theme.muted)])
    for row in (*([before, *joint, after] for joint in arrows), [after]):
        if width_of(row) <= width:
            return [Segment(" " * ((width - width_of(row)) // 2)), *row]
    return []


def _mark(predicted: int, truth: int, theme: ChartTheme) -> Segment:
    right = predicted == truth
    symbol = theme.glyphs.right if right else theme.glyphs.wrong
    return Segment(f"{symbol}{predicted + 1}", theme.colour(palette.RIGHT if right else palette.WRONG))


def accuracy_curve(view: ImageView, step: int, colour: str) -> ChartData:
    """Return a chart of the accuracy on the whole query set against the inner step, with a point at `step`."""
    points = tuple((float(at), 100 * value) for at, value in enumerate(view.accuracy))
    current = min(step, last_step(view))
    return ChartData(
        (Series("", colour, points), Series("", colour, points[current : current + 1], style="points")),
        title="Accuracy (%)",
        x_label="inner step",
        y_limits=(0, 100),
        x_limits=(0, max(1, len(points) - 1)),
        last_values=False,
        empty="No accuracies yet.",
    )


# Bit of the Unicode braille pattern for the dot at (row, column) of a cell.
_BRAILLE: Final = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
_QUADRANTS: Final = " ▘▝▀▖▌▞▛▗▚▐▜▄▙▟█"
_INK: Final = 0.3
"""Minimum mean ink of a dot: strokes one pixel wide remain visible when an image shrinks to a third."""


@lru_cache(maxsize=4096)
def draw_bitmap(image: bytes, height: int, width: int, rows: int, columns: int, symbols: Symbols) -> tuple[str, ...]:
    """Draw an image as `rows` lines of `columns` characters.

    Args:
        image: `height` x `width` grey values, row by row, ink as 255. A wrong size draws blanks.
        columns: Twice `rows` keeps square images square.
    """
    if len(image) != height * width or not image or rows < 1 or columns < 1:
        return (" " * max(0, columns),) * max(0, rows)
    down, across = {Symbols.BRAILLE: (4, 2), Symbols.BLOCK: (2, 2), Symbols.ASCII: (1, 1)}[symbols]
    ink = _shrink(_with_dark_ground(image), height, width, rows * down, columns * across)
    lines = []
    for row in range(rows):
        line = ""
        for column in range(columns):
            cell = [[ink[row * down + y][column * across + x] for x in range(across)] for y in range(down)]
            line += _glyph(cell, symbols)
        lines.append(line)
    return tuple(lines)


def _with_dark_ground(image: bytes) -> bytes:
    """Adjust brightness so that the subject is bright on a dark background.

    Drawings are unchanged, scans of bright pages are inverted, and the brighter half of a photograph is its subject.
    """
    ordered = sorted(image)
    low, middle, high = ordered[0], ordered[len(ordered) // 2], ordered[-1]
    if middle == 0 or low == high:
        return image
    ground = (middle - low) / (high - low)
    table = []
    for value in range(256):
        ink = (min(max(value, low), high) - low) / (high - low)
        if ground > 0.9:
            ink = 1 - ink
        elif ink < ground:
            ink *= _INK / ground
        elif ground:
            ink = 1 - (1 - ink) * (1 - _INK) / (1 - ground)
        table.append(round(255 * ink))
    return image.translate(bytes(table))


def _shrink(image: bytes, height: int, width: int, rows: int, columns: int) -> list[list[float]]:
    """Return the mean ink, from 0 to 1, of the patch of the image below each dot."""
    means = []
    for row in range(rows):
        top = row * height // rows
        bottom = max(top + 1, (row + 1) * height // rows)
        line = []
        for column in range(columns):
            left = column * width // columns
            right = max(left + 1, (column + 1) * width // columns)
            total = sum(sum(image[y * width + left : y * width + right]) for y in range(top, bottom))
            line.append(total / (255 * (bottom - top) * (right - left)))
        means.append(line)
    return means


def _glyph(cell: list[list[float]], symbols: Symbols) -> str:
    if symbols is Symbols.ASCII:
        ramp = GLYPHS[symbols].ramp
        return ramp[min(len(ramp) - 1, round(1.5 * cell[0][0] * (len(ramp) - 1)))]
    if symbols is Symbols.BLOCK:
        return _QUADRANTS[sum((cell[y][x] > _INK) << (2 * y + x) for y in range(2) for x in range(2))]
    bits = sum(_BRAILLE[y][x] for y in range(4) for x in range(2) if cell[y][x] > _INK)
    # Not the empty pattern, which some fonts draw with hollow dots.
    return chr(0x2800 + bits) if bits else " "
