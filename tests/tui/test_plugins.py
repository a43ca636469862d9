"""Tests of runs and presets that need a plugin which is not loaded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from metatui.config.fields import change
from metatui.config.settings import Settings
from metatui.tui.app import MetatuiApp
from metatui.utils import paths
from tests.tui.fakes import saved_run
from tests.tui.screens.conftest import text_of


async def test_seeds_of_runs_that_need_missing_plugins(make: Callable[..., MetatuiApp], runs_dir: Path) -> None:
    saved_run(runs_dir, Settings(), name="maml-sinusoid-20260101-000000")
    settings = change(Settings(), {"training.seed": 12})
    run = saved_run(runs_dir, settings, name="ridge-sinusoid-20260102-000000")
    run.settings_path.write_text(run.settings_path.read_text().replace('"maml"', '"ridge"'))
    app = make()
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("2")
        await app.workers.wait_for_complete()
        await pilot.pause()
        seeds = [each.item(with_seed=True).cells[2].text for each in app.runs_tab._listed]
        assert seeds == ["12", "0"]
        assert "Seed" in app.runs_tab.table.render_line(0).text


async def test_runs_and_presets_of_missing_plugins(make: Callable[..., MetatuiApp], runs_dir: Path) -> None:
    run = saved_run(runs_dir, Settings(), name="ridge-sinusoid-20260101-000000", steps=30)
    text = run.settings_path.read_text()
    run.settings_path.write_text(text.replace('"maml"', '"ridge"') + "\n[ridge]\nstrength = 2.0\n")
    paths.user_presets_dir().mkdir(parents=True)
    (paths.user_presets_dir() / "mine.toml").write_text('[algorithm]\nname = "ridge"\n')
    app = make()
    async with app.run_test(size=(120, 40)) as pilot:
        for tab in ("2", "3", "2"):
            await pilot.press(tab)
            await app.workers.wait_for_complete()
            await pilot.pause()
        assert len(app.runs_tab.listed) == 1
        preview = text_of(app.screen, "#run-preview")
        assert "algorithm.name is 'ridge', which needs its plugin: start with --plugin FILE.py." in preview
        assert preview.count("Finished") == 2, "in the summary and in the journal"
        assert all(text in preview for text in ("Loss", "training", "validation", "meta-steps"))
        assert "1 step" not in preview, "it is unknown whether the algorithm has inner steps"
        await pilot.press("enter")
        await app.workers.wait_for_complete()
        await pilot.pause()
        assert any("--plugin FILE.py" in each.message for each in app._notifications)
