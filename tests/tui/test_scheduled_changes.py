"""Tests of starting runs in the app from presets that contain scheduled changes."""

from __future__ import annotations

from collections.abc import Callable

from metatui.config import presets
from metatui.config.schedule import PlannedChange
from metatui.config.settings import Settings
from metatui.tui.app import MetatuiApp
from tests.tui.fakes import FakeSessions
from tests.tui.screens.conftest import text_of

Make = Callable[..., MetatuiApp]


async def test_scheduled_changes_are_started(make: Make, sessions: FakeSessions) -> None:
    changes = (PlannedChange(20, "algorithm.inner_lr", 0.1), PlannedChange(90, "algorithm.inner_lr", 0.05))
    mine = presets.save("mine", Settings(), changes=changes)
    app = make()
    async with app.run_test(size=(120, 40), notifications=True) as pilot:
        app.presets.load_preset(mine)
        await pilot.pause()
        assert "Scheduled changes: 2." in [n.message for n in app._notifications][-1]
        assert app.work_tab.status.render_line(0).text.startswith("form: preset mine with 2 scheduled changes  ")
        await pilot.press("f2")
        await pilot.pause()
        await pilot.press("enter")
        await app.workers.wait_for_complete()
        await pilot.pause()
        assert presets.load("my-maml-sinusoid").changes == changes
        await pilot.press("3")
        app.presets_tab.reload(saved="mine")
        await app.workers.wait_for_complete()
        await pilot.pause()
        assert "Scheduled changes, by meta-step 20: algorithm.inner_lr = 0.1" in text_of(app.screen, "#preset-preview")
        await pilot.press("f5")
        await pilot.pause()
        assert sessions.changes == changes


async def test_another_preset_replaces_scheduled_changes(make: Make, sessions: FakeSessions) -> None:
    mine = presets.save("mine", Settings(), changes=[PlannedChange(20, "algorithm.inner_lr", 0.1)])
    app = make()
    async with app.run_test(size=(120, 40)) as pilot:
        app.presets.load_preset(mine)
        app.presets.load_preset(presets.load("quick"))
        await pilot.pause()
        await pilot.press("f5")
        await pilot.pause()
        assert sessions.changes == ()
