"""Tests of the screen that explains an algorithm."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from textual.pilot import Pilot

from metatui.config.fields import change
from metatui.config.registry import ALGORITHMS
from metatui.config.settings import Settings
from metatui.config.usual import with_algorithm
from metatui.tui.app import MetatuiApp
from metatui.tui.screens.explain import ExplainScreen
from metatui.tui.widgets.scroll_view import ScrollView
from tests.tui.fakes import saved_run
from tests.tui.screens.conftest import ScreenApp, text_of
from tests.tui.sizes import SIZES

OMNIGLOT = change(
    Settings(), {"task.source": "omniglot", "task.shots": 1, "task.queries": 15, "algorithm.inner_lr": 0.4}
)


@pytest.fixture(autouse=True)
def five_algorithms(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limit the screen to five algorithms, so that the tests do not change when algorithms are added."""
    five = [ALGORITHMS[name] for name in ("maml", "fomaml", "reptile", "scratch", "pretrained")]
    monkeypatch.setattr("metatui.tui.screens.explain.ALGORITHMS", SimpleNamespace(components=lambda: five))


async def opened_screen(pilot: Pilot[Any]) -> ExplainScreen:
    await pilot.pause()
    screen = pilot.app.screen
    assert isinstance(screen, ExplainScreen)
    return screen


def page(screen: ExplainScreen) -> str:
    return text_of(screen, "ScrollView")


async def test_every_algorithm_is_explained_with_the_settings() -> None:
    app = ScreenApp(ExplainScreen(OMNIGLOT))
    async with app.run_test(size=(120, 60)) as pilot:
        screen = await opened_screen(pilot)
        assert page(screen).startswith("MAML: model-agnostic meta-learning")
        assert "θ' ← θ' − 0.4 ∇L(D; θ')" in page(screen)
        assert "1 support image of each of 5 classes; D' ← 15 query images of each class" in page(screen)
        await pilot.press("n")
        assert screen.algorithm == "fomaml"
        assert "regression: Inner learning rate 0.01, Inner steps 1" in page(screen)
        assert "Pseudo-code, with its usual values" in page(screen)
        assert "15 query images of each class" in page(screen), "other settings are the same"
        await pilot.press("b", "b")
        assert page(screen).startswith("Pretrained")
        await pilot.press("escape")
        assert not isinstance(app.screen, ExplainScreen)


async def test_other_algorithms_have_their_usual_rates() -> None:
    """Check that the outer learning rate of Reptile is not used for MAML, where it would be the step size of Adam."""
    reptile = with_algorithm(OMNIGLOT, "reptile")
    app = ScreenApp(ExplainScreen(reptile))
    async with app.run_test(size=(120, 60)) as pilot:
        screen = await opened_screen(pilot)
        assert "ε = 1, linear to 0" in page(screen)
        await pilot.press("b", "b")
        assert screen.algorithm == "maml"
        assert "θ ← Adam(θ, g), step size 0.003, cosine to 0" in page(screen)
        await pilot.press("n", "n")
        assert "Pseudo-code, with these settings" in page(screen)
        assert "ε = 1, linear to 0" in page(screen)


async def test_a_wide_page_has_two_columns() -> None:
    app = ScreenApp(ExplainScreen(OMNIGLOT))
    async with app.run_test(size=(160, 48)) as pilot:
        await opened_screen(pilot)
        view = app.screen.query_one(ScrollView)
        lines = [view.render_line(y).text for y in range(view.size.height)]
        line = next(line for line in lines if "Cost of a meta-step" in line)
        assert line.startswith("Learn an initialisation")
        assert line.index("Cost") == 80


async def test_selected_algorithm_is_visible_in_a_narrow_terminal() -> None:
    app = ScreenApp(ExplainScreen(Settings()))
    async with app.run_test(size=(40, 24)) as pilot:
        screen = await opened_screen(pilot)
        assert text_of(screen, "TabStrip").split() == ["maml", "fomaml", "reptile", "scratch", "…"]
        await pilot.press("b")
        assert text_of(screen, "TabStrip").split() == ["…", "reptile", "scratch", "pretrained"]
        await pilot.click("TabStrip", offset=(0, 0))
        assert screen.algorithm == "fomaml"


async def test_a_new_page_starts_at_its_top() -> None:
    app = ScreenApp(ExplainScreen(Settings()))
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await opened_screen(pilot)
        await pilot.press("end")
        assert "ICML 2017. Algorithms 2 and" in page(screen)
        await pilot.press("right")
        assert page(screen).startswith("FOMAML")


async def test_the_form_or_the_selected_row_is_explained(make: Callable[..., MetatuiApp], runs_dir: Path) -> None:
    saved_run(runs_dir, change(Settings(), {"algorithm.name": "reptile"}), name="reptile-20260101-000000", steps=1)
    app = make()
    async with app.run_test(size=(120, 60)) as pilot:
        await pilot.press("ctrl+g")
        assert (await opened_screen(pilot)).algorithm == "maml"
        await pilot.press("escape", "escape", "2")
        await app.workers.wait_for_complete()
        await pilot.pause()
        await pilot.press("ctrl+g")
        assert (await opened_screen(pilot)).algorithm == "reptile"
        await pilot.press("escape", "3")
        await app.workers.wait_for_complete()
        await pilot.pause()
        chosen = app.presets_tab.selected
        assert chosen is not None
        await pilot.press("ctrl+g")
        screen = await opened_screen(pilot)
        assert screen.algorithm == chosen.settings.algorithm.name
        await pilot.press("escape")
        app.analysis.action_explain(chosen.settings.algorithm.name)
        screen = await opened_screen(pilot)
        assert screen._settings == app.form.assessment.settings, "the palette explains with the settings in the form"


async def test_unreadable_settings_of_a_run_are_not_explained(make: Callable[..., MetatuiApp], runs_dir: Path) -> None:
    saved_run(runs_dir, Settings(), name="maml-20260101-000000", steps=1).settings_path.write_text("[")
    app = make()
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("2")
        await app.workers.wait_for_complete()
        await pilot.pause()
        assert app.runs_tab.selected is not None
        await pilot.press("ctrl+g")
        await pilot.pause()
        assert not isinstance(app.screen, ExplainScreen)
        (notification,) = app._notifications
        assert notification.severity == "error"
        assert "settings.toml" in notification.message


def explained(*keys: str) -> Callable[[Pilot[Any]], Awaitable[None]]:
    async def run(pilot: Pilot[Any]) -> None:
        await opened_screen(pilot)
        await pilot.press(*keys)
        await pilot.pause()

    return run


@pytest.mark.parametrize("size", SIZES)
def test_page(snap_compare: Callable[..., bool], size: tuple[int, int]) -> None:
    assert snap_compare(ScreenApp(ExplainScreen(OMNIGLOT)), terminal_size=size, run_before=explained())


def test_ascii(snap_compare: Callable[..., bool]) -> None:
    app = ScreenApp(ExplainScreen(Settings()), ascii=True)
    assert snap_compare(app, terminal_size=(80, 24), run_before=explained("n", "n", "pagedown"))
