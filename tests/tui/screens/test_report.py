"""Tests of the report dialog, which asks for a file path and writes a report. A fake helper sends the results."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from metatui.config.settings import Settings
from metatui.runs.analysis.comparison import Comparing
from metatui.runs.storage.run_folder import RunFolder
from metatui.tui.app import MetatuiApp
from metatui.tui.screens.compare.save_dialog import ReportScreen
from tests.tui.fakes import saved_run
from tests.tui.screens.conftest import ScreenApp, text_of, until_written
from tests.tui.screens.fake_helper import FakeHelper
from tests.tui.screens.test_compare import compared
from tests.tui.sizes import SIZES

NAMES = ("maml-sinusoid-20260101-000000", "maml-sinusoid-20260100-000000")
RUNS = [RunFolder(Path("/runs") / name) for name in NAMES]

pytestmark = pytest.mark.usefixtures("fake_helper")


async def write(pilot: Pilot[Any], path: Path | None = None) -> None:
    """Enter `path` in the dialog, if it is given, and press Enter to confirm the dialog."""
    if path is not None:
        pilot.app.screen.query_one(Input).value = str(path)
    await pilot.press("enter")
    await pilot.pause()


async def test_the_selected_run_is_reported(make: Callable[[], MetatuiApp], runs_dir: Path) -> None:
    for name in NAMES:
        saved_run(runs_dir, Settings(), name=name, steps=3)
    app = make()
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("2")
        await app.workers.wait_for_complete()
        await pilot.press("g")
        await pilot.pause()
        screen = app.screen
        assert isinstance(screen, ReportScreen)
        path = Path(screen.query_one(Input).value).expanduser()
        assert path.parent == runs_dir
        assert path.stem in NAMES
        await write(pilot)
        (helper,) = FakeHelper.made
        assert [run.id for run in helper.asked[0].args[0]] == [path.stem]
        await helper.reply(pilot, Comparing("MAML", 1, 1, 100, 600))
        assert text_of(screen, "#save-state") == "Adapting MAML (1 of 1): 100 of 600 tasks"
        await helper.reply(pilot, done=compared())
        await until_written(pilot)
        assert path.read_text().startswith("<!DOCTYPE html>")
        assert app.screen is not screen
        assert f"The report is in {path}." in [n.message for n in app._notifications]
        assert helper.stopped


async def test_markdown_with_figures(tmp_path: Path) -> None:
    app = ScreenApp(ReportScreen(RUNS, tmp_path))
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        assert app.screen.query_one(Input).value.endswith("-and-1-more.html")
        await write(pilot, tmp_path / "both.md")
        (helper,) = FakeHelper.made
        assert {run.id for run in helper.asked[0].args[0]} == set(NAMES)
        await helper.reply(pilot, done=compared())
        await until_written(pilot)
        assert "](both-adaptation.svg)" in (tmp_path / "both.md").read_text()
        assert (tmp_path / "both-adaptation.svg").exists()
        assert app.result == tmp_path / "both.md"


async def test_bad_paths_are_refused_before_measuring(tmp_path: Path) -> None:
    (tmp_path / "there.html").write_text("mine")
    (tmp_path / "figure-time.svg").write_text("mine")
    app = ScreenApp(ReportScreen(RUNS, tmp_path))
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        for name, problem in (
            ("there.html", "exists: turn on 'Replace an existing file'"),
            ("figure.md", "figure-time.svg' exists: turn on 'Replace an existing file'"),
            ("x.doc", "must end in .html or .md"),
            ("nowhere/x.html", "there is no folder"),
        ):
            await write(pilot, tmp_path / name)
            assert problem in str(app.screen.query_one("#dialog-error").render())
        assert FakeHelper.made == []


async def test_a_failure_is_shown_and_can_be_retried(tmp_path: Path) -> None:
    app = ScreenApp(ReportScreen(RUNS, tmp_path))
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        await write(pilot)
        (helper,) = FakeHelper.made
        await helper.reply(pilot, error="it has no checkpoint")
        assert text_of(app.screen, "#dialog-error") == "Not measured: it has no checkpoint."
        await write(pilot)
        assert len(helper.asked) == 2
        await pilot.press("escape")
        await pilot.pause()
        assert app.screen is not app.shown
        assert helper.stopped


@pytest.mark.parametrize("size", SIZES)
def test_snapshot(snap_compare: Callable[..., bool], size: tuple[int, int]) -> None:
    assert snap_compare(ScreenApp(ReportScreen(RUNS[:1], Path("/runs"))), terminal_size=size)


def test_ascii(snap_compare: Callable[..., bool]) -> None:
    assert snap_compare(ScreenApp(ReportScreen(RUNS[:1], Path("/runs")), ascii=True), terminal_size=(80, 24))
