"""Tests of changing the theme while the app runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from rich.segment import Segment

from metatui.tui.app import MetatuiApp
from metatui.tui.colors.themes import ANSI_DARK, ANSI_LIGHT, DARK, LIGHT
from tests.tui.fakes import saved_run
from tests.tui.test_snapshots import GLYPHS

SIZE = (120, 40)
Make = Callable[..., MetatuiApp]


def drawn(app: MetatuiApp) -> list[list[Segment]]:
    return [list(strip) for strip in app.screen._compositor.render_strips()]


async def test_changed_theme_equals_a_start_in_this_theme(make: Make, runs_dir: Path) -> None:
    """Check that, after a theme change, all tabs (even hidden ones) look as if the app had started with that theme."""
    saved_run(runs_dir, GLYPHS, name="maml-glyphs-20260102-000000", steps=40)
    expected = {}
    for theme in (DARK, ANSI_DARK):
        app = make(theme=theme)
        async with app.run_test(size=SIZE) as pilot:
            await app.finish_start()
            for key in "123":
                await pilot.press(key)
                await pilot.pause()
                expected[theme, key] = drawn(app)
    app = make(theme=DARK)
    async with app.run_test(size=SIZE) as pilot:
        await app.finish_start()
        for theme in (LIGHT, ANSI_DARK, ANSI_LIGHT, DARK):
            await pilot.press("ctrl+t")
            assert app.theme == theme
            for key in "231":
                await pilot.press(key)
                await pilot.pause()
                assert drawn(app) == expected.get((theme, key), drawn(app))
