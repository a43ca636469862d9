"""Tests of the presets tab: groups, preview, saved presets, and downloads of data sets."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Input, Switch

from metatui.config import presets
from metatui.config.fields import change
from metatui.config.preset_groups import in_order
from metatui.config.settings import Settings
from metatui.events import Finished, Tweaked
from metatui.runs.formatting import headline
from metatui.tui.app import MetatuiApp
from metatui.tui.screens.dialogs.confirm import ConfirmScreen
from metatui.tui.screens.dialogs.save_preset import SavePresetScreen
from metatui.tui.screens.main.tabs import preset_list
from metatui.tui.screens.main.tabs.presets_tab import PresetsTab
from metatui.tui.widgets.static_text import StatusLine
from metatui.tui.widgets.table import Heading, Item
from metatui.utils import paths
from tests.tui.fakes import FakeSessions, evaluation, saved_run, wait_for_workers
from tests.tui.screens.conftest import text_of

SIZE = (160, 48)
Make = Callable[..., MetatuiApp]
GLYPHS = change(Settings(), {"task.source": "glyphs", "task.shots": 1})


def selected(app: MetatuiApp) -> str:
    assert app.presets_tab.selected is not None
    return app.presets_tab.selected.name


def test_presets_are_grouped_by_task() -> None:
    presets.save("anything", GLYPHS)
    rows = list(preset_list.rows(in_order(presets.bundled() + presets.user()[0])))
    shots = {row.cells[0].text: row.cells[2].text for row in rows if isinstance(row, Item)}
    assert (shots["sinusoid-maml"], shots["sinusoid-finn"]) == ("5", "10, test 5")
    headings = [(row.text, row.note) for row in rows if isinstance(row, Heading)]
    needed = "needs Omniglot: f downloads it"
    assert headings == [
        ("Quick start", ""),
        ("Sinusoids", ""),
        ("Glyphs, 5-way", ""),
        ("Omniglot, 5-way", needed),
        ("Omniglot, 20-way", needed),
        ("Yours", ""),
    ]


async def test_unusable_presets_take_one_row(make: Make) -> None:
    folder = paths.user_presets_dir()
    folder.mkdir(parents=True)
    (folder / "bad.toml").write_text("[training]\niterations = 0\nseed = -1\n[model]\nname = 'none'\n")
    app = make()
    async with app.run_test(size=(60, 15)) as pilot:
        await pilot.press("3")
        await wait_for_workers(app, pilot)
        line = app.presets_tab.query_one("#presets-problems", StatusLine)
        assert line.size.height == 1
        text = str(line.render())
        assert text.startswith("A preset cannot be used ('metatui presets' lists all reasons): 'bad.toml': ")
        assert ";" not in text
        (folder / "worse.toml").write_text("[")
        app.presets_tab.reload()
        await wait_for_workers(app, pilot)
        assert str(line.render()).startswith("2 presets cannot be used")
        assert app.presets_tab.table.size.height >= 4


@pytest.mark.parametrize("size", [(80, 24), (160, 48)], ids=str)
async def test_all_columns_of_the_bundled_presets_fit(make: Make, size: tuple[int, int]) -> None:
    app = make()
    async with app.run_test(size=size) as pilot:
        await pilot.press("3")
        await wait_for_workers(app, pilot)
        table = app.presets_tab.table
        assert len(table.visible_columns) == len(preset_list.COLUMNS)
        results = {row.cells[0].text: row.cells[3].text for row in table._rows if isinstance(row, Item)}
        assert [results[name] for name in ("quick", "sinusoid-finn", "omniglot-5way-1shot-finn")] == [
            "measured", "measured, paper", "paper",
        ]  # fmt: skip
        longest = "omniglot-20way-1shot-cpu-maml-plus-plus"
        table.select(next(key for key in table.keys if longest in key))
        await pilot.pause()
        lines = [table.render_line(y).text for y in range(table.size.height)]
        shown = longest if size == (160, 48) else f"{longest[:12]}…{longest[-22:]}"
        (line,) = (line for line in lines if shown in line)
        assert "measured, paper" in line


async def test_presets_are_filtered(make: Make) -> None:
    app = make()
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("3")
        await wait_for_workers(app, pilot)
        count = len(presets.bundled())
        await pilot.press("slash", *"sinus rept")
        await pilot.pause()
        table = app.presets_tab.table
        assert table.border_title == f"1 of {count} presets"
        await pilot.press("enter")
        await pilot.pause()
        assert app.focused is table
        await pilot.resize_terminal(80, 24)
        await pilot.pause()
        assert table.size.height == 4, "the preview gets the rows that the list does not need"
        assert app.presets_tab.preview.size.height > 12
        await pilot.resize_terminal(*SIZE)
        assert selected(app) == "sinusoid-reptile"
        await pilot.press("n", "escape", "escape")  # from the preview, then from the filter
        await pilot.pause()
        assert table.border_title == f"{count} presets"
        await pilot.press("slash", *"zzz")
        await pilot.pause()
        assert app.presets_tab.selected is None
        assert "No preset contains these words." in "".join(table.render_line(y).text for y in range(table.size.height))
        await pilot.press("escape")
        assert app.focused is table


async def test_presets_are_saved_previewed_loaded_started_and_deleted(make: Make, sessions: FakeSessions) -> None:
    app = make(GLYPHS)
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("f2")
        await pilot.pause()
        assert isinstance(app.screen, SavePresetScreen)
        name = app.screen.query_one("#preset-name", Input)
        name.value = "../evil"
        await pilot.press("enter")
        assert isinstance(app.screen, SavePresetScreen)
        assert presets.user() == ([], [])
        name.value = "my-glyphs"
        await pilot.press("enter")
        await wait_for_workers(app, pilot)
        assert presets.load("my-glyphs").settings == GLYPHS
        assert presets.load("my-glyphs").title == "MAML on Glyphs"
        for proposed in ("my-maml-glyphs", "my-maml-glyphs-2", "my-maml-glyphs-3"):
            await pilot.press("f2")
            await pilot.pause()
            assert app.screen.query_one("#preset-name", Input).value == proposed
            await pilot.press("enter")
            await wait_for_workers(app, pilot)
            assert presets.load(proposed).settings == GLYPHS
        for saved in presets.user()[0]:
            if saved.name != "my-glyphs":
                presets.delete(saved.name)
        await pilot.press("3")
        await wait_for_workers(app, pilot)
        assert app.presets_tab.selected == presets.load("my-glyphs")
        assert "The form already has these settings." in text_of(app.screen, "#preset-preview")
        assert "Data: Characters that look handwritten, generated on demand." in text_of(app.screen, "#preset-preview")
        app.form.load(Settings())
        await pilot.press("2", "3")
        await wait_for_workers(app, pilot)
        assert "Settings that differ from the form Task: glyphs (form sinusoid)" in text_of(
            app.screen, "#preset-preview"
        )
        await pilot.press("enter")
        await wait_for_workers(app, pilot)
        assert app.form.assessment.settings == GLYPHS
        await pilot.press("3", "d")
        await pilot.pause()
        await pilot.press("y")
        await wait_for_workers(app, pilot)
        assert "my-glyphs" not in presets.names()

        await pilot.press("home")
        await pilot.pause()
        assert selected(app) == "quick"
        quick = presets.load("quick")
        preview = text_of(app.screen, "#preset-preview")
        assert f"Measured: {quick.measured}" in preview
        assert "MAML: model-agnostic meta-learning" in preview
        await pilot.press("down")
        assert selected(app) == "sinusoid-anil"
        await pilot.press("up", "l")
        await wait_for_workers(app, pilot)
        await pilot.press("f5")
        await pilot.pause()
        assert sessions.started == [(quick.settings, "quick")]
        assert sessions.session is not None
        sessions.session.end()
        await sessions.session.wait_until_ended(app, pilot)


@pytest.mark.parametrize("live", [False, True], ids=["unchanged", "changed_live"])
async def test_a_preset_that_reproduces_a_test_has_its_result(make: Make, sessions: FakeSessions, live: bool) -> None:
    app = make()
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("f5")
        await wait_for_workers(app, pilot)
        session = sessions.session
        assert session is not None
        test = evaluation(session.settings, 20, "test")
        if live:  # the change is undone, so the settings are the same
            for old, new in ((0.01, 0.1), (0.1, 0.01)):
                session.emit(Tweaked(10, "algorithm.inner_lr", old, new))
        session.end(Finished(20, "iterations", 1.0, test))
        await session.wait_until_ended(app, pilot)
        await pilot.press("f2")
        await pilot.pause()
        await pilot.press("enter")
        await wait_for_workers(app, pilot)
        saved = presets.load("my-maml-sinusoid")
        assert saved.settings == session.settings
        assert saved.measured == (None if live else headline(test))
        await pilot.press("f2")
        await pilot.pause()
        app.screen.query_one("#preset-name", Input).value = saved.name
        app.screen.query_one("#preset-title", Input).value = "Again"
        await pilot.press("enter")
        assert isinstance(app.screen, SavePresetScreen), "the preset exists"
        app.screen.query_one("#preset-overwrite", Switch).value = True
        await pilot.press("enter")
        await pilot.pause()
        assert not isinstance(app.screen, SavePresetScreen)
        await wait_for_workers(app, pilot)
        assert presets.load(saved.name).title == "Again"


async def test_run_of_a_changed_preset_records_its_origin(make: Make, sessions: FakeSessions, runs_dir: Path) -> None:
    quick = presets.load("quick")
    saved_run(runs_dir, quick.settings, name="anil-20260102-000000", steps=20, preset="sinusoid-anil (changed)")
    app = make()
    async with app.run_test(size=SIZE) as pilot:
        await wait_for_workers(app, pilot)
        app.presets.load_preset(quick)
        app.form.enter("training.seed", "7")
        await pilot.press("f5")
        await pilot.pause()
        seven = change(quick.settings, {"training.seed": 7})
        assert sessions.started == [(seven, "quick (changed)")]
        assert sessions.session is not None
        sessions.session.end()
        await sessions.session.wait_until_ended(app, pilot)

        await pilot.press("2")
        await wait_for_workers(app, pilot)
        await pilot.press("l")
        await wait_for_workers(app, pilot)
        await pilot.press("f5")
        await pilot.pause()
        assert sessions.started[1:] == [(quick.settings, "sinusoid-anil (changed)")]
        sessions.session.end()
        await sessions.session.wait_until_ended(app, pilot)


WRITE = "import sys; print('packed 10 of 20 drawings', file=sys.stderr, flush=True); "


async def test_data_set_is_downloaded_in_the_background(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    def program(script: str) -> None:
        monkeypatch.setattr(
            "metatui.tui.controllers.data_download.program", lambda: [sys.executable, "-c", WRITE + script]
        )

    app = make()
    told: asyncio.Queue[str] = asyncio.Queue()
    monkeypatch.setattr(app, "notify", lambda message, **_: told.put_nowait(message))
    monkeypatch.setattr(PresetsTab, "show_download", lambda tab, text: told.put_nowait(text))
    async with app.run_test(size=SIZE) as pilot:

        async def confirm() -> None:
            await pilot.press("f")
            while not isinstance(app.screen, ConfirmScreen):
                await pilot.pause()
            await pilot.press("y")

        async def until(message: str) -> None:
            while message not in await told.get():
                pass

        await pilot.press("3")
        await wait_for_workers(app, pilot)
        await pilot.press("f")
        await until("is already on this machine")
        await pilot.press("end")
        assert "Needs Omniglot, which is not on this machine" in text_of(app.screen, "#preset-preview")

        program("print('metatui: Omniglot could not be downloaded', file=sys.stderr); sys.exit(1)")
        await confirm()
        while await told.get() != "Omniglot could not be downloaded.":  # the progress contains this sentence, too
            pass

        program("import time; time.sleep(600)")
        await confirm()
        await until("Downloading Omniglot: packed 10 of 20 drawings. Press f to cancel.")
        assert app.context.missing_data
        await confirm()
        while await told.get():  # an empty text hides the state
            pass

        program(f"import pathlib; file = pathlib.Path({str(paths.omniglot_cache())!r}); "
                "file.parent.mkdir(parents=True); file.touch()")  # fmt: skip
        await confirm()
        await until("is now on this machine")
        await wait_for_workers(app, pilot)
        assert not app.context.missing_data
        assert "needs Omniglot" not in text_of(app.screen, "#presets-table")


async def test_snapshots(
    make: Make, compare_sizes: Callable[[Pilot[None]], Awaitable[None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("quick", "sinusoid-maml", "glyphs", "omniglot-5way-1shot-cpu", "omniglot-5way-1shot-finn",
             "omniglot-20way-1shot-finn", "omniglot-20way-1shot-nichol")  # fmt: skip
    monkeypatch.setattr(presets, "bundled", lambda: [presets.load(name) for name in names])
    presets.save("mine", GLYPHS, title="Glyphs with one example")
    app = make()
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("3")
        await wait_for_workers(app, pilot)
        for _ in range(4):
            await pilot.press("down")
        await pilot.pause()
        await compare_sizes(pilot)
