"""The page that explains an algorithm."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from textual.pilot import Pilot

from metatui.config.fields import change
from metatui.config.settings import Settings
from metatui.tui.app import MetatuiApp
from metatui.tui.screens.explain import ExplainScreen

SIZES = [(80, 24), (120, 40), (200, 60)]
Make = Callable[..., MetatuiApp]
Compare = Callable[..., bool]
OMNIGLOT = change(
    Settings(), {"task.source": "omniglot", "task.shots": 1, "task.queries": 15, "algorithm.inner_lr": 0.4}
)


async def opened(pilot: Pilot[Any]) -> ExplainScreen:
    await pilot.press("ctrl+g")
    await pilot.pause()
    screen = pilot.app.screen
    assert isinstance(screen, ExplainScreen)
    return screen


def said(screen: ExplainScreen) -> str:
    sheet = screen.query_one("ScrollView")
    return " ".join(" ".join(sheet.render_line(y).text for y in range(sheet.size.height)).split())


async def test_what_the_form_says_is_explained(make: Make) -> None:
    app = make(OMNIGLOT)
    async with app.run_test(size=(120, 60)) as pilot:
        screen = await opened(pilot)
        assert said(screen).startswith("MAML: model-agnostic meta-learning")
        assert "θ' ← θ' − 0.4 ∇L(D; θ')" in said(screen)
        assert "1 support image of each of 5 classes; D' ← 15 query images of each class" in said(screen)
        await pilot.press("n")
        assert screen.algorithm == "fomaml"
        assert "θ' ← θ' − 0.4 ∇L(D; θ')" in said(screen), "the others have the same settings"
        await pilot.press("b", "b")
        assert said(screen).startswith("Pretrained")
        await pilot.press("escape")
        assert not isinstance(app.screen, ExplainScreen)


async def test_a_long_page_scrolls_and_another_begins_at_its_start(make: Make) -> None:
    app = make()
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot)
        await pilot.press("end")
        assert "ICML 2017. Algorithms 2 and" in said(screen)
        await pilot.press("right")
        assert said(screen).startswith("FOMAML")


async def test_the_selected_preset_is_explained(make: Make) -> None:
    app = make()
    async with app.run_test(size=(120, 60)) as pilot:
        await pilot.press("escape", "3")
        await app.workers.wait_for_complete()
        await pilot.pause()
        chosen = app.presets_tab.selected
        assert chosen is not None
        screen = await opened(pilot)
        assert screen.algorithm == chosen.settings.algorithm.name


def explained(*keys: str) -> Callable[[Pilot[Any]], Awaitable[None]]:
    async def run(pilot: Pilot[Any]) -> None:
        await opened(pilot)
        await pilot.press(*keys)
        await pilot.pause()

    return run


@pytest.mark.parametrize("size", SIZES)
def test_page(make: Make, snap_compare: Compare, size: tuple[int, int]) -> None:
    assert snap_compare(make(OMNIGLOT), terminal_size=size, run_before=explained())


def test_ascii(make: Make, snap_compare: Compare) -> None:
    assert snap_compare(make(ascii=True), terminal_size=(80, 24), run_before=explained("n", "n", "pagedown"))
