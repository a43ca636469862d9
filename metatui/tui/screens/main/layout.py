"""Layout of the work tab: the visible panes and their regions for each size of the terminal.

| terminal | layout |
|---|---|
| fewer than 100 columns, or a maximised pane | one pane; the run is shown above its curves |
| fewer than 32 rows, at least 160 columns, no form | a column on the left, and curves next to adaptation on the right |
| otherwise, fewer than 32 rows | a column on the left, and one pane on the right |
| at least 100 columns and 32 rows | a column on the left, and curves above adaptation on the right |

The column on the left has the run above the journal. If the form is shown, it takes the place of the run in this
column, and the run is on the right, above the curves. With fewer than 32 rows, the form fills the whole column. Without
a run, there are only the form and the pane that explains the selected algorithm.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

from textual.geometry import NULL_OFFSET, NULL_SPACING, Offset, Region, Size
from textual.layout import Layout, WidgetPlacement
from textual.widget import Widget

from metatui.tui.preferences import PaneSizes

Pane = Literal["settings", "run", "curves", "adaptation", "journal"]
"""A pane that can be selected with the key for the next pane. If `run` is the only visible pane, it includes the
curves."""

Part = Literal["form", "about", "run", "curves", "adaptation", "journal"]
"""ID of a widget of the work tab."""

Divider = Literal["left", "journal", "curves"]
"""Name of a movable line between panes. Moving the line changes the field of `PaneSizes` that has the same name."""

NARROW, SHORT, WIDE = 100, 32, 160
"""A terminal is narrow below NARROW columns, short below SHORT rows, and wide with at least WIDE columns."""

ONE_PANE: Mapping[Pane, tuple[Part, ...]] = {
    "settings": ("form",),
    "run": ("run", "curves"),
    "curves": ("curves",),
    "adaptation": ("adaptation",),
    "journal": ("journal",),
}

BAND_ROWS, RUN_ROWS, FORM_ROWS = 7, 21, 34
"""Default heights of the run pane (above the curves or above the journal) and of the form (above the journal)."""

CURVES_ROWS, ADAPTATION_ROWS = 19, 11
"""Height of the curves pane at which the plot has twelve rows, and minimum height of the adaptation pane."""

LEFT, FORM, MAIN, JOURNAL, UPPER, CHART = 30, 38, 50, 4, 8, 6
"""Minimum widths of the left side, of the left side with the form, and of the right side, and minimum heights of the
journal, of the pane above it, and of curves and adaptation. Sizes chosen by the user are limited to keep these
minimums."""


@dataclass(frozen=True)
class PaneOptions:
    """Panes that the user chose to see."""

    pane: Pane = "settings"
    maximised: bool = False
    form: bool = True
    """True to show the form if there is room for several panes."""
    run: bool = True
    """True if the tab shows a run, or the marked runs side by side. False if there is nothing to show."""


def visible(terminal: Size, view: PaneOptions) -> tuple[Part, ...]:
    """Return the visible parts, in the order in which they get the focus."""
    main: tuple[Part, ...]
    if not view.run:
        if terminal.width < NARROW or view.maximised:
            return ("form",) if view.pane == "settings" else ("about",)
        return ("form", "about") if view.form else ("about",)
    if terminal.width < NARROW:
        return ONE_PANE["run" if view.pane == "curves" else view.pane]
    if view.maximised:
        return ONE_PANE[view.pane]
    if terminal.height >= SHORT:
        main = "run", "curves", "adaptation", "journal"
        return ("form", *main) if view.form else main
    if view.form:
        return "form", *ONE_PANE["run" if view.pane in ("settings", "curves") else view.pane]
    if terminal.width >= WIDE:
        return "run", "curves", "adaptation", "journal"
    return "run", "adaptation" if view.pane == "adaptation" else "curves", "journal"


@dataclass(frozen=True)
class Arrangement:
    regions: Mapping[Part, Region]
    dividers: Mapping[Divider, tuple[Region, Region]]
    """The two regions that each divider separates. The left or upper region comes first."""

    def divider_at(self, at: Offset) -> Divider | None:
        """Return the divider at a position, if any. The borders of the panes on both sides belong to the divider."""
        for divider, (before, after) in self.dividers.items():
            if before.x == after.x:
                near, inside = at.y - before.bottom, before.x <= at.x < before.right
            else:
                near, inside = at.x - before.right, before.y <= at.y < before.bottom
            if near in (-1, 0) and inside:
                return divider
        return None

    def moved(self, divider: Divider, to: Offset, sizes: PaneSizes) -> PaneSizes:
        """Return the sizes that result from moving a divider to a position."""
        before, after = self.dividers[divider]
        if before.x == after.x:
            first, total, least = to.y - before.y, before.height + after.height, CHART
        else:
            first, total, least = to.x - before.x, before.width + after.width, MAIN
        match divider:
            case "left":
                new = _bounded(first, LEFT, total - MAIN)
            case "journal":
                new = _bounded(total - first, JOURNAL, total - UPPER)
            case "curves":
                new = round(100 * _bounded(first, least, total - least) / total)
        return sizes.model_copy(update={divider: new})

    def resized(self, part: str, by: Offset, sizes: PaneSizes) -> PaneSizes:
        """Return the sizes that result from making a part wider or taller by some columns or rows."""
        region = next((region for name, region in self.regions.items() if name == part), Region())
        for divider, (before, after) in self.dividers.items():
            if bool(by.y) == (before.x == after.x) and (
                before.contains_region(region) or after.contains_region(region)
            ):
                return self.moved(
                    divider,
                    Offset(before.right, before.bottom) + (by if before.contains_region(region) else -by),
                    sizes,
                )
        return sizes


def arrange(parts: Collection[str], size: Size, sizes: PaneSizes) -> Arrangement:
    """Place the visible parts.

    Args:
        size: columns and rows of the container.
        sizes: sizes chosen by the user.
    """
    placed: dict[Part, Region] = {}
    dividers: dict[Divider, tuple[Region, Region]] = {}
    left, right = _columns(parts)
    main = size.region
    if left and right:
        usual, least = _bounded(3 * size.width // 10, FORM, 56), FORM if "form" in left else LEFT
        column, main = main.split_vertical(_bounded(sizes.left or usual, least, size.width - MAIN))
        dividers["left"] = column, main
    else:
        column = main
    if len(left) == 2:
        usual = max(8, size.height - (FORM_ROWS if left[0] == "form" else RUN_ROWS))
        rows = _bounded(sizes.journal or usual, min(JOURNAL, size.height // 2), size.height - UPPER)
        dividers["journal"] = placed[left[0]], placed[left[1]] = column.split_horizontal(size.height - rows)
    elif left:
        placed[left[0]] = column
    if len(right) > 1 and right[0] == "run":
        # A single pane has no borders.
        band = min(BAND_ROWS if left else BAND_ROWS - 2, main.height)
        placed["run"], main = main.split_horizontal(band)
        right = right[1:]
    if len(right) == 2:
        if main.height < SHORT - 4 and main.width >= 2 * MAIN:
            first = _share(main.width, sizes.curves or 50, MAIN)
            pair = main.split_vertical(first)
        else:
            usual = max(11 * main.height // 20, min(CURVES_ROWS, main.height - ADAPTATION_ROWS))
            first = _share(main.height, sizes.curves, CHART) if sizes.curves else usual
            pair = main.split_horizontal(first)
        dividers["curves"] = placed[right[0]], placed[right[1]] = pair
    elif right:
        placed[right[0]] = main
    return Arrangement(placed, dividers)


def _columns(parts: Collection[str]) -> tuple[tuple[Part, ...], tuple[Part, ...]]:
    """Return the parts in the left column, and the parts on the right, each from top to bottom."""
    if "form" in parts:
        # Where there is room for both curves and adaptation, there is also room for the journal below the form.
        left: tuple[Part, ...] = ("form", "journal") if {"curves", "adaptation"} <= set(parts) else ("form",)
    else:
        left = ("run", "journal") if {"run", "journal"} <= set(parts) else ()
    order: tuple[Part, ...] = "about", "run", "curves", "adaptation", "journal"
    return left, tuple(part for part in order if part in parts and part not in left)


def _bounded(value: int, least: int, most: int) -> int:
    return max(least, min(value, most))


def _share(total: int, percent: int, least: int) -> int:
    """Return `percent` % of `total`, limited so that this part and the rest are at least `least` each, if possible."""
    least = min(least, total // 2)
    return _bounded(round(total * percent / 100), least, total - least)


class PanesLayout(Layout):
    """Places the visible panes with the sizes that the user chose."""

    name = "panes"

    def __init__(self, sizes: PaneSizes) -> None:
        self.sizes = sizes
        self.arrangement = Arrangement({}, {})
        """The current arrangement of the panes."""

    def arrange(self, parent: Widget, children: list[Widget], size: Size, greedy: bool = True) -> list[WidgetPlacement]:
        parent.pre_layout(self)
        by_id = {child.id: child for child in children if child.id}
        self.arrangement = arrange(by_id, size, self.sizes)
        return [
            WidgetPlacement(region, NULL_OFFSET, NULL_SPACING, by_id[part])
            for part, region in self.arrangement.regions.items()
        ]
