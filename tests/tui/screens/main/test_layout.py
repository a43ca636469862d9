"""Tests of the layout of panes at different terminal sizes."""

from __future__ import annotations

from itertools import combinations, product

import pytest
from textual.geometry import Offset, Region, Size

from metatui.tui.preferences import PaneSizes
from metatui.tui.screens.main.layout import FORM, LEFT, Arrangement, Divider, PaneOptions, arrange, visible

USUAL = PaneSizes()
BARS = 3
"""Total number of rows that the bars above and below the panes occupy."""


def panes(width: int, height: int, view: PaneOptions, sizes: PaneSizes = USUAL) -> Arrangement:
    terminal = Size(width, height)
    return arrange(visible(terminal, view), Size(width, height - BARS), sizes)


@pytest.mark.parametrize("sizes", [USUAL, PaneSizes(left=1, journal=1000, curves=1), PaneSizes(left=1000, curves=99)])
def test_panes_fill_the_space_without_overlap(sizes: PaneSizes) -> None:
    views = [PaneOptions("run", maximised, form, run) for maximised, form, run in product((False, True), repeat=3)]
    for width, height, view in product((1, 80, 99, 100, 120, 160, 300), (3, 4, 24, 31, 32, 40, 60, 100), views):
        regions = [region for region in panes(width, height, view, sizes).regions.values() if region]
        whole = Region(0, 0, width, height - BARS)
        assert sum(region.area for region in regions) == whole.area
        assert all(whole.contains_region(region) for region in regions)
        assert not any(first.overlaps(second) for first, second in combinations(regions, 2))


@pytest.mark.parametrize("form", [False, True])
@pytest.mark.parametrize("size", [(120, 40), (160, 48), (200, 60)])
def test_curves_have_at_least_twelve_rows(size: tuple[int, int], form: bool) -> None:
    regions = panes(*size, PaneOptions("run", form=form)).regions
    frame, title, axes = 2, 1, 4  # the axes have ticks, numbers and names
    assert regions["curves"].height - frame - title - axes >= 12
    assert regions["curves"].width >= 80
    assert regions["adaptation"].height >= 11


def test_small_terminals_show_one_pane() -> None:
    size = Size(80, 24)
    assert visible(size, PaneOptions("settings")) == ("form",)
    assert visible(size, PaneOptions("run")) == ("run", "curves")
    assert visible(size, PaneOptions("journal")) == ("journal",)
    assert visible(size, PaneOptions("adaptation", run=False)) == ("about",)


@pytest.mark.parametrize("form", [False, True])
def test_dividers_follow_the_mouse(form: bool) -> None:
    view = PaneOptions("run", form=form)
    before = panes(120, 40, view)
    curves = before.regions["curves"]
    assert before.divider_at(Offset(curves.x + 9, curves.y + 5)) is None
    assert before.divider_at(Offset(curves.x + 9, curves.bottom)) == "curves"
    assert before.divider_at(Offset(curves.x - 1, curves.y + 3)) == "left"
    moves: dict[Divider, Offset] = {"left": Offset(50, 20), "journal": Offset(5, 25), "curves": Offset(70, 19)}
    for divider, to in moves.items():
        after = panes(120, 40, view, before.moved(divider, to, USUAL))
        first, second = after.dividers[divider]
        assert (second.x if first.y == second.y else second.y) == (to.x if first.y == second.y else to.y)
    assert before.moved("left", Offset(-5, 3), USUAL).left == LEFT


def test_form_stays_wide_enough_for_its_values() -> None:
    sizes = PaneSizes(left=LEFT)
    assert panes(120, 40, PaneOptions("run", form=False), sizes).regions["run"].width == LEFT
    assert panes(120, 40, PaneOptions("run", form=True), sizes).regions["form"].width == FORM


def test_keys_resize_the_focused_pane() -> None:
    view = PaneOptions("run", form=False)
    before = panes(160, 48, view)

    def size(part: str, by: Offset) -> Size:
        after = panes(160, 48, view, before.resized(part, by, USUAL)).regions
        return next(region.size - before.regions[name].size for name, region in after.items() if name == part)

    for part in ("run", "journal", "curves", "adaptation"):
        assert size(part, Offset(4, 0)) == Size(4, 0)
        assert size(part, Offset(0, 2)) == Size(0, 2)
        assert size(part, Offset(0, 0)) == Size(0, 0)
