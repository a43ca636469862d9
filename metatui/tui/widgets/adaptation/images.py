"""Drawing an episode of image classification, with a column for each class.

A column has support images on top and query images below them. Below each query image are its predicted classes before
and after adaptation. Line drawings are drawn with dots, and photographs with coloured cells.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from rich.cells import cell_len
from rich.segment import Segment

from metatui.events import ImageView
from metatui.tui.colors import palette
from metatui.tui.terminal.symbols import Symbols
from metatui.tui.widgets.adaptation import photograph
from metatui.tui.widgets.adaptation.bitmap import are_drawings, draw_bitmap
from metatui.tui.widgets.adaptation.photograph import MIN_IMAGE_HEIGHT
from metatui.tui.widgets.adaptation.views import last_step
from metatui.tui.widgets.charts import ChartData, Series
from metatui.tui.widgets.charts.chart_theme import ChartTheme
from metatui.tui.widgets.charts.plot import paint
from metatui.tui.widgets.charts.row_widget import Row, beside, block, padded, truncate, width_of

MAX_PHOTOGRAPH_HEIGHT: Final = 16
"""Maximum height of a photograph, in rows."""
MAX_DRAWING_HEIGHT: Final = 10
"""Maximum height of a line drawing, in rows."""
MIN_NAME_WIDTH: Final = 6
"""Minimum width for the name of a class. If there is less space, only the number of the class is shown."""
LEAD: Final = 9
"""Width of the labels to the left of the images."""
CHART: Final = 30
"""Width of the chart next to the images."""
MIN_CHART_HEIGHT: Final = 5
"""Minimum height of a chart below the images."""


@dataclass(frozen=True)
class Layout:
    """The visible part of an episode. An image has `rows` x `columns` cells. A row has `across` images per class."""

    rows: int
    columns: int
    classes: int
    across: int
    shots: int
    """Number of visible support images of each class."""
    queries: int
    """Number of visible query images of each class."""
    lead: int

    @property
    def class_width(self) -> int:
        return self.across * (self.columns + 1) - 1

    @property
    def gap(self) -> int:
        """Number of blank columns between classes."""
        return 1 if self.across == 1 else 2

    @property
    def width(self) -> int:
        return self.lead + self.classes * (self.class_width + self.gap) - self.gap

    @property
    def height(self) -> int:
        """Total height, in rows, of the class names, the support images, and the query images with predictions."""
        return 1 + _lines(self.shots, self.across) * self.rows + _lines(self.queries, self.across) * (self.rows + 1)


def _lines(count: int, across: int) -> int:
    return -(-count // across)


def classes_of(view: ImageView) -> list[int]:
    return list(dict.fromkeys(view.support_labels))


def shots_of(view: ImageView) -> int:
    """Return the largest number of support images of any class."""
    return max((view.support_labels.count(label) for label in set(view.support_labels)), default=0)


def is_drawing(view: ImageView) -> bool:
    return view.channels == 1 and are_drawings(view.support)


def layout(view: ImageView, width: int, height: int, theme: ChartTheme) -> Layout | None:
    """Choose the largest image size at which all classes and support images fit.

    If they do not fit even at the smallest size, some support images are hidden, and if necessary also some classes.

    Returns:
        The layout, or None if not even one image fits.
    """
    classes, shots = len(classes_of(view)), shots_of(view)
    per_class = max((view.query_labels.count(label) for label in set(view.query_labels)), default=0)
    if not classes or not per_class:
        return None
    drawing = is_drawing(view)
    finest = -(-view.height // (4 if drawing and theme.symbols is Symbols.BRAILLE else 2))

    def columns_of(rows: int) -> int:
        if drawing:
            return max(4, round(2 * rows * view.width / view.height))
        return photograph.columns_of(rows, view.height, view.width, theme)

    def plan(rows: int, across: int, shown: int) -> Layout | None:
        """Return a layout with as many query images as fit, or None if no query image fits.

        The layout has labels on the left if there is room for them.
        """
        lines = (height - 1 - _lines(shown, across) * rows) // (rows + 1)
        queries = min(per_class, max(0, lines) * across)
        plans = [Layout(rows, columns_of(rows), classes, across, shown, queries, lead) for lead in (LEAD, 0)]
        return next((plan for plan in plans if queries and plan.width <= width), None)

    largest = max(MIN_IMAGE_HEIGHT, min(finest, MAX_DRAWING_HEIGHT if drawing else MAX_PHOTOGRAPH_HEIGHT))
    sizes = [(rows, across) for rows in range(MIN_IMAGE_HEIGHT, largest + 1) for across in range(1, shots + 1)]
    if fitting := [found for size in sizes if (found := plan(*size, shots))]:
        # Images of five rows are easy to read. More query images are then more useful than larger images.
        return max(fitting, key=lambda plan: (min(plan.rows, 5), plan.queries, plan.rows, -plan.across))
    for shown in range(shots - 1, 0, -1):
        smallest = (plan(MIN_IMAGE_HEIGHT, across, shown) for across in range(1, shown + 1))
        if found := next(filter(None, smallest), None):
            return found
    columns = columns_of(MIN_IMAGE_HEIGHT)
    fewer = min(classes, (width + 1) // (columns + 1))
    queries = min(per_class, (height - 1 - MIN_IMAGE_HEIGHT) // (MIN_IMAGE_HEIGHT + 1))
    return Layout(MIN_IMAGE_HEIGHT, columns, fewer, 1, 1, queries, 0) if fewer >= 1 and queries >= 1 else None


def episode(
    view: ImageView,
    step: int,
    colour: str,
    size: tuple[int, int],
    theme: ChartTheme,
    first_shot: int = 0,
) -> list[Row]:
    """Draw an episode in an area of `size` cells (width, height), with a chart of the accuracy if there is room.

    Args:
        first_shot: index of the first visible support image of each class, used only if not all of these images fit.
    """
    width, height = size

    def chart(columns: int, rows: int) -> list[Row]:
        return paint(accuracy_curve(view, step, colour), columns, rows, theme)

    alone = layout(view, width, height, theme)
    if alone is None:
        hint = truncate("Maximise this pane to see the images.", width, theme.glyphs.ellipsis)
        above = chart(width, height - 1) if height >= 7 else []
        return block([*above, [Segment(hint, theme.muted)]], width, height)
    below = height - alone.height - 1
    if below >= MIN_CHART_HEIGHT:
        under = chart(min(width, 60), min(below, 12))
        return block([*_images(view, step, alone, theme, first_shot), [], *under], width, height)
    narrow = layout(view, width - CHART - 2, height, theme)
    # For the chart, images may lose one row of their height, but no class and no support image may be hidden.
    if (
        narrow
        and (narrow.classes, narrow.shots) == (alone.classes, alone.shots)
        and narrow.rows >= min(alone.rows, max(4, alone.rows - 1))
    ):
        images = block(_images(view, step, narrow, theme, first_shot), width - CHART - 2, height)
        return beside([images, block(chart(CHART, min(height, 12)), CHART, height)], 2)
    return block(_images(view, step, alone, theme, first_shot), width, height)


def visible_part(view: ImageView, size: tuple[int, int], theme: ChartTheme) -> tuple[int, int]:
    """Return how many classes and how many support images per class fit, or (0, 0) if no image fits."""
    plan = layout(view, *size, theme)
    return (plan.classes, plan.shots) if plan else (0, 0)


def _images(view: ImageView, step: int, plan: Layout, theme: ChartTheme, first_shot: int) -> list[Row]:
    labels = classes_of(view)[: plan.classes]
    support = {label: [i for i, shot in enumerate(view.support_labels) if shot == label] for label in labels}
    queries = {label: [i for i, query in enumerate(view.query_labels) if query == label] for label in labels}
    names = [class_heading(view, label, plan.class_width, theme) for label in labels]
    rows = [_row("", [[Segment(name.center(plan.class_width), theme.muted)] for name in names], plan, theme)]
    first = min(first_shot, max(0, shots_of(view) - plan.shots))
    for start in range(first, first + plan.shots, plan.across):
        end = min(start + plan.across, first + plan.shots)
        shown = [[view.support[index] for index in support[label][start:end]] for label in labels]
        rows += _image_rows("support" if start == first else "", shown, view, plan, theme)
    for start in range(0, plan.queries, plan.across):
        indices = [queries[label][start : min(start + plan.across, plan.queries)] for label in labels]
        shown = [[view.query[index] for index in each] for each in indices]
        rows += _image_rows("query", shown, view, plan, theme)
        marks = [[_marks(view, index, step, plan.columns, theme) for index in each] for each in indices]
        rows.append(_row("", [_in_columns(each, plan) for each in marks], plan, theme))
    return rows


def class_heading(view: ImageView, label: int, width: int, theme: ChartTheme) -> str:
    """Return the number that stands for a class in the predictions, with the name of the class if there is room.

    A name such as `Greek/character07` is shortened at its start, because names in a task often have the same start.
    """
    number = f"{label + 1}"
    if label >= len(view.classes):
        return f"class {number}" if width >= 8 else number
    if width < len(number) + 1 + MIN_NAME_WIDTH:
        return number
    name = theme.printable(view.classes[label])
    last = name.rpartition("/")[2]
    room = width - len(number) - 1
    return f"{number} {truncate(name if cell_len(name) <= room else last, room, theme.glyphs.ellipsis)}"


def _image_rows(name: str, images: list[list[bytes]], view: ImageView, plan: Layout, theme: ChartTheme) -> list[Row]:
    """Draw images side by side, to the right of the label `name`. `images` contains a list for each class."""
    drawn = [[_image(image, view, plan, theme) for image in each] for each in images]
    middle = plan.rows // 2
    return [
        _row(
            name if y == middle else "",
            [_in_columns([image[y] for image in each], plan) for each in drawn],
            plan,
            theme,
        )
        for y in range(plan.rows)
    ]


def _image(image: bytes, view: ImageView, plan: Layout, theme: ChartTheme) -> list[Row]:
    size = (view.height, view.width, plan.rows, plan.columns)
    if is_drawing(view):
        return [[Segment(text, theme.text)] for text in draw_bitmap(image, *size, theme.symbols)]
    return photograph.draw(image, *size, theme)


def _in_columns(parts: list[Row], plan: Layout) -> Row:
    """Join `parts`, each of which is one line of an image, into a row. All images belong to the same class."""
    row: Row = []
    for index, part in enumerate(parts):
        row += ([Segment(" ")] if index else []) + padded(part, plan.columns)
    return row


def _row(name: str, parts: list[Row], plan: Layout, theme: ChartTheme) -> Row:
    """Return a row that consists of the label `name` and `parts`, one part per class."""
    row: Row = [Segment(name.ljust(plan.lead)[: plan.lead], theme.muted)] if plan.lead else []
    for index, part in enumerate(parts):
        row += ([Segment(" " * plan.gap)] if index else []) + padded(part, plan.class_width)
    return row


def _marks(view: ImageView, query: int, step: int, width: int, theme: ChartTheme) -> Row:
    """Format the predicted classes before and after adaptation, marked as right or wrong, for example `✗3 → ✓1`.

    If this does not fit, a shorter form is used.
    """
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
        shorter_x_label="step",
        y_limits=(0, 100),
        x_limits=(0, max(1, len(points) - 1)),
        last_values=False,
        empty="No accuracies yet.",
    )
